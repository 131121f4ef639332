"""Where rides come from: files in a folder or a bucket, read whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.documents.sources.kinds.s3 import S3Source
from rag_platform.documents.sources.selection import Selection
from rag_platform.errors import PlatformError
from rag_platform.rides.days import dates_in
from rag_platform.storage.objects import S3Connection, explain, may_pass, open_store, s3_client

SUFFIXES = (".csv", ".csv.gz", ".json", ".json.gz", ".jsonl", ".jsonl.gz", ".parquet")
MAX_FILE_BYTES = 4 * 1024**3
_COPY_BYTES = 8 * 1024**2


class NotReadable(Exception):
    """One file that is there and cannot be taken: a reason code, and why in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FileChanged(PlatformError):
    """A file is not the one that was listed any more."""

    transient = True


@dataclass(frozen=True, slots=True)
class RideFile:
    """One file of the listing; `name` is its key below the URL, and data, never a path."""

    name: str
    size: int
    etag: str
    failure: str | None = None
    detail: str = ""

    def concerns(self, day: date) -> bool:
        """Whether it may hold rides of a day: its name is of that time, or of none."""
        span = dates_in(self.name)
        return span is None or day in span.wider()


def digest(files: Sequence[RideFile]) -> str:
    """A digest over names, etags and sizes; it changes when any of the files does."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        for part in (file.name, file.etag, str(file.size), file.failure or ""):
            encoded = part.encode("utf-8", "surrogateescape")
            total.update(len(encoded).to_bytes(8, "big") + encoded)
    return total.hexdigest()


class RideFiles:
    """The ride files below a URL (`file:///folder` or `s3://bucket/prefix`)."""

    def __init__(self, url: str, s3: S3Connection) -> None:
        self.url = url
        self._s3 = s3

    def list(self) -> list[RideFile]:
        """All ride files by name. Raises `SourceUnavailable`."""
        found = [
            RideFile(item.key, item.size, item.etag or "", item.failure, item.detail)
            for batch in self._source().batches()
            for item in batch
            if item.key.lower().endswith(SUFFIXES)
        ]
        return sorted(found, key=lambda file: file.name)

    def _source(self) -> FolderSource | S3Source:
        everything = Selection.of(("*",), ())
        if self.url.startswith("file:"):
            return FolderSource(self.url, everything)
        store, client = open_store(self.url, self._s3), s3_client(self._s3)
        return S3Source(self.url, everything, store=store, client=client)

    @contextmanager
    def local(self, file: RideFile) -> Iterator[Path]:
        """A path with the bytes of a listed file, for the length of the block.

        Raises `NotReadable`, `FileChanged` when it was replaced since the listing, and
        `SourceUnavailable`.
        """
        if file.failure:
            raise NotReadable(file.failure, file.detail)
        if file.size > MAX_FILE_BYTES:
            raise NotReadable("too_large", f"more than {MAX_FILE_BYTES:,} bytes; split the file")
        if self.url.startswith("file:"):
            yield self._in_folder(file)
            return
        with tempfile.TemporaryDirectory(prefix="rides-") as folder:
            yield self._downloaded(file, Path(folder) / "file")

    def _in_folder(self, file: RideFile) -> Path:
        root = Path(unquote(urlsplit(self.url).path))
        path = Path(os.path.realpath(root / file.name))
        if not path.is_relative_to(os.path.realpath(root)):
            raise NotReadable("outside_source", "a link that leaves the folder; copy the file in")
        try:
            with path.open("rb"):
                return path
        except PermissionError as error:
            raise NotReadable("unreadable", "no permission to read it") from error
        except OSError as error:
            raise self._changed(file) from error

    def _downloaded(self, file: RideFile, path: Path) -> Path:
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError

        store: Any = open_store(self.url, self._s3)
        try:
            result = store.get(file.name)
            if result.meta["e_tag"] != file.etag:
                raise self._changed(file)
            with path.open("wb") as target:
                for part in result.stream(min_chunk_size=_COPY_BYTES):
                    target.write(part)
        except (FileNotFoundError, NotFoundError) as error:
            raise self._changed(file) from error
        except (PermissionDeniedError, PermissionError) as error:
            raise NotReadable("unreadable", "no permission to read it") from error
        except BaseError as error:
            raise SourceUnavailable(
                f"{self.url}: {explain(error)}", transient=may_pass(error)
            ) from error
        return path

    def _changed(self, file: RideFile) -> FileChanged:
        return FileChanged(
            f"{self.url}: {file.name[:200]!r} was changed or removed while it was read. Run again."
        )
