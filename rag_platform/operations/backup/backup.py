"""Making a backup, while the platform works.

The catalog is read as it is at one moment, in one read transaction; the objects come after it. They
do not change once they are written, and none that the catalog names is removed before the one that
takes its place is there. What was written since that moment may be in the backup besides: it does
no harm, as what a killed run leaves does none. Indexes are not copied. Every point follows from the
catalog, which has its vector in the memo, and from the chunks in the storage.
"""

import contextlib
import importlib.metadata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_platform.operations.backup import manifest
from rag_platform.operations.backup.blobs import BackupFailed, Blobs, reported, stream
from rag_platform.operations.backup.files import Places, copy_files
from rag_platform.operations.backup.manifest import BackupDamaged, Manifest, ObjectCopy
from rag_platform.operations.backup.tables import dump, snapshot
from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog
from rag_platform.storage.vectors.base import VectorStore

LOCK = "backup"
_THREADS = 8


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a platform keeps. `objects` is the store of its pages, `home` its folder."""

    catalog: Catalog
    objects: Any
    vectors: VectorStore
    files: Places
    home: Path


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was backed up. `added` are blobs that the target did not have; sizes are in bytes."""

    name: str
    rows: int
    objects: int
    files: int
    size: int
    added: int
    added_size: int
    removed: int

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def backup(state: State, target: Any, *, keep: int | None = None) -> BackupReport:
    """Copy everything to a store, where only what is new is written.

    With `keep`, only so many of the newest backups stay there. Raises `LockTimeout` while another
    backup of this platform is made, `BackupFailed`.
    """
    with state.catalog.exclusive(LOCK), reported("backup"):
        blobs = Blobs(target)
        made = _made(state, blobs, known=_newest_objects(target))
        name = manifest.write(target, made)
        if blobs.lost(made.blobs()):
            manifest.remove(target, [name])
            raise BackupFailed(
                "backup: another one into the same place removed what this one needs. Give every "
                "platform a place of its own, and run again."
            )
        removed = _prune(target, blobs, keep, made=name) if keep else 0
    return BackupReport(
        name=name,
        rows=made.rows,
        objects=len(made.objects),
        files=len(made.files),
        size=sum(made.blobs().values()),
        added=blobs.added,
        added_size=blobs.added_bytes,
        removed=removed,
    )


def _made(state: State, blobs: Blobs, *, known: dict[str, ObjectCopy]) -> Manifest:
    with snapshot(state.catalog) as connection:
        made_at = datetime.now(UTC)
        tables = dump(connection, blobs)
    return Manifest(
        format=1,
        made_at=made_at,
        version=_version(),
        revision=SCHEMA_REVISION,
        home=str(state.home),
        tables=tables,
        objects=tuple(_objects(state.objects, blobs, known)),
        files=tuple(copy_files(state.files, blobs)),
    )


def _version() -> str:
    try:
        return importlib.metadata.version("rag_platform")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def _newest_objects(target: Any) -> dict[str, ObjectCopy]:
    """The objects of the newest backup by path: what did not change since is not read again."""
    for name in reversed(manifest.names(target)):
        # One that cannot be read is no reason to go without a backup.
        with contextlib.suppress(BackupDamaged):
            return {copy.path: copy for copy in manifest.read(target, name).objects}
    return {}


def _objects(store: Any, blobs: Blobs, known: dict[str, ObjectCopy]) -> Iterator[ObjectCopy]:
    """Copies of all objects, oldest first; one that is removed meanwhile is left out."""

    def copied(meta: Any) -> ObjectCopy | None:
        path, etag = meta["path"], meta["e_tag"]
        before = known.get(path)
        same = before and etag and (before.etag, before.size) == (etag, meta["size"])
        if before and same and blobs.has(before):
            return before
        try:
            blob = blobs.put(stream(store, path))
        except FileNotFoundError:
            return None
        return ObjectCopy(path=path, etag=etag, sha256=blob.sha256, size=blob.size)

    metas = [meta for batch in store.list() for meta in batch]
    metas.sort(key=lambda meta: (meta["last_modified"], meta["path"]))
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from (copy for copy in threads.map(copied, metas) if copy is not None)


def _prune(target: Any, blobs: Blobs, keep: int, *, made: str) -> int:
    """Remove all but the newest backups, then the blobs that none needs; returns how many.

    The one that was just made is kept whatever the clock says. Raises `BackupDamaged` where one
    that is to stay cannot be read: nothing is removed then.
    """
    found = manifest.names(target)
    stale = [name for name in found[:-keep] if name != made]
    if not stale:
        return 0
    wanted: set[str] = set()
    for name in found:
        if name not in stale:
            wanted |= manifest.read(target, name).blobs().keys()
    manifest.remove(target, stale)
    blobs.prune(wanted)
    return len(stale)
