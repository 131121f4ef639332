import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import stamina

from rag_platform.encoders.openai import EmbeddingServiceError, OpenAIConnection, OpenAIEmbedder
from rag_platform.encoders.validation import InvalidEmbedding
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget, BudgetExceeded
from rag_platform.llm.prices import Prices, UnknownPrice
from rag_platform.settings_llm import PriceSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import LLM_REQUEST_SECONDS, Measures
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.forks import FORKS
from rag_platform_tests.servers.openai_api import (
    KEY,
    OK,
    Fault,
    OpenAIServer,
    failing,
    quota_used_up,
    rate_limited,
    vector_of,
)
from rag_platform_tests.servers.openai_chat import Body
from rag_platform_tests.servers.ports import free_ports

# One micro-dollar a token: money in the assertions is the number of tokens.
PRICES = {
    name: PriceSettings(input_per_million=Decimal(1), output_per_million=Decimal(0))
    for name in ("tiny", "text-embedding-3-small", "text-embedding-3-large")
}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def admission(catalog: Catalog, run_usd: float = 1, tokens_per_minute: int = 10**9) -> Admission:
    budget = Budget(catalog, daily_usd=100, run_usd=run_usd)
    return Admission(
        catalog, budget, requests_per_minute=10**6, tokens_per_minute=tokens_per_minute
    )


def embedder(
    catalog: Catalog,
    base_url: str,
    *,
    model: str = "tiny",
    dimension: int | None = 8,
    run_usd: float = 1,
    key: str = KEY,
    timeout_s: float = 5,
    prices: dict[str, PriceSettings] = PRICES,
    tokens_per_minute: int = 10**9,
) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        model,
        dimension,
        connection=OpenAIConnection(base_url, key, timeout_s),
        admission=admission(catalog, run_usd, tokens_per_minute),
        prices=Prices(prices, base_url=base_url),
        run_id="run-1",
        purpose="embeddings",
    )


def booked(catalog: Catalog) -> list[tuple[str, int, int | None]]:
    columns = (ledger.c.status, ledger.c.reserved_microusd, ledger.c.settled_microusd)
    with catalog.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by("id"))]


def errors(catalog: Catalog) -> list[str | None]:
    with catalog.read() as connection:
        return list(connection.scalars(sa.select(ledger.c.error).order_by("id")))


def expected(texts: list[str], dimension: int = 8) -> np.ndarray:
    return np.array([vector_of(text, dimension) for text in texts], np.float32)


def refused(catalog: Catalog, server: OpenAIServer, *faults: Fault, texts: list[str]) -> str:
    """The message of the error that these faults lead to."""
    server.faults.extend(faults)
    with pytest.raises(EmbeddingServiceError) as caught:
        embedder(catalog, server.base_url).embed_passages(texts)
    message = str(caught.value)
    assert message.startswith(f"tiny at {server.base_url}: ")
    assert "\n" not in message
    assert KEY not in message
    return message


def test_vectors_come_in_order_as_float32_of_unit_length(
    catalog: Catalog, server: OpenAIServer
) -> None:
    texts = ["one", "two words", "ünïcödé 日本"]
    vectors = embedder(catalog, server.base_url).embed_passages(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)
    (request,) = server.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {
        "input": texts,
        "model": "tiny",
        "encoding_format": "float",
        "dimensions": 8,
    }
    assert request.authorization == f"Bearer {KEY}"


def test_the_ledger_has_the_worst_case_and_the_price(
    catalog: Catalog, server: OpenAIServer
) -> None:
    embedder(catalog, server.base_url).embed_passages(["two words", "日本"])
    # 9 bytes and 6 bytes reserved; the server bills words, 2 and 1.
    assert booked(catalog) == [("settled", 15, 3)]


def test_a_query_is_paid_too(catalog: Catalog, server: OpenAIServer) -> None:
    vector = embedder(catalog, server.base_url).embed_query("who was it")
    assert vector.shape == (8,)
    np.testing.assert_allclose(vector, expected(["who was it"])[0], atol=1e-6)
    assert booked(catalog) == [("settled", 10, 3)]


def test_vectors_are_scaled_to_unit_length(catalog: Catalog, server: OpenAIServer) -> None:
    server.faults.append(Fault("scaled"))
    vectors = embedder(catalog, server.base_url).embed_passages(["a", "b"])
    np.testing.assert_allclose(vectors, expected(["a", "b"]), atol=1e-6)


