"""Restoring a backup into an empty place.

Objects and files come first, the catalog last and in one transaction: until then the place is
empty to everybody. A note in the state folder says which backup is being restored; killed, the
same command goes on, and what is there is not copied again. The indexes are made afterwards, by
reconciling them with the catalog.
"""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from rag_platform.operations.backup import tables
from rag_platform.operations.backup.backup import LOCK, State
from rag_platform.operations.backup.blobs import Blobs, reported
from rag_platform.operations.backup.files import restore_files
from rag_platform.operations.backup.manifest import Blob, Manifest, ObjectCopy, read
from rag_platform.operations.backup.tables import NotEmpty, is_filled, load

_THREADS = 8
_SHOWN = 3
_TICK_S = 0.2


class Restore:
    """One backup of a store and the place that it is restored into."""

    def __init__(self, state: State, source: Any, name: str) -> None:
        """Reads the manifest. Raises `NoBackup`, `BackupDamaged`, `NewerBackup`."""
        with reported("restore"):
            self.manifest: Manifest = read(source, name)
            tables.refuse_unknown(self.manifest.revision)
            self._blobs = Blobs(source)
        for file in self.manifest.files:
            state.files.target(file.path)
        self._state = state
        self._name = name
        self._note = state.home / "locks" / "restoring"

    def check(self) -> None:
        """Read everything, and compare it with its digests. Raises `BackupDamaged`."""
        blobs = [Blob(sha256=sha, size=size) for sha, size in self.manifest.blobs().items()]
        with reported("restore"):
            _in_threads(self._blobs.check, blobs)

    def refuse_filled(self) -> None:
        """Raises `NotEmpty` unless the place is empty or this very backup is being restored."""
        with reported("restore"):
            if self._is_begun():
                return
            found = [*self._filled()]
        if found:
            raise NotEmpty(
                f"{', '.join(found[:_SHOWN])}: not empty; nothing was restored. Restore into a new "
                "RAG_PLATFORM_HOME, database and bucket, or empty these first."
            )

    def run(self) -> None:
        """Restore. Raises `NotEmpty`, `BackupDamaged`, `BackupFailed`."""
        state, made = self._state, self.manifest
        with state.catalog.exclusive(LOCK), reported("restore"):
            self.refuse_filled()
            self._note.parent.mkdir(parents=True, exist_ok=True)
            self._note.write_text(self._name, encoding="utf-8")
            self._restore_objects()
            former = Path(made.home)
            restore_files(state.files, made.files, self._blobs, former=former, home=state.home)
            with state.catalog.read() as connection:
                filled = is_filled(connection)
            if not filled:
                load(state.catalog, made.tables, self._blobs, revision=made.revision)

    def finish(self) -> None:
        """Say that all is done, the indexes too: from now on the place counts as filled."""
        self._note.unlink(missing_ok=True)

    def _is_begun(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._note.read_text(encoding="utf-8") == self._name
        return False

    def _filled(self) -> Iterator[str]:
        state = self._state
        with state.catalog.read() as connection:
            if is_filled(connection):
                yield f"catalog {state.catalog.display}"
        if any(batch for batch in itertools.islice(state.objects.list(chunk_size=1), 1)):
            yield "storage"
        yield from (f"collection {name}" for name in state.vectors.names())
        yield from map(str, state.files.filled())

    def _restore_objects(self) -> None:
        """The objects of a folder one after the other, since the newest part of a page counts."""
        folders: dict[str, list[ObjectCopy]] = {}
        for copy in self.manifest.objects:
            folders.setdefault(copy.path.rpartition("/")[0], []).append(copy)
        _in_threads(self._restore_folder, list(folders.values()))

    def _restore_folder(self, copies: list[ObjectCopy]) -> None:
        store = self._state.objects
        folder = copies[0].path.rpartition("/")[0]
        there = {
            meta["path"]: meta["size"]
            for batch in store.list(prefix=f"{folder}/" if folder else None)
            for meta in batch
        }
        parts = Counter(_pass(copy.path) for copy in copies)
        newest: dict[str, datetime] = {}
        for copy in copies:
            one = _pass(copy.path)
            if there.get(copy.path) != copy.size:
                with self._blobs.open(copy) as content:
                    self._write(copy.path, content, after=newest.get(one))
            if parts[one] > 1:
                newest[one] = store.head(copy.path)["last_modified"]

    def _write(self, path: str, content: IO[bytes], *, after: datetime | None) -> None:
        """An object that is newer than `after`: some stores tell time in whole seconds."""
        store = self._state.objects
        store.put(path, content)
        while after and store.head(path)["last_modified"] <= after:
            time.sleep(_TICK_S)
            content.seek(0)
            store.put(path, content)


def _pass(path: str) -> str:
    """What the parts of one pass have in common: the newest of them counts."""
    return path.rpartition("-")[0] if path.endswith(".parquet") else path


def _in_threads(work: Callable[[Any], None], items: list[Any]) -> None:
    """Do the same for all; the first error ends it."""
    with ThreadPoolExecutor(_THREADS) as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
