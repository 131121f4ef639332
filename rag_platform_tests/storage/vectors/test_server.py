"""What is particular to a server: retries, refusals and what stands in the errors."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import stamina

from rag_platform.storage.vectors.base import (
    INDEXED_FIELDS,
    MARK,
    CollectionMissing,
    VectorStoreError,
)
from rag_platform.storage.vectors.server import ServerCollection, ServerVectorStore
from rag_platform_tests.storage.vectors.conftest import (
    make_point,
    point_id,
)


class ScriptedServer(ThreadingHTTPServer):
    """Answers each request with the next (status, headers, body) of its script."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, dict[str, str], object]] = []
        self.seen: list[tuple[str, str, dict[str, str], object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(
            (self.command, self.path, dict(self.headers), json.loads(body or b"null"))
        )
        status, headers, answer = self.server.script.pop(0)
        if status == 0:  # cut the connection without a word
            self.close_connection = True
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def quick_retries() -> Iterator[None]:
    """Retries without waiting, four attempts at most."""
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def _ok(result: object) -> tuple[int, dict[str, str], object]:
    return (200, {}, {"result": result, "status": "ok", "time": 0.0})


def _failed(status: int, **headers: str) -> tuple[int, dict[str, str], object]:
    return (status, headers, {"status": {"error": f"scripted {status}"}, "time": 0.0})


APPLIED = _ok({"operation_id": 1, "status": "completed"})


def _collection(scripted: ScriptedServer, *, api_key: str | None = None) -> ServerCollection:
    store = ServerVectorStore(scripted.url, api_key=api_key)
    return ServerCollection(store._server, "docs", dimension=4, fingerprint="f")


@pytest.mark.parametrize(
    "failure", [_failed(500), _failed(503), _failed(429), (0, {}, None)], ids=str
)
@pytest.mark.usefixtures("quick_retries")
def test_what_may_pass_is_tried_again(scripted, failure):
    scripted.script = [failure, failure, _ok({"count": 3})]
    assert _collection(scripted).count() == 3
    assert len(scripted.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 422])
@pytest.mark.usefixtures("quick_retries")
def test_what_will_not_pass_is_asked_once(scripted, status):
    scripted.script = [_failed(status)]
    with pytest.raises(VectorStoreError):
        _collection(scripted).count()
    assert len(scripted.seen) == 1


@pytest.mark.usefixtures("quick_retries")
def test_a_collection_that_was_dropped_while_it_was_open(scripted):
    scripted.script = [_failed(404)]
    with pytest.raises(CollectionMissing, match="collection docs is not in"):
        _collection(scripted).nearest(np.ones(4, dtype=np.float32), 1)
    assert len(scripted.seen) == 1


@pytest.mark.usefixtures("quick_retries")
def test_gives_up_in_one_line(scripted):
    scripted.script = [_failed(500)] * 10
    with pytest.raises(VectorStoreError, match="scripted 500") as refused:
        _collection(scripted).count()
    assert len(scripted.seen) == 4
    assert scripted.url in str(refused.value)
    assert "\n" not in str(refused.value)


def test_retry_after_is_obeyed(scripted):
    scripted.script = [_failed(429, **{"Retry-After": "2"}), _ok({"count": 0})]
    started = time.monotonic()
    assert _collection(scripted).count() == 0
    assert time.monotonic() - started >= 2


@pytest.mark.usefixtures("quick_retries")
def test_a_body_that_is_no_answer_is_not_asked_for_again(scripted):
    scripted.script = [(200, {}, {"result": {"count": "many"}})]
    with pytest.raises(VectorStoreError, match="count"):
        _collection(scripted).count()
    assert len(scripted.seen) == 1


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.usefixtures("quick_retries")
def test_an_unreachable_server_is_named_without_its_password():
    store = ServerVectorStore("http://user:hunter2@127.0.0.1:9", api_key="k3y", timeout_s=2)
    with (
        pytest.raises(VectorStoreError) as refused,
        store.open("docs", dimension=4, fingerprint="f"),
    ):
        pytest.fail("opened")
    message = str(refused.value)
    assert "http://127.0.0.1:9 cannot be reached" in message
    assert "vector_store" in message
    assert "\n" not in message
    assert "hunter2" not in message
    assert "k3y" not in message


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_refused_key_says_what_to_set(scripted):
    scripted.script = [_failed(401)]
    with pytest.raises(VectorStoreError, match="QDRANT_API_KEY") as refused:
        _collection(scripted, api_key="k3y").count()
    assert "k3y" not in str(refused.value)
    headers = {name.lower(): value for name, value in scripted.seen[0][2].items()}
    assert headers["api-key"] == "k3y"


def test_writes_come_in_batches_and_wait_to_be_applied(scripted):
    scripted.script = [APPLIED] * 4
    collection = _collection(scripted)
    collection.upsert([make_point(n) for n in range(1, 601)])
    collection.delete([point_id(1)])
    sizes = [len(body["points"]) for _, _, _, body in scripted.seen]
    assert sizes == [256, 256, 88, 1]
    assert all("wait=true" in path for _, path, _, _ in scripted.seen)


def test_the_recipe_travels_with_the_collection(scripted):
    scripted.script = [
        _ok({"exists": False}),
        _ok({"exists": False}),
        _ok(True),
        _ok(_info(metadata={"dimension": 4, "fingerprint": "f"})),
        _ok(_info(metadata={"dimension": 4, "fingerprint": "f"}, indexed=["doc_id", "key"])),
        *[APPLIED] * 20,
    ]
    store = ServerVectorStore(scripted.url)
    with store.open("docs", dimension=4, fingerprint="f"):
        pass
    (made,) = [
        b for method, path, _, b in scripted.seen if (method, path) == ("PUT", "/collections/docs")
    ]
    assert made["metadata"] == {"dimension": 4, "fingerprint": "f"}
    assert made["vectors"]["dense"] == {"size": 4, "distance": "Cosine"}
    assert made["sparse_vectors"]["bm25"] == {"modifier": "idf"}
    indexed = [b["field_name"] for _, path, _, b in scripted.seen if "/index" in path]
    assert indexed == [name for name in (*INDEXED_FIELDS, MARK) if name not in ("doc_id", "key")]
    assert {"text_hash", "source", "language", "label", "mark"} < set(indexed)


def test_a_collection_without_recipe_is_not_ours(scripted):
    scripted.script = [_ok({"exists": True}), _ok(_info(metadata=None))]
    with (
        pytest.raises(VectorStoreError, match=r"without a recipe.*1\.16"),
        ServerVectorStore(scripted.url).open("docs", dimension=4, fingerprint="f"),
    ):
        pytest.fail("opened")


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_names_are_ours_alone():
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection(
        "foreign", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
    )
    store = ServerVectorStore("http://in-memory", client_factory=lambda: client)
    with store.open("docs", dimension=4, fingerprint="f"):
        pass
    assert store.names() == ["docs"]


def test_what_is_dropped_while_names_are_listed_is_left_out(scripted):
    scripted.script += [
        (200, {}, {"result": {"collections": [{"name": "docs"}]}}),
        (404, {}, {"status": {"error": "Collection `docs` doesn't exist!"}}),
    ]
    assert ServerVectorStore(scripted.url).names() == []
    assert scripted.script == []


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def _info(*, metadata: object, indexed: list[str] | None = None) -> dict[str, object]:
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "config": {
            "params": {},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": metadata,
        },
        "payload_schema": {field: {"data_type": "keyword", "points": 0} for field in indexed or []},
    }