def test_answers_in_another_order_are_put_right(catalog: Catalog, server: OpenAIServer) -> None:
    texts = [f"text {number}" for number in range(20)]
    server.faults.append(Fault("shuffled"))
    vectors = embedder(catalog, server.base_url).embed_passages(texts)
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)


def test_nothing_to_embed_asks_nothing(catalog: Catalog, server: OpenAIServer) -> None:
    assert embedder(catalog, server.base_url).embed_passages([]).shape == (0, 8)
    assert not server.requests
    assert not booked(catalog)


@pytest.mark.parametrize("text", ["", " \n", "\ud800"])
def test_texts_that_cannot_be_sent_cost_nothing(
    catalog: Catalog, server: OpenAIServer, text: str
) -> None:
    with pytest.raises(InvalidEmbedding, match="position 1 is empty or not valid"):
        embedder(catalog, server.base_url).embed_passages(["fine", text])
    assert not server.requests
    assert not booked(catalog)


def test_requests_are_split_by_count_and_by_bytes(catalog: Catalog, server: OpenAIServer) -> None:
    many = [f"n{number}" for number in range(2049)]
    vectors = embedder(catalog, server.base_url).embed_passages(many)
    np.testing.assert_allclose(vectors, expected(many), atol=1e-6)
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 2048]
    server.requests.clear()
    large = [f"{number} " + "é" * 49_000 for number in range(7)]  # 98,002 bytes each
    vectors = embedder(catalog, server.base_url).embed_passages(large)
    np.testing.assert_allclose(vectors, expected(large), atol=1e-6)
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 3, 3]


def test_a_request_takes_a_twentieth_of_a_minute_at_most(
    catalog: Catalog, server: OpenAIServer
) -> None:
    texts = [f"{number:04d}" for number in range(8)] + ["x" * 30]
    ours = embedder(catalog, server.base_url, tokens_per_minute=400)  # 20 bytes a request
    np.testing.assert_allclose(ours.embed_passages(texts), expected(texts), atol=1e-6)
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 3, 5]


def taking(most: int, status: int, message: str) -> Callable[[Body], Fault | None]:
    """A server that takes so many texts in a request."""

    def refuse(body: Body) -> Fault | None:
        count = len(body["input"])
        return failing(status, message=message.format(count)) if count > most else None

    return refuse


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (422, "batch size {} > maximum allowed batch size 4"),  # text-embeddings-inference
        (413, "batch size {} > maximum allowed batch size 4"),  # the same in former versions
        (422, "List should have at most 4 items after validation, not {}"),  # infinity
        (400, "Value error, batch size is invalid, it should not be larger than 4."),
    ],
)
def test_a_server_that_takes_fewer_texts_gets_fewer(
    catalog: Catalog, server: OpenAIServer, status: int, message: str
) -> None:
    server.refuse = taking(4, status, message)
    texts = [f"text {number}" for number in range(13)]
    ours = embedder(catalog, server.base_url)
    np.testing.assert_allclose(ours.embed_passages(texts), expected(texts), atol=1e-6)
    sizes = [len(request.body["input"]) for request in server.requests]
    # 13 and the first half are refused; then by fours, of the first half and of the second.
    assert sizes == [13, 7, 4, 3, 4, 2]
    server.requests.clear()
    ours.embed_passages(texts)
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 4, 4, 4]
    assert [outcome for outcome, _, _ in booked(catalog)].count("failed") == 2


def test_a_server_that_takes_fewer_bytes_gets_fewer(catalog: Catalog, server: OpenAIServer) -> None:
    def refuse(body: Body) -> Fault | None:
        if sum(map(len, body["input"])) > 100:
            return failing(413, message="Failed to buffer the request body: length limit exceeded")
        return None

    server.refuse = refuse
    texts = ["x" * size for size in (90, 30, 30, 10)]
    ours = embedder(catalog, server.base_url)
    np.testing.assert_allclose(ours.embed_passages(texts), expected(texts), atol=1e-6)
    assert [len(request.body["input"]) for request in server.requests] == [4, 1, 3]
    message = refused(catalog, server, texts=["x" * 101])
    assert "answered 413" in message
    assert "One text is too large" in message


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (422, "`inputs` must have less than 512 tokens. Given: 600"),  # text-embeddings-inference
        (413, "`inputs` must have less than 512 tokens. Given: 600"),  # in former versions
        (400, "This model's maximum context length is 512 tokens. However, you requested 600"),
    ],
)
def test_a_text_that_is_too_long_for_the_server_is_not_sent_in_halves(
    catalog: Catalog, server: OpenAIServer, status: int, said: str
) -> None:
    server.faults.append(failing(status, message=said))
    with pytest.raises(EmbeddingServiceError, match="be told to truncate") as caught:
        embedder(catalog, server.base_url).embed_passages(["long", "short"])
    assert caught.value.too_long
    assert not caught.value.transient
    assert len(server.requests) == 1


