"""Content under its SHA-256 in an object store: written once, checked whenever it is read."""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Any

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.operations.backup.manifest import BackupDamaged, Blob
from rag_platform.storage.objects import explain, may_pass

_FOLDER = "blobs/"
# What is larger waits for its digest on the disk (TMPDIR), not in memory.
_IN_MEMORY = 16_000_000
_CHUNK = 1_000_000
_DELETED_AT_ONCE = 1_000


class BackupFailed(PlatformError):
    """A store did not give or take what it was asked; running again goes on."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class Blobs:
    """The blobs of one store. Safe to use from several threads."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._known = {
            meta["path"].rpartition("/")[2]: int(meta["size"])
            for batch in store.list(prefix=_FOLDER)
            for meta in batch
        }
        self.added = 0
        self.added_bytes = 0

    def has(self, blob: Blob) -> bool:
        """Whether it is there, by name and size."""
        return self._known.get(blob.sha256) == blob.size

    def put(self, chunks: Iterable[bytes]) -> Blob:
        """Keep content; what is there already is not written again."""
        with spooled() as file:
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            blob = Blob(sha256=digest.hexdigest(), size=file.tell())
            if not self.has(blob):
                file.seek(0)
                self._store.put(_path(blob.sha256), file)
                with self._guard:
                    self._known[blob.sha256] = blob.size
                    self.added += 1
                    self.added_bytes += blob.size
        return blob

    @contextlib.contextmanager
    def open(self, blob: Blob) -> Iterator[IO[bytes]]:
        """The content, once it was compared with its digest. Raises `BackupDamaged`."""
        with spooled() as file:
            for chunk in self._verified(blob):
                file.write(chunk)
            file.seek(0)
            yield file

    def check(self, blob: Blob) -> None:
        """Read it and compare it with its digest. Raises `BackupDamaged`."""
        for _ in self._verified(blob):
            pass

    def lost(self, some: Iterable[str]) -> set[str]:
        """Those of some digests whose blobs are not there now."""
        there = {meta["path"] for batch in self._store.list(prefix=_FOLDER) for meta in batch}
        return {sha256 for sha256 in some if _path(sha256) not in there}

    def prune(self, wanted: Collection[str]) -> int:
        """Remove all blobs but these; returns how many."""
        stale = sorted(self._known.keys() - set(wanted))
        for start in range(0, len(stale), _DELETED_AT_ONCE):
            self._store.delete(
                [_path(sha256) for sha256 in stale[start : start + _DELETED_AT_ONCE]]
            )
        for sha256 in stale:
            del self._known[sha256]
        return len(stale)

    def _verified(self, blob: Blob) -> Iterator[bytes]:
        if not self.has(blob):
            raise _damaged(blob, "is missing or has another size; take another backup")
        digest, size = hashlib.sha256(), 0
        for chunk in stream(self._store, _path(blob.sha256)):
            digest.update(chunk)
            size += len(chunk)
            if size > blob.size:
                break
            yield chunk
        if size != blob.size or digest.hexdigest() != blob.sha256:
            # Another backup would not write it again: it is there, and of its size.
            raise _damaged(blob, "was changed since it was written; delete it, then take a backup")


def stream(store: Any, path: str) -> Iterator[bytes]:
    """An object's bytes, piece by piece. Raises `FileNotFoundError` before the first."""
    for chunk in store.get(path).stream(min_chunk_size=_CHUNK):
        yield bytes(chunk)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes, piece by piece."""
    while chunk := file.read(_CHUNK):
        yield chunk


def spooled() -> "tempfile.SpooledTemporaryFile[bytes]":
    """A file that is in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


@contextlib.contextmanager
def reported(doing: str) -> Iterator[None]:
    """Give errors of stores, disks and databases a place and an advice."""
    from obstore.exceptions import BaseError

    try:
        yield
    except sa.exc.OperationalError as error:
        raise BackupFailed(
            f"{doing}: the catalog: {str(error.orig).splitlines()[0].rstrip('.')}. "
            "Run again when it is there: what was copied is kept."
        ) from error
    except (BaseError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else explain(error)
        raise BackupFailed(
            f"{doing}: {why.rstrip('.')}. Put that right and run again: what was copied is kept.",
            transient=may_pass(error),
        ) from error


def _damaged(blob: Blob, how: str) -> BackupDamaged:
    return BackupDamaged(f"{_path(blob.sha256)}: {how}.")


def _path(sha256: str) -> str:
    return f"{_FOLDER}{sha256[:2]}/{sha256}"
