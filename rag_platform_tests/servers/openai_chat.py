"""Chat completions of the scripted server: what it answers, gets wrong, and charges."""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Body = dict[str, Any]

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


class Charge(NamedTuple):
    """What the server charged for one request."""

    model: str
    input_tokens: int
    output_tokens: int


def tokens_of(text: str) -> int:
    """What the server bills for a text: its words."""
    return max(1, len(text.split()))


def asked_schema(body: Body) -> Body:
    """The JSON schema that a request asks for, in its parameter or in words."""
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        schema: Body = form["json_schema"]["schema"]
        return schema
    words = body["messages"][0]["content"].rpartition("JSON schema:\n")[2]
    schema, _ = json.JSONDecoder().raw_decode(words)
    return schema


def filled(body: Body) -> Any:
    """A value for the request's schema: the same for the same messages."""
    schema = asked_schema(body)
    seed = hashlib.sha256(body["messages"][-1]["content"].encode()).hexdigest()[:8]
    return _fill(schema, schema.get("$defs", {}), seed)


def _fill(schema: Body, definitions: Body, seed: str) -> Any:
    if "$ref" in schema:
        return _fill(definitions[schema["$ref"].rpartition("/")[2]], definitions, seed)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _fill(schema["anyOf"][0], definitions, seed)
    kind = schema["type"]
    if kind == "object":
        fields = schema["properties"].items()
        return {name: _fill(part, definitions, seed) for name, part in fields}
    if kind == "array":
        return [_fill(schema["items"], definitions, seed)]
    simple = {"string": f"text {seed}", "integer": 1, "number": 0.5, "boolean": True, "null": None}
    return simple[kind]


@dataclass
class Chat:
    """POST /v1/chat/completions.

    `answer` makes the content of a request's body, a string or what is written as JSON;
    `logprob` is the one of each token, None for a model that silently gives none.
    """

    answer: Callable[[Body], Any] = filled
    logprob: Callable[[str], float] | None = lambda token: -0.01
    charged: list[Charge] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, body: Body, fault: str) -> Body:
        text, finish = self._text(body, fault)
        tokens = _TOKEN.findall(text)
        most = int(body.get("max_tokens") or body.get("max_completion_tokens") or 1_000_000)
        if fault == "truncated":
            most = min(most, len(tokens) // 2)
        if len(tokens) > most:
            tokens, finish = tokens[:most], "length"
        message: Body = {"role": "assistant", "content": "".join(tokens), "refusal": None}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if fault == "no_content":
            message["content"] = None
        choice: Body = {"index": 0, "message": message, "finish_reason": finish}
        if body.get("logprobs") and self.logprob:
            choice["logprobs"] = {"content": [self._entry(token) for token in tokens]}
        read = sum(tokens_of(message["content"]) for message in body["messages"])
        return self._charged(body["model"], read, len(tokens), choice, fault)

    def _text(self, body: Body, fault: str) -> tuple[str, str]:
        if fault == "invalid_json":
            return '{"label": "loans", ', "stop"
        if fault == "wrong_schema":
            return json.dumps({"unexpected": 1}), "stop"
        if fault == "content_filter":
            return "", "content_filter"
        known = ("ok", "truncated", "refusal", "no_content", "no_usage", "odd_usage", "no_choices")
        if fault not in known:
            raise ValueError(f"unknown fault {fault!r}")
        answer = self.answer(body)
        return (answer if isinstance(answer, str) else json.dumps(answer)), "stop"

    def _entry(self, token: str) -> Body:
        assert self.logprob
        return {"token": token, "logprob": self.logprob(token), "bytes": list(token.encode())}

    def _charged(self, model: str, read: int, written: int, choice: Body, fault: str) -> Body:
        with self.lock:
            self.charged.append(Charge(model, read, written))
        answer: Body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "choices": [] if fault == "no_choices" else [choice],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            },
        }
        if fault == "no_usage":
            del answer["usage"]
        elif fault == "odd_usage":
            answer["usage"] = {"prompt_tokens": "many", "completion_tokens": -1}
        return answer