def test_in_whatever_parts_each_text_is_answered_and_paid_once(
    catalog: Catalog, server: OpenAIServer
) -> None:
    """A server that takes three texts and 60 bytes at a time, and says either."""

    def refuse(body: Body) -> Fault | None:
        if len(body["input"]) > 3:
            return failing(422, message="batch size 4 > maximum allowed batch size 3")
        if sum(map(len, body["input"])) > 60:
            return failing(413, message="length limit exceeded")
        return None

    server.refuse = refuse
    dice = random.Random(5)
    texts = [f"{n} " + "x" * dice.choice([1, 20, 50]) for n in range(40)]
    ours = embedder(catalog, server.base_url, tokens_per_minute=20 * 300)  # several at a time
    np.testing.assert_allclose(ours.embed_passages(texts), expected(texts), atol=1e-6)
    answered = [text for r in server.requests if r.status == 200 for text in r.body["input"]]
    assert sorted(answered) == sorted(texts)
    paid = [settled for status, _, settled in booked(catalog) if status == "settled"]
    assert len(paid) == sum(r.status == 200 for r in server.requests)
    assert {status for status, _, _ in booked(catalog)} == {"settled", "failed"}


def test_requests_of_a_batch_run_at_the_same_time(catalog: Catalog, server: OpenAIServer) -> None:
    arrived = threading.Barrier(4)

    def wait_for_all(_: Body) -> None:
        arrived.wait(5)  # breaks unless four requests are there at once

    server.refuse = wait_for_all
    large = [f"{number} " + "x" * 299_000 for number in range(4)]
    vectors = embedder(catalog, server.base_url, run_usd=2).embed_passages(large)
    np.testing.assert_allclose(vectors, expected(large), atol=1e-6)


def test_dimensions_are_asked_only_where_they_differ(
    catalog: Catalog, server: OpenAIServer
) -> None:
    url = server.base_url
    small = "text-embedding-3-small"
    assert embedder(catalog, url, model=small, dimension=None).embed_query("q").shape == (1536,)
    assert embedder(catalog, url, model=small, dimension=1536).embed_query("q").shape == (1536,)
    assert embedder(catalog, url, model=small, dimension=512).embed_query("q").shape == (512,)
    large = embedder(catalog, url, model="text-embedding-3-large", dimension=None)
    assert large.dimension == 3072
    assert [request.body.get("dimensions") for request in server.requests] == [None, None, 512]


def test_an_unknown_models_dimension_is_required(catalog: Catalog) -> None:
    with pytest.raises(EmbeddingServiceError, match="Set `dimensions`"):
        embedder(catalog, "http://127.0.0.1:1/v1", dimension=None)


def test_a_server_with_models_of_one_length_is_not_asked_again(
    catalog: Catalog, server: OpenAIServer
) -> None:
    def matryoshka(body: Body) -> Fault | None:
        message = "Model does not support matryoshka representation, changing output dimensions"
        return failing(400, message=message) if "dimensions" in body else None

    server.refuse = matryoshka
    ours = embedder(catalog, server.base_url)
    np.testing.assert_allclose(ours.embed_passages(["a"]), expected(["a"]), atol=1e-6)
    ours.embed_passages(["b"])
    assert [request.status for request in server.requests] == [400, 200, 200]
    assert [status for status, _, _ in booked(catalog)] == ["failed", "settled", "settled"]
    wrong = embedder(catalog, server.base_url, dimension=9)
    with pytest.raises(EmbeddingServiceError, match="8 dimensions, the index has 9"):
        wrong.embed_query("a")


def test_requests_under_way_all_learn_that_no_dimension_is_taken(
    catalog: Catalog, server: OpenAIServer
) -> None:
    together = threading.Barrier(4, timeout=10)

    def refuse(body: Body) -> Fault | None:
        if "dimensions" not in body:
            return None
        together.wait()
        return failing(400, message="dimensions: not known here")

    server.refuse = refuse
    texts = [f"{number}" + "x" * 299_000 for number in range(4)]
    vectors = embedder(catalog, server.base_url, run_usd=3).embed_passages(texts)
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)
    assert len(server.requests) == 8


