import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm import client as module
from rag_platform.llm.client import (
    AttemptFailed,
    ChatAnswer,
    ChatClient,
    ChatRequest,
    Dialect,
    Usage,
    read_answer,
)
from rag_platform.llm.errors import ModelError, ModelRefused, ServiceRefused
from rag_platform_tests.servers.openai_api import (
    KEY,
    Fault,
    OpenAIServer,
    failing,
    quota_used_up,
    rate_limited,
    unknown_parameter,
)
from rag_platform_tests.servers.ports import free_ports

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["loans", "cards"]}},
    "required": ["label"],
    "additionalProperties": False,
}
SECRET_TEXT = "the account of Mrs Miller shows forty-two euros"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    module._dialects.clear()  # a port may come again
    with OpenAIServer() as running:
        yield running


def request(**changes: Any) -> ChatRequest:
    values: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "Say which."},
            {"role": "user", "content": SECRET_TEXT},
        ],
        "schema_name": "Label",
        "schema": SCHEMA,
        "max_tokens": 50,
        "temperature": 0.0,
        "logprobs": True,
    }
    return ChatRequest(**(values | changes))


def client(server: OpenAIServer, *, timeout_s: float = 5, key: str = KEY) -> ChatClient:
    return ChatClient(OpenAIConnection(server.base_url, key, timeout_s))


def failed(server: OpenAIServer, *faults: Fault, timeout_s: float = 5) -> AttemptFailed:
    server.faults.extend(faults)
    with pytest.raises(AttemptFailed) as caught:
        client(server, timeout_s=timeout_s).ask("tiny", request())
    error = caught.value
    assert "\n" not in str(error)
    assert KEY not in str(error)
    # A log shows the whole chain of an error, and the service's own words may hold the key.
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


def test_one_request_and_what_is_in_it(server: OpenAIServer) -> None:
    answer = client(server).ask("tiny", request())
    assert json.loads(answer.text) == {"label": "loans"}
    assert not answer.cut_off
    # Two words and eight in the messages; the answer is { " label " : space " loans " }.
    assert answer.usage == Usage(2 + 8, 10)
    assert [entry["token"] for entry in answer.logprobs["content"]][2] == "label"
    (sent,) = server.requests
    assert sent.path == "/v1/chat/completions"
    assert sent.authorization == f"Bearer {KEY}"
    assert sent.body == {
        "model": "tiny",
        "messages": list(request().messages),
        "max_tokens": 50,
        "temperature": 0.0,
        "logprobs": True,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Label", "strict": True, "schema": SCHEMA},
        },
    }


def test_at_openai_the_limit_has_its_new_name() -> None:
    official = ChatClient(OpenAIConnection("https://api.openai.com/v1", KEY))
    body = official.body("gpt-4o-mini", request())
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body


def test_the_bound_is_more_than_any_byte_tokenizer_makes_of_a_request() -> None:
    plain = request(messages=[{"role": "user", "content": ""}]).input_bound
    longer = request(messages=[{"role": "user", "content": "日本語"}]).input_bound
    assert longer - plain == 9
    assert plain >= len(json.dumps(SCHEMA))


