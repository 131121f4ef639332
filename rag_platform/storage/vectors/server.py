"""The vector store on a Qdrant server (1.16 or newer, for collection metadata) or Qdrant Cloud.

Writes return once they are applied, so a reader that starts later sees them. Connection
failures, 429 and 5xx are tried again with growing waits; every write is idempotent.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from rag_platform.retries import attempts
from rag_platform.storage.vectors.base import (
    CANDIDATES,
    DENSE,
    INDEXED_FIELDS,
    MARK,
    SPARSE,
    Collection,
    Hit,
    Payload,
    Point,
    SparseVector,
    VectorStore,
    VectorStoreError,
    missing_collection,
    refuse_other_recipe,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

T = TypeVar("T")

_ATTEMPTS = 6
_LONGEST_WAIT_S = 60.0
# More values than a collection has points.
_EVERY = 2**31


class ServerVectorStore(VectorStore):
    """Collections on the server at `url`.

    `client_factory` replaces the connection, for example by the client's in-memory mode.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: int = 30,
        client_factory: "Callable[[], QdrantClient] | None" = None,
    ) -> None:
        self._server = _Server(url, client_factory or (lambda: _connect(url, api_key, timeout_s)))

    @contextlib.contextmanager
    def open(self, name: str, *, dimension: int, fingerprint: str) -> Iterator[Collection]:
        server = self._server
        if not server.exists(name):
            server.create(name, dimension=dimension, fingerprint=fingerprint)
        found = server.recipe(name)
        refuse_other_recipe(name, server.display, found=found, wanted=(dimension, fingerprint))
        # Also on a collection that is there: its maker may have been killed before this step.
        server.ensure_indexes(name)
        yield ServerCollection(server, name, dimension=dimension, fingerprint=fingerprint)

    @contextlib.contextmanager
    def open_existing(self, name: str) -> Iterator[Collection]:
        server = self._server
        if not server.exists(name):
            raise missing_collection(name, server.display)
        dimension, fingerprint = server.recipe(name)
        yield ServerCollection(server, name, dimension=dimension, fingerprint=fingerprint)

    def names(self) -> list[str]:
        """Our collections; those of other programs on the server carry no recipe."""
        server = self._server
        listed = server.call("listing collections", lambda client: client.get_collections())
        return sorted(item.name for item in listed.collections if server.is_ours(item.name))

    def drop(self, name: str) -> None:
        self._server.call(f"dropping {name}", lambda client: client.delete_collection(name))


