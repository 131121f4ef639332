"""What a backup holds, written last: a backup exists once its manifest does.

    TARGET/backups/<time>-<digest>.json   a manifest, named by its own SHA-256
    TARGET/blobs/<ab>/<sha256>            content by its SHA-256, shared by all backups of TARGET

What is read here may come from anywhere: names, paths and sizes are checked before use.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from rag_platform.errors import PlatformError
from rag_platform.settings_values import Section

FOLDER = "backups/"
_NAME = re.compile(r"backups/([0-9]{8}T[0-9]{12}Z-([0-9a-f]{16}))\.json")
_MOST_BYTES = 2_000_000_000


class BackupDamaged(PlatformError):
    """A backup is incomplete, changed, or none of ours; nothing was restored."""


class NoBackup(PlatformError):
    """There is no such backup at this place."""


def _plain(path: str) -> str:
    """A relative path that stays below its folder on every system."""
    if any(part in ("", ".", "..") for part in path.split("/")) or re.search(
        r"[\\\x00-\x1f\x7f]", path
    ):
        raise ValueError("is not a plain path below a folder")
    return path


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("is not the full path of a folder")
    return path


PlainPath = Annotated[str, Field(max_length=2_000), AfterValidator(_plain)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Size = Annotated[int, Field(strict=True, ge=0)]
Kind = Literal["text", "int", "float", "bool", "bytes", "json", "uuid"]


class Blob(Section):
    """Content by its digest."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Size


class Rows(Blob):
    """Some rows of a table, as Parquet."""

    rows: Size


class TableCopy(Section):
    """A table of the catalog: its columns with what they hold, and its rows in order."""

    columns: dict[Identifier, Kind]
    parts: tuple[Rows, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)


class ObjectCopy(Blob):
    """An object of the storage; `etag` tells the next backup whether it is still the same."""

    path: PlainPath
    etag: str | None


class FileCopy(Blob):
    """A file of the state folder; the path begins with the part of the state that it is of."""

    path: PlainPath


class Manifest(Section):
    """One backup."""

    format: Literal[1]
    made_at: datetime
    version: str = Field(description="of rag_platform that made it")
    revision: Annotated[str, Field(pattern=r"^[0-9]{4}$")] = Field(description="of the catalog")
    home: Annotated[str, AfterValidator(_absolute)] = Field(
        description="state folder that it was made of"
    )
    tables: dict[Identifier, TableCopy]
    objects: tuple[ObjectCopy, ...]
    files: tuple[FileCopy, ...]

    def blobs(self) -> dict[str, int]:
        """Every blob that it needs: digest to size in bytes."""
        parts = [part for table in self.tables.values() for part in table.parts]
        return {blob.sha256: blob.size for blob in (*parts, *self.objects, *self.files)}

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables.values())


def names(store: Any) -> list[str]:
    """The backups in a store, oldest first."""
    found = (_NAME.fullmatch(meta["path"]) for batch in store.list(prefix=FOLDER) for meta in batch)
    return sorted(match[1] for match in found if match)


def write(store: Any, manifest: Manifest) -> str:
    """Make the backup visible; returns its name."""
    content = manifest.model_dump_json().encode()
    name = f"{manifest.made_at:%Y%m%dT%H%M%S%fZ}-{hashlib.sha256(content).hexdigest()[:16]}"
    store.put(_path(name), content)
    return name


def read(store: Any, name: str) -> Manifest:
    """The manifest of a backup. Raises `NoBackup`, `BackupDamaged`."""
    path = _path(name)
    match = _NAME.fullmatch(path)
    try:
        if match is None or store.head(path)["size"] > _MOST_BYTES:
            raise FileNotFoundError
        content = bytes(store.get(path).bytes())
    except FileNotFoundError:
        raise NoBackup(
            f"{name[:80]!r}: no such backup here. There are: {_told(names(store))}."
        ) from None
    if hashlib.sha256(content).hexdigest()[:16] != match[2]:
        raise BackupDamaged(f"{path}: was changed since it was written; delete it, use another.")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise BackupDamaged(
            f"{path}: no backup of this version of rag_platform ({where}: {first['msg']}). Use the "
            "version that made it, or take another backup."
        ) from None


def newest(store: Any) -> str:
    """The name of the newest backup. Raises `NoBackup`."""
    if found := names(store):
        return found[-1]
    raise NoBackup("there is no backup here; make one by: rag-platform backup TARGET")


def remove(store: Any, some: Iterable[str]) -> None:
    """Take manifests away; their blobs are left."""
    store.delete([_path(name) for name in some])


def _path(name: str) -> str:
    return f"{FOLDER}{name}.json"


def _told(found: list[str]) -> str:
    return ", ".join(found[-5:]) or "none"
