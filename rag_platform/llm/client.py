"""One chat completion at an OpenAI-compatible service: one request, one outcome with a name."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from rag_platform.llm.connection import Connection
from rag_platform.llm.errors import ModelError, ModelRefused, ServiceRefused
from rag_platform.llm.http_errors import (
    QUOTA,
    asked_wait,
    may_pass,
    shown,
    tokens_of,
    was_not_billed,
    was_too_slow,
)
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

Message = Mapping[str, str]

# Some 16,000 tokens with the probability of each are 3 MB.
_MOST_BYTES = 8 << 20
# What a chat format adds to a message, and a request, beyond its text; generous.
_MESSAGE_TOKENS = 16

# So much of an error is searched for the name of a parameter.
_MOST_NAMED = 1_000

_IN_WORDS = "Answer with one JSON object and nothing else. It must fit this JSON schema:\n{schema}"
_ADVICE = {
    400: "Check the model and how long the text is",
    401: "The key was refused: check OPENAI_API_KEY",
    403: "The key may not use this model: check its project and rights",
    404: "Check `llm.tiers` and `llm.base_url`",
}
_TO_EVERYBODY = frozenset({401, 403, 404, 405})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a model is asked: messages, and the JSON schema of the answer."""

    messages: Sequence[Message]
    schema_name: str
    schema: Mapping[str, Any]
    max_tokens: int
    temperature: float
    logprobs: bool

    @property
    def input_bound(self) -> int:
        """The most tokens that a model reads: a token is at least one byte of UTF-8."""
        texts = [text for message in self.messages for text in message.values()]
        texts += [_IN_WORDS, json.dumps(self.schema)]
        overhead = _MESSAGE_TOKENS * (len(self.messages) + 2)
        return sum(len(text.encode()) for text in texts) + overhead


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the service bills."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model said. `cut_off`: it ran into `max_tokens`. `logprobs` is as it came: hostile.

    `usage` is None where the service does not say.
    """

    text: str
    cut_off: bool
    usage: Usage | None
    logprobs: Any


class AttemptFailed(Exception):
    """One request that brought no answer to use; the message is one line without key and content.

    `outcome` is its name in the ledger. `billed` says whether it was paid for: "answered" as its
    `usage` says. `then` says what may help: the same again (after `wait_s`, where the service asks
    for that), the same in another `dialect` (at once), or nothing, which is what `error` is for.
    """

    def __init__(
        self,
        outcome: str,
        message: str,
        *,
        billed: Literal["no", "unknown", "answered"],
        then: Literal["retry", "dialect", "stop"],
        usage: Usage | None = None,
        wait_s: float | None = None,
        error: type[ModelError] = ModelError,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.billed = billed
        self.then = then
        self.usage = usage
        self.wait_s = wait_s
        self.error = error


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which of the optional parameters a model at a service takes."""

    tokens: Literal["max_tokens", "max_completion_tokens"]
    tokens_swapped: bool = False
    form: Literal["json_schema", "json_object", "text"] = "json_schema"
    temperature: bool = True
    logprobs: bool = True

    def without(self, named: str) -> "Dialect | None":
        """The dialect after an error that names a parameter; None if none that can be left out."""
        named = named.lower()
        # First: some do not give them together with a form of the answer, and name both.
        if "logprobs" in named and self.logprobs:
            return replace(self, logprobs=False)
        if "response_format" in named or "json_schema" in named:
            if self.form == "text":
                return None
            return replace(self, form="json_object" if self.form == "json_schema" else "text")
        if "temperature" in named and self.temperature:
            return replace(self, temperature=False)
        if ("max_tokens" in named or "max_completion_tokens" in named) and not self.tokens_swapped:
            other: Literal["max_tokens", "max_completion_tokens"] = (
                "max_tokens" if self.tokens == "max_completion_tokens" else "max_completion_tokens"
            )
            return replace(self, tokens=other, tokens_swapped=True)
        return None


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a service says against a request: a status and what its `error` holds."""

    status: int
    code: str | None
    param: str | None
    message: str


# What was learned of the models at a service, for all of the process.
_dialects: dict[tuple[str, str], Dialect] = {}
_dialects_lock = threading.Lock()


class ChatClient:
    """Chat completions by POST /chat/completions, one request a call and never tools.

    An attempt ends after `timeout_s` of silence, and at the latest `total_s` after it began plus
    one such silence.
    """

    def __init__(self, connection: Connection) -> None:
        self.endpoint = display_url(connection.base_url)
        self.total_s = 2 * connection.timeout_s
        self._connection = connection

    def ask(self, model: str, request: ChatRequest) -> ChatAnswer:
        """The answer of a model. Raises `AttemptFailed`."""
        import openai

        dialect = self.dialect(model)
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                **self.body(model, request)
            )
        except openai.APIError as error:
            # Not chained: the service's own words may hold the key, and a log shows all of a chain.
            raise self._failure(error, model, dialect, request) from None
        return read_answer(answer.content)

    def dialect(self, model: str) -> Dialect:
        """What is known of the model so far."""
        official = urlsplit(self._connection.base_url).hostname == "api.openai.com"
        first = Dialect("max_completion_tokens" if official else "max_tokens")
        with _dialects_lock:
            return _dialects.get((self.endpoint, model), first)

    def body(self, model: str, request: ChatRequest) -> dict[str, Any]:
        """The request's JSON, in the model's dialect."""
        dialect = self.dialect(model)
        body: dict[str, Any] = {
            "model": model,
            "messages": [dict(message) for message in request.messages],
            dialect.tokens: request.max_tokens,
        }
        if dialect.temperature:
            body["temperature"] = request.temperature
        if request.logprobs and dialect.logprobs:
            body["logprobs"] = True
        if dialect.form == "json_schema":
            schema = {"name": request.schema_name, "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
            return body
        if dialect.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        words = _IN_WORDS.format(schema=json.dumps(request.schema))
        body["messages"] = _with_system(body["messages"], words)
        return body

    @cached_property
    def _client(self) -> "openai.OpenAI":
        from rag_platform.llm.bounded_http import openai_client

        return openai_client(self._connection, total_s=self.total_s, most_bytes=_MOST_BYTES)

    def _failure(
        self, error: "openai.APIError", model: str, dialect: Dialect, request: ChatRequest
    ) -> AttemptFailed:
        import openai

        if not isinstance(error, openai.APIStatusError):
            return self._no_answer(error)
        status = error.status_code
        said = self._shown(error.message.removeprefix(f"Error code: {status} - "), request)
        if may_pass(error):
            outcome = "rate_limited" if status == 429 else f"http_{status}"
            text = f"answered {status} ({said})"
            return AttemptFailed(outcome, text, billed="no", then="retry", wait_s=asked_wait(error))
        complaint = Complaint(status, error.code, error.param, error.message)
        if self.learns(model, dialect, complaint, request):
            text = f"does not take a parameter ({said})"
            return AttemptFailed("parameter", text, billed="no", then="dialect")
        outcome, kind = f"http_{status}", ModelError
        advice = _ADVICE.get(status, "Check `llm.base_url`")
        if QUOTA in (error.code, error.type):
            outcome, kind = "quota", ServiceRefused
            advice = "The account's quota is used up: add credit, or use another key"
        elif error.code == "content_filter":
            outcome, kind = "content_filter", ModelRefused
            advice = "The service's content filter declined the request"
        elif status in _TO_EVERYBODY or status < 400:
            kind = ServiceRefused
        text = f"answered {status} ({said}). {advice}"
        return AttemptFailed(outcome, text, billed="no", then="stop", error=kind)

    def _no_answer(self, error: "openai.APIError") -> AttemptFailed:
        """No status came, or not all of what follows it."""
        import openai

        from rag_platform.llm.bounded_http import AnswerCompressed, AnswerTooLarge

        cause = error.__cause__
        if isinstance(cause, AnswerTooLarge | AnswerCompressed):
            name = "too_large" if isinstance(cause, AnswerTooLarge) else "compressed"
            text = f"{cause}. Check `llm.base_url`, and what stands between"
            return AttemptFailed(name, text, billed="unknown", then="stop", error=ServiceRefused)
        if was_too_slow(error):
            outcome, text = "too_slow", f"did not end its answer within {self.total_s:g} s"
        elif isinstance(error, openai.APITimeoutError):
            outcome, text = "timeout", f"gave no answer within {self._connection.timeout_s:g} s"
        else:
            said = self._shown(str(cause or error))
            outcome, text = "connection", f"cannot be reached ({said})"
        if was_not_billed(error):
            return AttemptFailed("unreachable", text, billed="no", then="retry")
        return AttemptFailed(outcome, text, billed="unknown", then="retry")

    def learns(
        self, model: str, dialect: Dialect, complaint: Complaint, request: ChatRequest
    ) -> bool:
        """Whether an error names a parameter that can be left out, or called otherwise.

        `dialect` is what the request was made in. What is learned holds from then on.
        """
        # OpenAI answers 403 where a model gives no probabilities.
        if complaint.status not in (400, 403, 422) or complaint.code == "context_length_exceeded":
            return False
        # A document that the service repeats may name parameters too.
        named = complaint.param or self._shown(complaint.message, request, most=_MOST_NAMED)
        adapted = dialect.without(named)
        if adapted is None:
            return False
        with _dialects_lock:
            # Another thread may have learned something meanwhile: then that is tried first.
            if _dialects.get((self.endpoint, model), dialect) == dialect:
                _dialects[self.endpoint, model] = adapted
                logger.info("%s at %s: goes on as %s", model, self.endpoint, adapted)
        return True

    def _shown(self, text: str, request: ChatRequest | None = None, *, most: int = 200) -> str:
        sent = [part for m in request.messages for part in m.values()] if request else []
        return shown(text, key=self._connection.api_key, sent=sent, most=most)


def read_answer(content: bytes) -> ChatAnswer:
    """The answer in the JSON of a chat completion. Raises `AttemptFailed`, with what was billed."""
    if content.lstrip()[:1] == b"<":
        raise AttemptFailed(
            "html",
            "answered with a web page. Check that `llm.base_url` is the address of an "
            "OpenAI-compatible API (it often ends in /v1)",
            billed="answered",
            then="stop",
            error=ServiceRefused,
        )
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        raise _unusable("malformed", "answered what is no JSON", None) from None
    usage = _usage(whole)
    choice = _first_choice(whole)
    if choice is None:
        raise _unusable("no_choices", "answered without a choice", usage)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    finish = choice.get("finish_reason")
    if finish == "content_filter" or (isinstance(message, dict) and message.get("refusal")):
        raise AttemptFailed(
            "content_filter" if finish == "content_filter" else "refusal",
            "declined to answer",
            billed="answered",
            then="stop",
            usage=usage,
            error=ModelRefused,
        )
    cut_off = finish == "length"
    if not isinstance(text, str) or not text.strip():
        if not cut_off:
            raise _unusable("no_content", "answered without content", usage)
        text = ""
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    return ChatAnswer(text, cut_off, usage, choice.get("logprobs"))


def _unusable(outcome: str, text: str, usage: Usage | None) -> AttemptFailed:
    return AttemptFailed(outcome, text, billed="answered", then="retry", usage=usage)


def _first_choice(whole: Any) -> dict[str, Any] | None:
    choices = whole.get("choices") if isinstance(whole, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _usage(whole: Any) -> Usage | None:
    """The tokens billed, or None when the answer does not say, or says nonsense."""
    usage = whole.get("usage") if isinstance(whole, dict) else None
    read, written = (tokens_of(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    return None if read is None or written is None else Usage(read, written)


def _with_system(messages: list[dict[str, str]], words: str) -> list[dict[str, str]]:
    """The messages with these words at the end of the system message."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{words}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]
