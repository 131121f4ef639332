"""Sources: where documents come from. A source lists its objects and gives their bytes."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    import pathspec

_BATCH = 1_000
# What following a link says when there is nothing at its end.
_NOWHERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG})
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_FIRST_SECOND = datetime(1, 1, 1, tzinfo=UTC).timestamp()


class SourceUnavailable(PlatformError):
    """The source could not be listed or read; nothing about its documents follows from that."""

    transient = True


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a listing; `modified` in seconds since 1970, UTC.

    `failure` is the reason code of an object that can be seen but not taken.
    """

    key: str
    size: int
    modified: float
    etag: str
    failure: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes with what the store said of them when they were read."""

    content: bytes
    modified: float
    etag: str


class Source(ABC):
    """A set of addressable documents."""

    url: str
    fetch_threads: int

    @abstractmethod
    def batches(self) -> Iterator[list[ListedObject]]:
        """All objects, in batches. Raises `SourceUnavailable`; a part is never the whole."""

    @abstractmethod
    def fetch(self, key: str) -> Fetched | None:
        """The object's bytes now; None when it is no longer there."""

    def uri(self, key: str) -> str:
        """The address of a document as people see it."""
        return f"{self.url.rstrip('/')}/{key}"


class FolderSource(Source):
    """A folder and all below it. Symbolic links to folders are not followed."""

    fetch_threads = 4

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = Path(unquote(urlsplit(url).path))

    def batches(self) -> Iterator[list[ListedObject]]:
        if not self._root.is_dir():
            raise SourceUnavailable(
                f"{self.url}: no such folder. Check `url` of the source, or mount it first."
            )
        batch: list[ListedObject] = []
        pending = [(str(self._root), "")]
        try:
            while pending:
                folder, prefix = pending.pop()
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((entry.path, f"{prefix}{entry.name}/"))
                        elif found := self._object(entry, prefix + entry.name):
                            batch.append(found)
                        if len(batch) >= _BATCH:
                            yield batch
                            batch = []
        except OSError as error:
            raise SourceUnavailable(
                f"{self.url}: listing failed at {error.filename!r} ({error.strerror}); nothing "
                "was recorded. Give this user read access, or exclude that folder."
            ) from error
        yield batch

    def _object(self, entry: os.DirEntry[str], key: str) -> ListedObject | None:
        try:
            found = entry.stat()
        except OSError as error:
            if error.errno in _NOWHERE:  # removed since, or a link to nowhere
                return None
            raise
        if not stat.S_ISREG(found.st_mode):
            return None
        etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        failure, detail = None, ""
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(
            self._root.resolve()
        ):
            failure, detail = (
                "outside_source",
                "a link that leaves the folder; copy the file in",
            )
        try:
            key.encode()
        except UnicodeEncodeError:
            key = os.fsencode(key).decode("utf-8", "backslashreplace")
            failure, detail = "bad_name", "the file name is not UTF-8; rename the file"
        return ListedObject(key, found.st_size, found.st_mtime, etag, failure, detail)

    def fetch(self, key: str) -> Fetched | None:
        try:
            with open(self._root / key, "rb") as file:
                found = os.fstat(file.fileno())
                content = file.read()
        except PermissionError:
            raise
        except OSError as error:
            if error.errno in _NOWHERE or error.errno == errno.EISDIR:
                return None
            raise SourceUnavailable(
                f"{self.uri(key)}: reading failed ({error.strerror}). Run again when the folder "
                "can be read."
            ) from error
        etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        return Fetched(content, found.st_mtime, etag)


class ObjectStoreSource(Source):
    """The objects below a prefix of an object store, by obstore."""

    fetch_threads = 32

    def __init__(self, url: str, store: Any) -> None:
        self.url = url
        self._store = store

    def batches(self) -> Iterator[list[ListedObject]]:
        from obstore.exceptions import BaseError

        try:
            for batch in self._store.list(chunk_size=_BATCH):
                yield [
                    ListedObject(
                        meta["path"],
                        meta["size"],
                        meta["last_modified"].timestamp(),
                        meta["e_tag"] or "",
                    )
                    for meta in batch
                ]
        except BaseError as error:
            raise SourceUnavailable(
                f"{self.url}: listing failed ({_first_line(error)}); nothing was recorded. "
                "Check the bucket, the endpoint and the credentials."
            ) from error

    def fetch(self, key: str) -> Fetched | None:
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError

        try:
            result = self._store.get(key)
            content = bytes(result.bytes())
        except (FileNotFoundError, NotFoundError):
            return None
        except (PermissionDeniedError, PermissionError) as error:
            raise PermissionError(_first_line(error)) from error
        except BaseError as error:
            raise SourceUnavailable(
                f"{self.uri(key)}: reading failed ({_first_line(error)}). Run again when the "
                "store answers."
            ) from error
        meta = result.meta
        return Fetched(content, meta["last_modified"].timestamp(), meta["e_tag"] or "")


@dataclass(frozen=True)
class Selection:
    """Which keys belong to a source: patterns as in .gitignore."""

    include: "pathspec.PathSpec[Any]"
    exclude: "pathspec.PathSpec[Any]"

    @classmethod
    def of(cls, include: tuple[str, ...], exclude: tuple[str, ...]) -> "Selection":
        """Compile the patterns."""
        import pathspec

        spec = pathspec.GitIgnoreSpec
        return cls(spec.from_lines(include), spec.from_lines(exclude))

    def __contains__(self, key: str) -> bool:
        return self.include.match_file(key) and not self.exclude.match_file(key)


def utc(seconds: float) -> datetime:
    """A datetime from seconds since 1970; times out of the calendar are its first or last."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), UTC)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