@pytest.mark.parametrize(
    ("fault", "outcome", "billed", "then"),
    [
        (rate_limited(), "rate_limited", "no", "retry"),
        (failing(500), "http_500", "no", "retry"),
        (failing(503, message="overloaded"), "http_503", "no", "retry"),
        (failing(529), "http_529", "no", "retry"),
        (failing(408), "http_408", "no", "retry"),
        (failing(400), "http_400", "no", "stop"),
        (failing(302), "http_302", "no", "stop"),
        (Fault("reset"), "connection", "unknown", "retry"),
        (Fault("malformed"), "malformed", "answered", "retry"),
        (Fault("no_choices"), "no_choices", "answered", "retry"),
        (Fault("no_content"), "no_content", "answered", "retry"),
        (Fault("html"), "html", "answered", "stop"),
        (Fault("refusal"), "refusal", "answered", "stop"),
        (Fault("content_filter"), "content_filter", "answered", "stop"),
        (Fault("gzip"), "compressed", "unknown", "stop"),
        (Fault("huge"), "too_large", "unknown", "stop"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_each_outcome_has_a_name(
    server: OpenAIServer, fault: Fault, outcome: str, billed: str, then: str
) -> None:
    error = failed(server, fault)
    assert (error.outcome, error.billed, error.then) == (outcome, billed, then)
    assert len(server.requests) == 1  # the client of the library tries nothing again by itself


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (quota_used_up(), ServiceRefused, "quota is used up: add credit"),
        (failing(400, message="too long"), ModelError, r"answered 400 \(too long\)\. Check"),
        (failing(400, "context_length_exceeded", "max_tokens"), ModelError, "how long the text"),
        (failing(400, "content_filter"), ModelRefused, "filter declined"),
        (failing(401, message=f"Incorrect API key: {KEY}"), ServiceRefused, r"key: \(key\)\)"),
        (failing(403), ServiceRefused, "may not use this model"),
        (failing(404, message="no model `tiny`"), ServiceRefused, "Check `llm.tiers`"),
        (failing(307), ServiceRefused, "Check `llm.base_url`"),
        (Fault("html"), ServiceRefused, "often ends in /v1"),
        (Fault("refusal"), ModelRefused, "declined to answer"),
    ],
)
def test_what_will_not_pass_says_what_to_do(
    server: OpenAIServer, fault: Fault, kind: type[ModelError], says: str
) -> None:
    error = failed(server, fault)
    assert error.then == "stop"
    assert error.error is kind
    with pytest.raises(AttemptFailed, match=says):
        raise error


def test_what_was_sent_is_not_repeated_in_an_error(server: OpenAIServer) -> None:
    error = failed(server, failing(422, message=f"bad value: '{SECRET_TEXT}' (type=str)"))
    assert "Miller" not in str(error)
    assert "bad value: " in str(error)
    assert "(type=str)" in str(error)


def test_a_wrong_key_is_refused_without_showing_it(server: OpenAIServer) -> None:
    with pytest.raises(AttemptFailed) as caught:
        client(server, key="sk-secret").ask("tiny", request())
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_wait_that_is_asked_for(server: OpenAIServer, form: str) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    error = failed(server, rate_limited("90" if form == "seconds" else then))
    assert error.wait_s == pytest.approx(90, abs=2)


@pytest.mark.parametrize(
    "odd", ["", "soon", "nan", "inf", "1e400", f"Wed, 21 Oct {'9' * 30} 07:28:00 GMT"]
)
def test_an_odd_wait_is_none(server: OpenAIServer, odd: str) -> None:
    assert failed(server, rate_limited(odd)).wait_s is None


def test_silence_ends_an_attempt(server: OpenAIServer) -> None:
    begun = time.monotonic()
    error = failed(server, Fault("hang"), timeout_s=0.4)
    assert time.monotonic() - begun < 2
    assert (error.outcome, error.billed) == ("timeout", "unknown")


def test_an_answer_that_drips_ends_at_its_deadline(server: OpenAIServer) -> None:
    begun = time.monotonic()
    error = failed(server, Fault("slow_stream", seconds=30), timeout_s=0.5)
    # Never silent for half a second, so only the deadline of a second can end it.
    assert 0.9 < time.monotonic() - begun < 3
    assert (error.outcome, error.billed, error.then) == ("too_slow", "unknown", "retry")


@pytest.mark.parametrize(("kind", "outcome"), [("slow_stream", "too_slow"), ("huge", "too_large")])
def test_the_body_of_an_error_is_bounded_too(server: OpenAIServer, kind: str, outcome: str) -> None:
    begun = time.monotonic()
    error = failed(server, Fault(kind, 500, seconds=30), timeout_s=0.5)
    assert time.monotonic() - begun < 3
    assert error.outcome == outcome


def test_an_unreachable_server_was_not_asked() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/v1"
    with pytest.raises(AttemptFailed) as caught:
        ChatClient(OpenAIConnection(url, KEY, 2)).ask("tiny", request())
    assert (caught.value.outcome, caught.value.billed) == ("unreachable", "no")
    assert "refused" in str(caught.value)


def test_an_answer_cut_off_is_told_from_a_whole_one(server: OpenAIServer) -> None:
    server.faults.append(Fault("truncated"))
    answer = client(server).ask("tiny", request())
    assert answer.cut_off
    assert answer.text == '{"label":'
    assert answer.usage == Usage(10, 5)


@pytest.mark.parametrize("fault", ["no_usage", "odd_usage"])
def test_missing_usage_is_none(server: OpenAIServer, fault: str) -> None:
    server.faults.append(Fault(fault))
    assert client(server).ask("tiny", request()).usage is None


def complete(message: Any, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, **more}]}).encode()


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"null", "no_choices"),
        (b'{"choices": {"0": 1}}', "no_choices"),
        (b'{"choices": [null]}', "no_choices"),
        (b'{"error": {"message": "x", "code": 429}}', "no_choices"),
        (complete(None), "no_content"),
        (complete("text"), "no_content"),
        (complete({"content": 7}), "no_content"),
        (complete({"content": " \n"}), "no_content"),
        (complete({"content": ["a"]}), "no_content"),
        (b"  <html>", "html"),
        (gzip.compress(b"{}", mtime=0), "malformed"),
    ],
)
def test_hostile_bodies_have_an_outcome(content: bytes, outcome: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        read_answer(content)
    assert caught.value.outcome == outcome


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 1},
        [],
    ],
)
def test_nonsense_is_no_usage(usage: Any) -> None:
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    assert read_answer(json.dumps(body).encode()).usage is None