class ServerCollection(Collection):
    """A collection on a server; any number of processes may have it open."""

    batch_size = 256

    def __init__(self, server: "_Server", name: str, *, dimension: int, fingerprint: str) -> None:
        super().__init__(name, dimension=dimension, fingerprint=fingerprint)
        self._server = server

    def count(self) -> int:
        return self._call("counting", lambda client: client.count(self.name, exact=True)).count

    def marks(self) -> dict[str, int]:
        answer = self._call(
            "counting marks",
            lambda client: client.facet(self.name, MARK, limit=_EVERY, exact=True),
        )
        return {str(hit.value): hit.count for hit in answer.hits}

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        records = self._call(
            "reading vectors",
            lambda client: client.retrieve(
                self.name, list(ids), with_payload=False, with_vectors=[DENSE]
            ),
        )
        return {
            str(record.id): np.asarray(record.vector[DENSE], dtype=np.float32)
            for record in records
            if isinstance(record.vector, dict)
        }

    def _call(self, doing: str, function: "Callable[[QdrantClient], T]") -> T:
        """Raises `CollectionMissing` where it was dropped while it was open."""
        try:
            return self._server.call(f"collection {self.name}: {doing}", function)
        except VectorStoreError as error:
            if _is_gone(error.__cause__):
                raise missing_collection(self.name, self._server.display) from error
            raise

    def _write(self, points: Sequence[Point]) -> None:
        from qdrant_client import models

        structs = [
            models.PointStruct(
                id=point.id,
                vector={
                    DENSE: point.dense.tolist(),
                    SPARSE: models.SparseVector(
                        indices=point.sparse.indices, values=point.sparse.values
                    ),
                },
                payload=point.payload,
            )
            for point in points
        ]
        self._call("writing points", lambda client: client.upsert(self.name, structs, wait=True))

    def _remove(self, ids: Sequence[str]) -> None:
        from qdrant_client import models

        selector = models.PointIdsList(points=list(ids))
        self._call("deleting points", lambda client: client.delete(self.name, selector, wait=True))

    def _describe(self, payloads: Mapping[str, Payload]) -> None:
        from qdrant_client import models

        operations = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=payload, points=[point])
            )
            for point, payload in payloads.items()
        ]
        self._call(
            "writing payloads",
            lambda client: client.batch_update_points(self.name, operations, wait=True),
        )

    def _mark(self, marks: Mapping[str, str]) -> None:
        from qdrant_client import models

        operations = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload={MARK: mark}, filter=_filter({"doc_id": [doc_id]})
                )
            )
            for doc_id, mark in marks.items()
        ]
        self._call(
            "marking points",
            lambda client: client.batch_update_points(self.name, operations, wait=True),
        )

    def _scroll(
        self,
        filters: Mapping[str, list[str]],
        *,
        fields: list[str] | None,
        page: int = Collection.page_size,
    ) -> Iterator[tuple[str, Payload]]:
        condition = _filter(filters)
        offset: Any = None
        while True:
            records, offset = self._call(
                "reading points", self._page(condition, offset, fields, page)
            )
            for record in records:
                yield str(record.id), record.payload or {}
            if offset is None:
                return

    def _page(
        self,
        condition: "models.Filter | None",
        offset: Any,
        fields: list[str] | None,
        page: int,
    ) -> "Callable[[QdrantClient], tuple[list[models.Record], Any]]":
        return lambda client: client.scroll(
            self.name,
            scroll_filter=condition,
            limit=page,
            offset=offset,
            with_payload=True if fields is None else fields,
            with_vectors=False,
        )

    def _nearest(
        self,
        dense: np.ndarray,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]:
        return self._query(dense.tolist(), DENSE, limit, _filter(filters, without))

    def _nearest_sparse(
        self,
        sparse: SparseVector,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]:
        from qdrant_client import models

        vector = models.SparseVector(indices=sparse.indices, values=sparse.values)
        return self._query(vector, SPARSE, limit, _filter(filters, without))

    def _query(
        self, vector: Any, using: str, limit: int, condition: "models.Filter | None"
    ) -> list[Hit]:
        from qdrant_client import models

        answer = self._call(
            "searching",
            lambda client: client.query_points(
                self.name,
                query=vector,
                using=using,
                limit=limit,
                query_filter=condition,
                search_params=models.SearchParams(hnsw_ef=CANDIDATES),
                with_payload=True,
            ),
        )
        return [Hit(str(point.id), point.score, _shown(point.payload)) for point in answer.points]


