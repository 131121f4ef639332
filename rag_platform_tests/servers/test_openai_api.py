import json
import subprocess
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rag_platform_tests.servers.openai_api import (
    KEY,
    Fault,
    OpenAIServer,
    Reply,
    failing,
    unknown_parameter,
    vector_of,
)
from rag_platform_tests.servers.openai_chat import Body, Charge


def send(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with urlopen(Request(url, data, headers), timeout=10) as answer:
        return json.load(answer)


def test_it_runs_as_a_process_with_a_script_and_a_log() -> None:
    command = [sys.executable, "-m", "rag_platform_tests.servers.openai_api"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            base_url = process.stdout.readline().strip()
            root = base_url.removesuffix("/v1")
            send(f"{root}/faults", [{"kind": "wrong_count"}, {"kind": "ok"}])
            asked = {"model": "tiny", "input": ["a", "b"], "dimensions": 4}
            assert len(send(f"{base_url}/embeddings", asked)["data"]) == 1
            answer = send(f"{base_url}/embeddings", asked)
            assert [entry["embedding"] for entry in answer["data"]] == [
                vector_of("a", 4),
                vector_of("b", 4),
            ]
            assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
            log = send(f"{root}/requests")
            assert [entry["fault"] for entry in log] == ["wrong_count", "ok"]
        finally:
            process.kill()


SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["loans", "cards"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
    },
    "$defs": {"Item": {"type": "object", "properties": {"n": {"type": "integer"}}}},
}


def question(**more: Any) -> Body:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    messages = [{"role": "user", "content": "which of them"}]
    return {"model": "tiny", "messages": messages, "response_format": form, **more}


def completion(server: OpenAIServer, *faults: str, **more: Any) -> tuple[Any, Any]:
    """The first choice and the usage of an answer."""
    server.faults.extend(map(Fault, faults))
    answer = send(f"{server.base_url}/chat/completions", question(**more))
    return answer["choices"][0] if answer["choices"] else None, answer.get("usage")


def test_a_completion_fits_the_schema_and_is_charged() -> None:
    with OpenAIServer() as server:
        choice, usage = completion(server, logprobs=True)
        text = choice["message"]["content"]
        assert json.loads(text) == {"label": "loans", "items": [{"n": 1}]}
        assert choice["finish_reason"] == "stop"
        entries = choice["logprobs"]["content"]
        assert "".join(entry["token"] for entry in entries) == text
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, len(entries))
        assert server.charged == [Charge("tiny", 3, len(entries))]
        assert "logprobs" not in completion(server)[0]
        server.chat.answer = lambda body: "just text"
        assert completion(server)[0]["message"]["content"] == "just text"


def test_a_completion_is_cut_off_at_its_length() -> None:
    with OpenAIServer() as server:
        choice, usage = completion(server, max_tokens=3)
        assert choice["message"]["content"] == '{"label'
        assert choice["finish_reason"] == "length"
        assert usage["completion_tokens"] == 3
        assert server.charged == [Charge("tiny", 3, 3)]


def test_faults_of_completions_are_charged_all_the_same() -> None:
    with OpenAIServer() as server:
        assert completion(server, "truncated")[0]["finish_reason"] == "length"
        assert completion(server, "refusal")[0]["message"]["refusal"]
        assert completion(server, "content_filter")[0]["finish_reason"] == "content_filter"
        assert completion(server, "no_content")[0]["message"]["content"] is None
        assert completion(server, "no_choices")[0] is None
        assert completion(server, "no_usage")[1] is None
        with pytest.raises(json.JSONDecodeError):
            json.loads(completion(server, "invalid_json")[0]["message"]["content"])
        with pytest.raises(json.JSONDecodeError):
            completion(server, "malformed")
        assert len(server.charged) == 8


def test_errors_are_not_charged_and_parameters_can_be_unknown() -> None:
    with OpenAIServer(refuse=unknown_parameter("logprobs")) as server:
        server.faults.append(failing(503))
        with pytest.raises(HTTPError, match="503"):
            completion(server)
        with pytest.raises(HTTPError, match="400") as caught:
            completion(server, logprobs=True)
        assert json.load(caught.value)["error"]["param"] == "logprobs"
        assert not server.charged
        completion(server)
        assert len(server.charged) == 1


def test_extensions_take_what_no_endpoint_does() -> None:
    with OpenAIServer() as server:
        with pytest.raises(HTTPError, match="404"):
            send(f"{server.base_url}/files/7")
        server.extensions.append(
            lambda method, path, headers, content: (
                Reply(200, json.dumps([method, path, len(content)]).encode())
                if path.startswith("/v1/files")
                else None
            )
        )
        assert send(f"{server.base_url}/files/7") == ["GET", "/v1/files/7", 0]
        assert send(f"{server.base_url}/files", {"a": 1}) == ["POST", "/v1/files", 8]
        with pytest.raises(HTTPError, match="404"):
            send(f"{server.base_url}/other")
        server.faults.append(failing(500))
        with pytest.raises(HTTPError, match="500"):
            send(f"{server.base_url}/files/7")
