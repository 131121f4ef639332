"""Sources: where documents come from. A source lists its objects and gives their bytes."""

import errno
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rag_platform.errors import PlatformError
from rag_platform.storage.objects import explain, may_pass, split_s3

if TYPE_CHECKING:
    import pathspec

_BATCH = 1_000
# What following a link says when there is nothing at its end.
_NOWHERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG})
_OUTSIDE = "a link that leaves the folder; copy the file in"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_FIRST_SECOND = datetime(1, 1, 1, tzinfo=UTC).timestamp()


class SourceUnavailable(PlatformError):
    """The source could not be listed or read; nothing about its documents follows from that."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class NotTaken(Exception):
    """One object that is there and must not be taken: a reason code, and why in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


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
    """A set of addressable documents: those of a place that a selection lets through."""

    url: str
    fetch_threads: int

    @abstractmethod
    def batches(self) -> Iterator[list[ListedObject]]:
        """All objects, in batches. Raises `SourceUnavailable`; a part is never the whole."""

    @abstractmethod
    def fetch(self, key: str) -> Fetched | None:
        """The object's bytes now; None when it is no longer there. Raises `NotTaken`."""

    def uri(self, key: str) -> str:
        """The address of a document as people see it."""
        return f"{self.url.rstrip('/')}/{key}"


class FolderSource(Source):
    """A folder and all below it. Symbolic links to folders are not followed."""

    fetch_threads = 4

    def __init__(self, url: str, selection: "Selection") -> None:
        self.url = url
        self._selection = selection
        self._root = Path(unquote(urlsplit(url).path))
        self._resolved = os.path.realpath(self._root)

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
                        key = prefix + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if self._selection.may_enter(f"{key}/"):
                                pending.append((entry.path, f"{key}/"))
                        elif key in self._selection and (found := self._object(entry, key)):
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
        if entry.is_symlink() and self._leaves(Path(entry.path)):
            failure, detail = "outside_source", _OUTSIDE
        try:
            key.encode()
        except UnicodeEncodeError:
            key = os.fsencode(key).decode("utf-8", "backslashreplace")
            failure, detail = "bad_name", "the file name is not UTF-8; rename the file"
        return ListedObject(key, found.st_size, found.st_mtime, etag, failure, detail)

    def _leaves(self, path: Path) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self._resolved)

    def fetch(self, key: str) -> Fetched | None:
        path = self._root / key
        try:
            if self._leaves(path):  # made a link since it was listed
                raise NotTaken("outside_source", _OUTSIDE)
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                content = file.read()
        except PermissionError as error:
            raise NotTaken("unreadable", f"no permission to read it ({error.strerror})") from error
        except OSError as error:
            if error.errno in _NOWHERE or error.errno == errno.EISDIR:
                return None
            raise SourceUnavailable(
                f"{self.uri(key)}: reading failed ({error.strerror}). Run again when the folder "
                "can be read."
            ) from error
        etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
        return Fetched(content, found.st_mtime, etag)


class S3Source(Source):
    """The objects below a prefix of a bucket; folder markers are none.

    boto3 lists, because to it every key is a name; obstore, which reads many times faster, fails
    the whole listing at a key that it cannot address.
    """

    fetch_threads = 32

    def __init__(self, url: str, selection: "Selection", *, store: Any, client: Any) -> None:
        self.url = url
        self._selection = selection
        self._store = store
        self._client = client

    def batches(self) -> Iterator[list[ListedObject]]:
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, prefix = split_s3(self.url)
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                found = [(row["Key"][len(prefix) :], row) for row in page.get("Contents", ())]
                yield [
                    self._object(key, row)
                    for key, row in found
                    if key
                    and not (key.endswith("/") and not row["Size"])
                    and key in self._selection
                ]
        except (BotoCoreError, ClientError) as error:
            raise SourceUnavailable(
                f"{self.url}: listing failed, nothing was recorded: {explain(error)}",
                transient=may_pass(error),
            ) from error

    def _object(self, key: str, row: dict[str, Any]) -> ListedObject:
        failure, detail = None, ""
        if any(part in ("", ".", "..") for part in key.split("/")) or _CONTROL.search(key):
            failure, detail = "bad_name", "a key that is no path; give the object another key"
        modified = _seconds(row["LastModified"])
        return ListedObject(key, row["Size"], modified, row.get("ETag", ""), failure, detail)

    def fetch(self, key: str) -> Fetched | None:
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError

        try:
            result = self._store.get(key)
            content = bytes(result.bytes())
        except (FileNotFoundError, NotFoundError):
            return None
        except (PermissionDeniedError, PermissionError) as error:
            raise NotTaken("unreadable", "no permission to read it") from error
        except BaseError as error:
            raise SourceUnavailable(f"{self.uri(key)}: {explain(error)}") from error
        meta = result.meta
        return Fetched(content, _seconds(meta["last_modified"]), meta["e_tag"] or "")


def _seconds(modified: datetime) -> float:
    """A listing may tell fractions that a single object's answer does not."""
    return float(int(modified.timestamp()))


@dataclass(frozen=True)
class Selection:
    """Which keys belong to a source: patterns as in .gitignore."""

    include: "pathspec.PathSpec[Any]"
    exclude: "pathspec.PathSpec[Any]"
    # Where a pattern takes back what another excludes, nothing is known of a folder as a whole.
    prunes: bool

    @classmethod
    def of(cls, include: tuple[str, ...], exclude: tuple[str, ...]) -> "Selection":
        """Compile the patterns."""
        import pathspec

        spec = pathspec.GitIgnoreSpec
        prunes = not any(pattern.startswith("!") for pattern in exclude)
        return cls(spec.from_lines(include), spec.from_lines(exclude), prunes)

    def __contains__(self, key: str) -> bool:
        return self.include.match_file(key) and not self.exclude.match_file(key)

    def may_enter(self, folder: str) -> bool:
        """Whether anything below a folder (its key, with a slash at its end) may belong."""
        return not (self.prunes and self.exclude.match_file(folder))


def utc(seconds: float) -> datetime:
    """A datetime from seconds since 1970; times out of the calendar are its first or last."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), UTC)
