"""The Batch API of an OpenAI-compatible service: requests in a file, answers in another.

https://platform.openai.com/docs/guides/batch
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from rag_platform.llm.connection import Connection
from rag_platform.llm.errors import ModelUnavailable, ServiceRefused
from rag_platform.llm.http_errors import may_pass, one_line
from rag_platform.retries import attempts
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

# Our own name of a batch, in the metadata that the service keeps with it.
METADATA = "rag_platform_batch"

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_ATTEMPTS = 4
_PAGE = 100
_MOST_PAGES = 1_000
# A clock of the service may be so far behind ours.
_CLOCKS_S = 3600.0
_MOST_BYTES = 8 << 20
_MOST_FILE_BYTES = 4 << 30
_FILE_S = 3600.0


class BatchesRefused(ServiceRefused):
    """The service does not take batches, or not this one; `status` is that of its answer."""

    def __init__(self, message: str, *, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the service shows it: its address there, its state and its files."""

    id: str
    status: str
    files: tuple[str, ...]
    input_file: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be answered."""
        return self.status in _ENDED


class BatchApi:
    """Batches of chat completions at a service; every step may be repeated but `create`.

    What may pass is tried again up to 4 times. Raises `BatchesRefused` for what the service will
    not do, and `ModelUnavailable` where it does not answer.
    """

    def __init__(self, connection: Connection, *, first_wait_s: float) -> None:
        self.endpoint = f"{display_url(connection.base_url)}/batches"
        self._connection = connection
        self._first_wait_s = first_wait_s

    def upload(self, lines: Iterable[bytes]) -> str:
        """Store the requests as a file at the service; returns its id there."""
        content = b"".join(lines)
        sent = self._insist(
            lambda: self._client.files.with_raw_response.create(
                file=("requests.jsonl", content), purpose="batch"
            )
        )
        return self._id(sent.get("id"))

    def create(self, name: str, file: str) -> RemoteBatch:
        """Begin a batch over an uploaded file. `name` is ours, for `find`.

        One request and no more: when it fails with `ModelUnavailable` the batch may be there all
        the same, so `find` is asked before it is sent again.
        """
        return self._batch(
            self._once(
                lambda: self._client.batches.with_raw_response.create(
                    completion_window="24h",
                    endpoint="/v1/chat/completions",
                    input_file_id=file,
                    metadata={METADATA: name},
                )
            )
        )

    def find(self, name: str, *, since: float) -> RemoteBatch | None:
        """The batch of this name; None if the service has none that is newer than `since`."""
        after: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            listed = self._client.batches.with_raw_response.list
            page = self._insist(partial(listed, limit=_PAGE, **after))
            batches = [each for each in _list(page.get("data")) if isinstance(each, dict)]
            for each in batches:
                metadata = each.get("metadata")
                if isinstance(metadata, dict) and metadata.get(METADATA) == name:
                    return self._batch(each)
            last = batches[-1] if batches else {}
            created = last.get("created_at")
            is_old = isinstance(created, int | float) and created < since - _CLOCKS_S
            if page.get("has_more") is not True or is_old or not batches:
                return None
            after = {"after": self._id(last.get("id"))}
        raise self._unavailable("its list of batches has no end")

    def look(self, remote_id: str) -> RemoteBatch | None:
        """The batch as it is now; None when the service knows it no more."""
        try:
            return self._batch(
                self._insist(lambda: self._client.batches.with_raw_response.retrieve(remote_id))
            )
        except BatchesRefused as refusal:
            if refusal.status == 404:
                return None
            raise

    def answers(self, file: str) -> Iterator[dict[str, Any]]:
        """The lines of a file of answers, each a JSON object; what is none is left out.

        Begins again from the first line where the connection breaks, so a line may come twice.
        """
        import httpx2
        import openai

        tries = attempts(
            lambda error: isinstance(error, httpx2.TransportError) or may_pass(error),
            most=_ATTEMPTS,
            first_wait_s=self._first_wait_s,
            longest_wait_s=60.0,
        )
        try:
            for attempt in tries:
                with attempt:
                    yield from self._answers(file)
        except httpx2.TransportError as error:
            raise self._unavailable(type(error).__name__) from None
        except openai.APIError as error:
            raise self._told(error) from None

    def forget(self, batch: RemoteBatch) -> None:
        """Remove the files of a batch from the service: they hold documents, and take room."""
        import openai

        for file in filter(None, (batch.input_file, *batch.files)):
            try:
                self._client.files.with_raw_response.delete(file)
            except openai.APIError as error:
                logger.info("%s: a file of a batch stays there (%s)", self.endpoint, _kind(error))

    def _answers(self, file: str) -> Iterator[dict[str, Any]]:
        with self._files.files.with_streaming_response.content(file) as response:
            for line in _lines(response.iter_bytes()):
                try:
                    answer = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(answer, dict):
                    yield answer

    def _batch(self, found: dict[str, Any]) -> RemoteBatch:
        files = (found.get(name) for name in ("output_file_id", "error_file_id"))
        status, source = found.get("status"), found.get("input_file_id")
        return RemoteBatch(
            self._id(found.get("id")),
            status if isinstance(status, str) else "unknown",
            tuple(self._id(each) for each in files if each),
            self._id(source) if source else None,
        )

    def _id(self, value: Any) -> str:
        if not isinstance(value, str) or not _ID.fullmatch(value):
            raise self._unavailable("its answer is none of a Batch API")
        return value

    def _insist(self, ask: Callable[[], Any]) -> dict[str, Any]:
        """The JSON of an answer, tried again where that may help."""
        import openai

        tries = attempts(
            may_pass, most=_ATTEMPTS, first_wait_s=self._first_wait_s, longest_wait_s=60.0
        )
        try:
            for attempt in tries:
                with attempt:
                    return self._object(ask().content)
        except openai.APIError as error:
            raise self._told(error) from None
        raise AssertionError("the last attempt returns or raises")

    def _once(self, ask: Callable[[], Any]) -> dict[str, Any]:
        import openai

        try:
            return self._object(ask().content)
        except openai.APIError as error:
            raise self._told(error) from None

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._unavailable("its answer is none of a Batch API")
        return found

    def _told(self, error: "openai.APIError") -> ModelUnavailable | BatchesRefused:
        """In one line, without the key and without what was sent."""
        if may_pass(error):
            return self._unavailable(_kind(error))
        return BatchesRefused(
            f"{self.endpoint}: the service takes no batches ({_kind(error)}). Set "
            "`llm.batch_backfills` to false, or check OPENAI_API_KEY and its rights.",
            status=getattr(error, "status_code", None),
        )

    def _unavailable(self, why: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self.endpoint}: no answer to use ({why}). Run again later: a batch that was sent "
            "is found again and not paid for twice."
        )

    @cached_property
    def _client(self) -> "openai.OpenAI":
        from rag_platform.llm.bounded_http import openai_client

        return openai_client(self._connection, most_bytes=_MOST_BYTES)

    @cached_property
    def _files(self) -> "openai.OpenAI":
        """For files of answers, which are long."""
        from rag_platform.llm.bounded_http import openai_client

        return openai_client(self._connection, total_s=_FILE_S, most_bytes=_MOST_FILE_BYTES)


def _kind(error: "openai.APIError") -> str:
    status = getattr(error, "status_code", None)
    code = f" {one_line(str(error.code), most=60)}" if error.code else ""
    return f"{status}{code}" if status else type(error).__name__


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _lines(parts: Iterable[bytes], *, most: int = _MOST_BYTES) -> Iterator[bytes]:
    """The lines of a stream; one that is longer than `most` bytes is left out."""
    held, skipping = b"", False
    for part in parts:
        *whole, rest = (held + part).split(b"\n")
        for line in whole:
            if not skipping and len(line) <= most:
                yield line
            skipping = False
        held = rest
        if len(held) > most:
            held, skipping = b"", True
    if held and not skipping:
        yield held
