"""Files of a state folder that stand beside the catalog: the databases of MLflow and Dagster, and
artifacts of models. In a backup a file's path begins with the part that it is of."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from rag_platform.operations.backup.blobs import Blobs, pieces
from rag_platform.operations.backup.manifest import BackupDamaged, FileCopy
from rag_platform.storage.files import whole

_MLFLOW, _ARTIFACTS, _DAGSTER = "mlflow.db", "artifacts", "dagster"
# Where Dagster keeps its databases. Its settings may name code: they are no part of a backup.
_DAGSTER_FOLDERS = ("history", "schedules")
# Columns of MLflow's database that hold addresses of artifacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where these files are; None for what a server keeps.

    `mlflow` is MLflow's SQLite file, `artifacts` the folder of what was registered there,
    `dagster` the DAGSTER_HOME.
    """

    mlflow: Path | None = None
    artifacts: Path | None = None
    dagster: Path | None = None

    def target(self, path: str) -> Path | None:
        """Where a file of a backup belongs; None where a server has its place here.

        Raises `BackupDamaged` for a path that no backup of ours has.
        """
        part, _, rest = path.partition("/")
        if path == _MLFLOW:
            return self.mlflow
        if part == _ARTIFACTS and rest:
            return self.artifacts / rest if self.artifacts else None
        if part == _DAGSTER and rest.split("/")[0] in _DAGSTER_FOLDERS and rest.endswith(".db"):
            return self.dagster / rest if self.dagster else None
        raise BackupDamaged(f"{path[:200]!r}: is no file of a state folder; nothing was restored.")

    def filled(self) -> Iterator[Path]:
        """What is there already."""
        dagster = [self.dagster / name for name in _DAGSTER_FOLDERS] if self.dagster else []
        for path in (self.mlflow, self.artifacts, *dagster):
            if path is not None and path.exists():
                yield path


def local_dagster(home: Path) -> Path | None:
    """A DAGSTER_HOME that has its databases in itself; None where its settings say otherwise."""
    file = home / "dagster.yaml"
    rules = yaml.safe_load(file.read_text("utf-8")) if file.exists() else None
    elsewhere = {"storage", "run_storage", "event_log_storage", "schedule_storage"}
    return None if elsewhere & set(rules or ()) else home


def copy_files(places: Places, blobs: Blobs) -> Iterator[FileCopy]:
    """Databases, each as it is at one moment, and artifacts."""
    if places.artifacts:
        for path in sorted(places.artifacts.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield _file(path, f"{_ARTIFACTS}/{_below(path, places.artifacts)}", blobs)
    if places.mlflow and places.mlflow.exists():
        yield _database(places.mlflow, _MLFLOW, blobs)
    if places.dagster:
        for folder in _DAGSTER_FOLDERS:
            for path in sorted((places.dagster / folder).rglob("*.db")):
                yield _database(path, f"{_DAGSTER}/{_below(path, places.dagster)}", blobs)


def restore_files(
    places: Places, files: Iterable[FileCopy], blobs: Blobs, *, former: Path, home: Path
) -> None:
    """Each file as a whole; one that is there is left. `former` is the state folder that the
    backup was made of, `home` that of today: MLflow's addresses below it are moved."""
    for file in files:
        path = places.target(file.path)
        if path is None or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with blobs.open(file) as content, whole(path) as target:
            with target.open("wb") as written:
                shutil.copyfileobj(content, written)
            if file.path == _MLFLOW and former != home:
                _move_artifacts(target, former=former.as_uri(), home=home.as_uri())


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _file(path: Path, name: str, blobs: Blobs) -> FileCopy:
    with path.open("rb") as file:
        blob = blobs.put(pieces(file))
    return FileCopy(path=name, sha256=blob.sha256, size=blob.size)


def _database(path: Path, name: str, blobs: Blobs) -> FileCopy:
    """A SQLite file by SQLite's own backup, which waits for no writer and holds none up."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.db")
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return _file(copy, name, blobs)


def _move_artifacts(database: Path, *, former: str, home: str) -> None:
    """MLflow on SQLite writes down where artifacts lie by the state folder's full address."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _ADDRESSES:
            known = connection.execute(f"pragma table_info({table})").fetchall()
            if column in {row[1] for row in known}:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where substr({column}, 1, ?) = ?",
                    (home, len(former) + 1, len(former) + 1, f"{former}/"),
                )
