"""A folder as a source."""

import errno
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    Place,
    Source,
    SourceUnavailable,
)
from rag_platform.documents.sources.selection import Selection

_BATCH = 1_000
# What following a link says when there is nothing at its end.
_NOWHERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG})
_OUTSIDE = "a link that leaves the folder; copy the file in"


class FolderSource(Source):
    """A folder and all below it. Symbolic links to folders are not followed."""

    schemes = ("file",)
    sensor_seconds = 60

    def __init__(self, url: str, selection: Selection) -> None:
        self.url = url
        self._selection = selection
        self._root = Path(unquote(urlsplit(url).path))
        self._resolved = os.path.realpath(self._root)

    @classmethod
    def open(cls, place: Place) -> Self:
        return cls(place.url, place.selection)

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
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

    def fetch(self, key: str, known: Known | None = None) -> Fetched | None:
        path = self._root / key
        try:
            if self._leaves(path):  # made a link since it was listed
                raise NotTaken("outside_source", _OUTSIDE)
            with open(path, "rb", opener=_opened) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return None
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


def _opened(path: str, flags: int) -> int:
    """A pipe put in a file's place must not hold whoever opens it."""
    return os.open(path, flags | os.O_NONBLOCK)


KIND = FolderSource