class _Server:
    """One client, made at the first call, and the retries and errors of every call."""

    def __init__(self, url: str, connect: "Callable[[], QdrantClient]") -> None:
        self.display = _without_credentials(url)
        self._connect = connect
        self._client: QdrantClient | None = None
        self._connecting = threading.Lock()

    def call(self, doing: str, function: "Callable[[QdrantClient], T]") -> T:
        try:
            for attempt in attempts(
                _retry_after, most=_ATTEMPTS, first_wait_s=0.2, longest_wait_s=10.0
            ):
                with attempt:
                    return function(self._connected())
        except Exception as error:
            raise VectorStoreError(
                f"{doing}: Qdrant at {self.display} {_explained(error)}",
                transient=_retry_after(error) is not False,
            ) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _connected(self) -> "QdrantClient":
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def exists(self, name: str) -> bool:
        return self.call(f"looking for {name}", lambda client: client.collection_exists(name))

    def metadata(self, name: str) -> dict[str, Any]:
        info = self.call(f"opening {name}", lambda client: client.get_collection(name))
        return dict(info.config.metadata or {})

    def is_ours(self, name: str) -> bool:
        """Whether a collection carries a recipe; not if it was dropped since it was listed."""
        try:
            return "fingerprint" in self.metadata(name)
        except VectorStoreError as error:
            if _is_gone(error.__cause__):
                return False
            raise

    def recipe(self, name: str) -> tuple[int, str]:
        metadata = self.metadata(name)
        if "dimension" not in metadata or "fingerprint" not in metadata:
            raise VectorStoreError(
                f"collection {name}: it stands on Qdrant at {self.display} without a recipe. "
                "Another program made it, or the server is older than 1.16: rename the index "
                "or upgrade the server."
            )
        return int(metadata["dimension"]), str(metadata["fingerprint"])

    def create(self, name: str, *, dimension: int, fingerprint: str) -> None:
        """Make the collection, unless another process was faster."""
        from qdrant_client import models

        def make(client: "QdrantClient") -> None:
            # Asked again at each attempt: the first may have worked and its answer been lost.
            if client.collection_exists(name):
                return
            client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(size=dimension, distance=models.Distance.COSINE)
                },
                sparse_vectors_config={
                    SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                metadata={"dimension": dimension, "fingerprint": fingerprint},
            )

        try:
            self.call(f"making collection {name}", make)
        except VectorStoreError as error:
            if _status(error.__cause__) != 409:
                raise

    def ensure_indexes(self, name: str) -> None:
        from qdrant_client import models

        info = self.call(f"opening {name}", lambda client: client.get_collection(name))
        for field in (*INDEXED_FIELDS, MARK):
            if field not in info.payload_schema:
                self.call(f"indexing {field} in {name}", _index_field(models, name, field))


def _index_field(models: Any, name: str, field: str) -> "Callable[[QdrantClient], object]":
    return lambda client: client.create_payload_index(
        name, field, field_schema=models.PayloadSchemaType.KEYWORD, wait=True
    )


def _connect(url: str, api_key: str | None, timeout_s: int) -> "QdrantClient":
    from qdrant_client import QdrantClient

    return QdrantClient(url=url, api_key=api_key, timeout=timeout_s, check_compatibility=False)


def _retry_after(error: Exception) -> bool | float:
    """Whether to try again: not at all, after the usual wait, or after so many seconds."""
    import httpx
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException

    if isinstance(error, ResourceExhaustedResponse):
        return min(float(error.retry_after_s), _LONGEST_WAIT_S)
    if isinstance(error, QdrantException):  # a 429 whose Retry-After is no number
        return True
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    status = _status(error)
    return status is not None and (status == 429 or status >= 500)


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of the client's error, if it has one."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _is_gone(error: BaseException | None) -> bool:
    """Whether there is no such collection; the client's in-memory mode has an error of its own."""
    return _status(error) == 404 or (isinstance(error, ValueError) and "not found" in str(error))


def _explained(error: Exception) -> str:
    from qdrant_client.http.exceptions import ResponseHandlingException

    reason = " ".join(str(getattr(error, "source", error)).split())[:300]
    status = _status(error)
    if isinstance(error, ResponseHandlingException):
        return (
            f"cannot be reached ({reason}). Check that it runs and that `vector_store` in "
            "platform.yaml is right."
        )
    if status in (401, 403):
        return f"refuses our key (HTTP {status}). Set QDRANT_API_KEY."
    return f"failed ({reason}). See the server's log and run again."


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _filter(
    filters: Mapping[str, list[str]], without: Sequence[str] = ()
) -> "models.Filter | None":
    from qdrant_client import models

    if not filters and not without:
        return None
    return models.Filter(
        must=[
            models.FieldCondition(key=field, match=models.MatchAny(any=values))
            if values
            else models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
            for field, values in filters.items()
        ],
        must_not=[models.FieldCondition(key="text_hash", match=models.MatchAny(any=list(without)))]
        if without
        else None,
    )


def _shown(payload: Payload | None) -> Payload:
    payload = payload or {}
    payload.pop(MARK, None)
    return payload