def test_the_fingerprint_names_what_changes_a_vector(catalog: Catalog) -> None:
    def fingerprint(url: str = "https://a.example/v1", **changed: Any) -> str:
        return embedder(catalog, url, **changed).fingerprint

    assert fingerprint() == fingerprint(key="sk-other", run_usd=0.5)
    assert fingerprint(prices={"a/b": PRICES["tiny"]}, model="a/b")
    others = {
        fingerprint(),
        fingerprint(dimension=9),
        fingerprint("https://b.example/v1"),
        fingerprint(model="text-embedding-3-small"),
    }
    assert len(others) == 4
    assert KEY not in fingerprint()


def test_a_free_model_is_not_paid_but_booked(catalog: Catalog, server: OpenAIServer) -> None:
    free = {"tiny": PriceSettings(input_per_million=Decimal(0), output_per_million=Decimal(0))}
    ours = embedder(catalog, server.base_url, prices=free, run_usd=0)
    assert not ours.paid
    assert embedder(catalog, server.base_url).paid
    ours.embed_query("q")
    assert booked(catalog) == [("settled", 0, 0)]


def test_a_model_without_a_price_is_refused(catalog: Catalog, server: OpenAIServer) -> None:
    with pytest.raises(UnknownPrice, match=r"llm\.prices"):
        embedder(catalog, server.base_url, prices={})
    assert not server.requests


def test_a_request_over_the_budget_is_not_sent(catalog: Catalog, server: OpenAIServer) -> None:
    ours = embedder(catalog, server.base_url, run_usd=0.00002)
    ours.embed_passages(["x" * 20])
    with pytest.raises(BudgetExceeded, match="embeddings: a request to tiny"):
        ours.embed_passages(["x" * 20])
    assert len(server.requests) == 1