def test_half_a_character_does_not_go_further() -> None:
    assert read_answer(complete({"content": "a\ud800b"})) == ChatAnswer("a?b", False, None, None)


NAMES = ["logprobs", "temperature", "response_format", "max_tokens"]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_that_is_refused_is_left_out_from_then_on(
    server: OpenAIServer, name: str, named: bool
) -> None:
    server.refuse = unknown_parameter(name, named=named)
    ours = client(server)
    # Of the response format there are two: with a schema, and any JSON.
    refusals = 2 if name == "response_format" else 1
    for _ in range(refusals):
        with pytest.raises(AttemptFailed) as caught:
            ours.ask("tiny", request())
        error = caught.value
        assert (error.outcome, error.billed, error.then) == ("parameter", "no", "dialect")
    assert json.loads(ours.ask("tiny", request()).text) == {"label": "loans"}
    last = server.requests[-1].body
    assert name not in last
    if name == "max_tokens":
        assert last["max_completion_tokens"] == 50
    # Another client of the same process knows it already; another model is asked afresh.
    client(server).ask("tiny", request())
    assert len(server.requests) == refusals + 2
    with pytest.raises(AttemptFailed):
        client(server).ask("other", request())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "You are not allowed to request logprobs from this model"),
        (400, "Logprobs is not enabled for models/m"),
        (400, "logprobs is not supported when using response_format"),
        (422, "[{'type': 'extra_forbidden', 'loc': ('body', 'logprobs')}]"),
    ],
)
def test_probabilities_are_refused_in_many_words(
    server: OpenAIServer, status: int, message: str
) -> None:
    server.refuse = lambda body: failing(status, message=message) if "logprobs" in body else None
    ours = client(server)
    with pytest.raises(AttemptFailed) as caught:
        ours.ask("tiny", request())
    assert caught.value.then == "dialect"
    ours.ask("tiny", request())
    assert ours.dialect("tiny") == Dialect("max_tokens", logprobs=False)


def test_without_a_schema_parameter_it_stands_in_the_system_message(server: OpenAIServer) -> None:
    server.refuse = unknown_parameter("response_format")
    ours = client(server)
    for _ in range(2):
        with pytest.raises(AttemptFailed):
            ours.ask("tiny", request())
    ours.ask("tiny", request())
    first, second, third = (entry.body for entry in server.requests)
    assert first["response_format"]["type"] == "json_schema"
    assert second["response_format"] == {"type": "json_object"}
    for body in (second, third):
        system = body["messages"][0]
        assert system["role"] == "system"
        assert system["content"].startswith("Say which.\n\nAnswer with one JSON object")
        assert json.loads(system["content"].partition("schema:\n")[2]) == SCHEMA
        assert body["messages"][1:] == list(request().messages)[1:]
        # What was reserved holds for these words too.
        told = sum(len(text.encode()) for m in body["messages"] for text in m.values())
        assert told <= request().input_bound


def test_a_document_that_is_repeated_in_an_error_names_no_parameter(server: OpenAIServer) -> None:
    text = "the response_format is wrong, and so are logprobs, temperature and max_tokens"
    messages = [{"role": "user", "content": text}]
    server.faults.append(failing(400, message=f"cannot be read: {text}"))
    ours = client(server)
    with pytest.raises(AttemptFailed) as caught:
        ours.ask("tiny", request(messages=messages))
    assert caught.value.outcome == "http_400"
    assert ours.dialect("tiny") == Dialect("max_tokens")


def test_a_parameter_is_complained_about_once_only(server: OpenAIServer) -> None:
    server.refuse = unknown_parameter("max_tokens", "max_completion_tokens")
    ours = client(server)
    outcomes = []
    for _ in range(2):
        with pytest.raises(AttemptFailed) as caught:
            ours.ask("tiny", request())
        outcomes.append(caught.value.outcome)
    assert outcomes == ["parameter", "http_400"]


def test_threads_that_learn_at_once_end_with_all_of_it(server: OpenAIServer) -> None:
    server.refuse = unknown_parameter("logprobs", "temperature", "max_tokens")
    ours = client(server)

    def ask(_: int) -> str:
        for _ in range(20):
            try:
                return ours.ask("tiny", request()).text
            except AttemptFailed as error:
                if error.then != "dialect":
                    raise
        raise AssertionError("does not end")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert ours.dialect("tiny") == Dialect(
        "max_completion_tokens", tokens_swapped=True, temperature=False, logprobs=False
    )