def test_every_attempt_is_reserved_and_booked(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    server.faults.extend([rate_limited(), failing(503)])
    vectors = embedder(catalog, server.base_url).embed_passages(["abc"])
    np.testing.assert_allclose(vectors, expected(["abc"]), atol=1e-6)
    assert [request.status for request in server.requests] == [429, 503, 200]
    assert booked(catalog) == [("failed", 3, None), ("failed", 3, None), ("settled", 3, 1)]
    assert errors(catalog) == ["http_429", "http_503", None]
    with catalog.read() as connection:
        rows = connection.execute(sa.select(ledger)).all()
    assert len({row.call_id for row in rows}) == 1
    assert {(row.endpoint, row.prompt, row.reserved_tokens) for row in rows} == {
        (server.base_url, None, 3)
    }


@pytest.mark.parametrize("header", ["seconds", "date"])
def test_retry_after_is_obeyed(catalog: Catalog, server: OpenAIServer, header: str) -> None:
    # Longer than the first wait of one's own (at most a second); a date has whole seconds.
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    server.faults.append(rate_limited("1.7" if header == "seconds" else then))
    embedder(catalog, server.base_url).embed_passages(["abc"])
    first, second = server.requests
    assert 1.7 <= second.at - first.at < 4
    times = Measures(catalog).read(LLM_REQUEST_SECONDS)
    assert {series.labels["outcome"]: series.cumulative()[-1][1] for series in times} == {
        "http_4xx": 1,
        "answered": 1,
    }


def test_a_pause_that_is_asked_for_holds_for_everybody(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    server.faults.append(rate_limited("1.5"))
    first, other = (embedder(catalog, server.base_url) for _ in range(2))
    done = threading.Thread(target=first.embed_query, args=("a",))
    done.start()
    while not server.requests:
        time.sleep(0.01)
    time.sleep(0.3)  # until the refusal has been booked
    other.embed_query("b")
    done.join()
    begun, *later = (request.at for request in server.requests)
    assert len(later) == 2
    assert all(1.5 <= at - begun < 4 for at in later)


def test_a_wait_of_hours_is_not_waited_for(catalog: Catalog, server: OpenAIServer) -> None:
    message = refused(catalog, server, rate_limited("7200"), texts=["abc"])
    assert "asks to wait 7200 s" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("odd", ["", "soon", "nan", "-5", "0"])
def test_an_odd_retry_after_is_no_obstacle(
    catalog: Catalog, server: OpenAIServer, no_waits: None, odd: str
) -> None:
    server.faults.append(rate_limited(odd))
    embedder(catalog, server.base_url).embed_passages(["abc"])
    assert len(server.requests) == 2


def test_it_gives_up_after_three_attempts(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    message = refused(catalog, server, *[failing(500, message="oh no")] * 3, texts=["abc"])
    assert "answered 500" in message
    assert "oh no" in message
    assert booked(catalog) == [("failed", 3, None)] * 3


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (quota_used_up(), "quota is used up: add credit"),
        (failing(400, message="too long"), r"answered 400 \(.*too long.*Check the model"),
        (failing(401, message=f"Incorrect API key provided: {KEY}"), "check OPENAI_API_KEY"),
        (failing(403), "may not use this model"),
        (failing(404, message="The model `tiny` does not exist"), "Check the embedder's model"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    catalog: Catalog, server: OpenAIServer, fault: Fault, says: str
) -> None:
    with pytest.raises(EmbeddingServiceError, match=says):
        raise EmbeddingServiceError(refused(catalog, server, fault, texts=["abc"]))
    assert len(server.requests) == 1
    assert booked(catalog) == [("failed", 3, None)]


def test_a_wrong_key_is_refused_without_showing_it(catalog: Catalog, server: OpenAIServer) -> None:
    with pytest.raises(EmbeddingServiceError) as caught:
        embedder(catalog, server.base_url, key="sk-secret").embed_query("q")
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_no_key_and_no_text_gets_into_logs_errors_and_ledger(
    catalog: Catalog, server: OpenAIServer, no_waits: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The words of a service may hold both; a log shows the whole chain of an error."""
    text = "Mrs Miller of 12 Park Lane lost her card"
    wicked = f"key {KEY} for {text}"
    scripts = [
        [failing(500, message=wicked)] * 3,
        *([failing(status, message=wicked)] for status in (400, 401, 403, 404)),
        *([Fault(kind)] * 3 for kind in ("reset", "malformed", "html", "no_data", "base64")),
    ]
    with caplog.at_level(logging.DEBUG):
        for script in scripts:
            message = refused(catalog, server, *script, texts=[text])
            assert "Park Lane" not in message
            server.faults.clear()
            server.faults.extend(script)
            try:
                embedder(catalog, server.base_url).embed_passages([text])
            except EmbeddingServiceError as error:
                logging.getLogger("test").error("failed", exc_info=error)
            server.faults.clear()
    for said in (caplog.text, str(errors(catalog))):
        assert KEY not in said
        assert "Park Lane" not in said


def test_no_key_at_all_is_said_before_anything_is_sent(
    catalog: Catalog, server: OpenAIServer
) -> None:
    with pytest.raises(EmbeddingServiceError, match="Set OPENAI_API_KEY"):
        embedder(catalog, server.base_url, key="").embed_query("q")
    assert not server.requests
    assert Budget(catalog, daily_usd=1, run_usd=1).spent() == 0


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("malformed", "no list of vectors"),
        ("html", "no list of vectors"),
        ("no_data", "no list of vectors"),
        ("base64", "no list of vectors"),
        ("wrong_dimension", "no list of vectors"),
        ("all_wrong_dimension", "7 dimensions, the index has 8"),
        ("wrong_count", "for 3 texts"),
        ("same_index", "two vectors for one text"),
        ("nan", "NaN or infinity in 1 of 3"),
        ("infinite", "NaN or infinity in 1 of 3"),
        ("zero", "zero norm in 1 of 3"),
    ],
)
def test_unusable_answers_are_paid_for_once_and_refused(
    catalog: Catalog, server: OpenAIServer, kind: str, says: str
) -> None:
    assert says in refused(catalog, server, Fault(kind), texts=["aa bb", "cc", "dd"])
    assert len(server.requests) == 1
    says_usage = kind not in ("malformed", "html", "no_data")
    assert booked(catalog) == [("settled", 9, 4 if says_usage else 9)]


@pytest.mark.parametrize("kind", ["slow_stream", "huge"])
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_is_bounded_in_time_and_size(
    catalog: Catalog, server: OpenAIServer, no_waits: None, kind: str, status: int
) -> None:
    begun = time.monotonic()
    server.faults.extend([Fault(kind, status, seconds=30)] * 3)
    with pytest.raises(EmbeddingServiceError, match=r"in time|more than an answer may have"):
        embedder(catalog, server.base_url, timeout_s=0.3).embed_passages(["two words"])
    assert time.monotonic() - begun < 8
    # Whether they were billed is not known; what is too large once is too large again.
    assert booked(catalog) == [("lost", 9, None)] * (3 if kind == "slow_stream" else 1)


def test_a_redirect_is_not_followed(catalog: Catalog, server: OpenAIServer) -> None:
    away = Fault("status", 307, headers={"Location": f"{server.base_url}/elsewhere"})
    assert "answered 307" in refused(catalog, server, away, texts=["abc"])
    assert [request.path for request in server.requests] == ["/v1/embeddings"]


@pytest.mark.parametrize("tokens", [10**30, True, -1, "9", None, 2.0])
def test_a_number_of_tokens_that_is_none_costs_the_worst_case(
    catalog: Catalog, server: OpenAIServer, tokens: Any
) -> None:
    answer = server.endpoints["/v1/embeddings"]
    server.endpoints["/v1/embeddings"] = lambda body, fault: (
        answer(body, fault) | {"usage": {"prompt_tokens": tokens}}
    )
    embedder(catalog, server.base_url).embed_passages(["two words"])
    assert booked(catalog) == [("settled", 9, 9)]


@pytest.mark.parametrize("kind", ["no_usage", "odd_usage"])
def test_an_answer_without_usage_costs_its_worst_case(
    catalog: Catalog, server: OpenAIServer, kind: str
) -> None:
    server.faults.append(Fault(kind))
    vectors = embedder(catalog, server.base_url).embed_passages(["two words"])
    np.testing.assert_allclose(vectors, expected(["two words"]), atol=1e-6)
    assert booked(catalog) == [("settled", 9, 9)]


def test_a_silent_server_counts_as_paid(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    server.faults.extend([Fault("hang"), Fault("reset"), OK])
    vectors = embedder(catalog, server.base_url, timeout_s=0.5).embed_passages(["abc"])
    np.testing.assert_allclose(vectors, expected(["abc"]), atol=1e-6)
    # Whether the first two were billed is not known: they keep their worst case.
    assert booked(catalog) == [("lost", 3, None), ("lost", 3, None), ("settled", 3, 1)]
    assert errors(catalog) == ["timeout", "reset", None]


def test_a_server_that_stays_silent_is_given_up(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    server.faults.extend([Fault("hang")] * 3)
    with pytest.raises(EmbeddingServiceError, match=r"no answer within 0.3 s\. Check"):
        embedder(catalog, server.base_url, timeout_s=0.3).embed_passages(["abc"])
    assert len(server.requests) == 3


def test_an_unreachable_server_is_one_line_and_costs_nothing(
    catalog: Catalog, no_waits: None
) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/v1"
    with pytest.raises(EmbeddingServiceError) as caught:
        embedder(catalog, url).embed_passages(["abc"])
    message = str(caught.value)
    assert message.startswith(f"tiny at {url}: cannot be reached (")
    assert "refused" in message
    assert "llm.base_url" in message
    assert "\n" not in message
    assert booked(catalog) == [("failed", 3, None)] * 3


def test_one_failing_request_fails_the_batch(
    catalog: Catalog, server: OpenAIServer, no_waits: None
) -> None:
    server.refuse = lambda body: failing(400) if body["input"][0].startswith("2") else None
    large = [f"{number} " + "x" * 299_000 for number in range(6)]
    with pytest.raises(EmbeddingServiceError, match="answered 400"):
        embedder(catalog, server.base_url, run_usd=2).embed_passages(large)
    assert {status for status, _, _ in booked(catalog)} == {"settled", "failed"}


def test_the_connection_does_not_show_its_key() -> None:
    connection = OpenAIConnection("http://host/v1", KEY)
    assert KEY not in repr(connection)
    assert "http://host/v1" in repr(connection)


def embed_and_hang(url: str, base_url: str, folder: Path) -> None:
    catalog = Catalog(url, lock_folder=folder)
    embedder(catalog, base_url, timeout_s=60).embed_passages(["abc"])


def test_a_process_killed_in_a_request_leaves_it_reserved(
    catalog: Catalog, server: OpenAIServer, tmp_path: Path
) -> None:
    server.faults.append(Fault("hang"))
    process = FORKS.Process(
        target=embed_and_hang, args=(str(catalog.url), server.base_url, tmp_path)
    )
    process.start()
    deadline = time.monotonic() + 30
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert booked(catalog) == [("reserved", 3, None)]


def test_the_server_of_the_tests_gives_other_texts_other_vectors() -> None:
    one, other = vector_of("one", 16), vector_of("other", 16)
    assert one == vector_of("one", 16)
    assert abs(math.fsum(a * b for a, b in zip(one, other, strict=True))) < 0.99
    assert math.isclose(math.fsum(value * value for value in one), 1)
