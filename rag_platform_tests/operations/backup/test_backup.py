"""Making backups: what is copied, what is not copied again, what goes."""

import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from obstore.store import LocalStore

from rag_platform.operations.backup import manifest
from rag_platform.operations.backup.backup import backup
from rag_platform.operations.backup.blobs import BackupFailed, Blobs, reported
from rag_platform.operations.backup.files import Places, copy_files, local_dagster
from rag_platform.storage.catalog import SCHEMA_REVISION
from rag_platform.storage.locks import LockTimeout
from rag_platform_tests.conformance.corpus import article
from rag_platform_tests.conformance.harness import SOURCE, WINDOWS, World
from rag_platform_tests.operations.backup.conftest import state


def blobs_in(target: LocalStore) -> set[str]:
    return {meta["path"] for batch in target.list(prefix="blobs/") for meta in batch}


def test_a_backup_and_the_next_one(world: World, target: LocalStore) -> None:
    first = backup(state(world), target)
    assert manifest.names(target) == [first.name]
    assert (first.added, first.removed) == (len(blobs_in(target)), 0)
    made = manifest.read(target, first.name)
    assert (made.revision, made.home) == (SCHEMA_REVISION, str(world.home))
    # 6 documents came, 1 was edited, 1 moved (away and here), 1 went.
    assert made.tables["changes"].rows == first.rows - sum(
        table.rows for name, table in made.tables.items() if name != "changes"
    )
    stored = [meta["path"] for batch in world.platform.objects.list() for meta in batch]
    assert sorted(copy.path for copy in made.objects) == sorted(stored)

    again = backup(state(world), target)
    assert (again.added, again.added_size) == (0, 0)
    assert (again.rows, again.objects, again.size) == (first.rows, first.objects, first.size)

    world.folder.write("new.md", article(9))
    world.sync(WINDOWS[3])
    third = backup(state(world), target)
    assert third.objects > first.objects
    # Of what was there only tables that changed are written again.
    assert 0 < third.added < third.objects
    assert third.added_size < first.size


def test_objects_that_did_not_change_are_not_read_again(
    lived: World, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(state(lived), target)
    from rag_platform.operations.backup import backup as module

    def unread(_store: Any, path: str) -> Any:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(module, "stream", unread)
    backup(state(lived), target)
    # A blob that is lost at the target is written anew.
    monkeypatch.undo()
    lost = manifest.read(target, manifest.newest(target)).objects[0].sha256
    target.delete(f"blobs/{lost[:2]}/{lost}")
    assert backup(state(lived), target).added == 1


def test_only_the_newest_are_kept(world: World, target: LocalStore) -> None:
    first = backup(state(world), target)
    world.folder.write("new.md", article(9))
    world.platform.raw(SOURCE).run(WINDOWS[3])
    second = backup(state(world), target, keep=2)
    assert second.removed == 0
    everything = blobs_in(target)
    world.folder.write("newer.md", article(10))
    world.platform.raw(SOURCE).run(WINDOWS[4])
    third = backup(state(world), target, keep=1)
    assert third.removed == 2
    assert manifest.names(target) == [third.name]
    assert first.name not in manifest.names(target)
    left = {path.rpartition("/")[2] for path in blobs_in(target)}
    assert left == manifest.read(target, third.name).blobs().keys()
    assert not everything <= blobs_in(target)


def test_one_backup_at_a_time(lived: World, target: LocalStore) -> None:
    patient = lived.platform.catalog.lock_timeout_s
    lived.platform.catalog.lock_timeout_s = 0.1
    with lived.platform.catalog.exclusive("backup"), pytest.raises(LockTimeout):
        backup(state(lived), target)
    lived.platform.catalog.lock_timeout_s = patient
    assert manifest.names(target) == []


@pytest.mark.parametrize("turn", [1, 5, 12])
def test_a_backup_that_was_cut_off_is_none(
    lived: World, target: LocalStore, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = Blobs.put, iter(range(1, 1_000))

    def cut(self: Blobs, chunks: Any) -> Any:
        if next(calls) == turn:
            raise KeyboardInterrupt
        return put(self, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "put", cut)
        with pytest.raises(KeyboardInterrupt):
            backup(state(lived), target)
    assert manifest.names(target) == []
    kept = len(blobs_in(target))
    done = backup(state(lived), target)
    assert done.added == len(blobs_in(target)) - kept


def damage(target: LocalStore, name: str) -> None:
    file = Path(str(target.prefix), "backups", f"{name}.json")
    file.write_text(file.read_text().replace('"rows":', '"rows": ', 1))


def test_a_damaged_backup_keeps_nobody_from_the_next(lived: World, target: LocalStore) -> None:
    first, second = (backup(state(lived), target).name for _ in range(2))
    damage(target, second)
    third = backup(state(lived), target)
    assert third.added == 0
    # What it needs is not known, so nothing is removed beside it.
    with pytest.raises(manifest.BackupDamaged, match=f"{second}.json: was changed .* delete it"):
        backup(state(lived), target, keep=3)
    assert {first, second, third.name} < set(manifest.names(target))
    manifest.remove(target, [second])
    assert backup(state(lived), target, keep=1).removed == 4 - 1


def test_a_backup_outlives_a_wrong_clock(lived: World, target: LocalStore) -> None:
    made = manifest.read(target, backup(state(lived), target).name)
    ahead = manifest.write(target, made.model_copy(update={"made_at": datetime(2099, 1, 1)}))
    now = backup(state(lived), target, keep=1).name
    assert manifest.names(target) == [now, ahead]


def test_one_whose_blobs_another_removed_is_none(
    lived: World, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another platform, with --keep, into the same place."""
    write = manifest.write

    def after_the_other(store: Any, made: Any) -> str:
        lost = made.objects[0].sha256
        store.delete(f"blobs/{lost[:2]}/{lost}")
        return write(store, made)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", after_the_other)
        with pytest.raises(BackupFailed, match="a place of its own"):
            backup(state(lived), target)
    assert manifest.names(target) == []
    assert backup(state(lived), target).added == 1


def test_a_database_that_went_away_is_no_surprise() -> None:
    lost = sa.exc.OperationalError("select", {}, Exception("server closed\nmore"))
    with (
        pytest.raises(BackupFailed, match=r"^backup: the catalog: server closed\. Run"),
        reported("backup"),
    ):
        raise lost


def test_files_beside_the_catalog(tmp_path: Path, target: LocalStore) -> None:
    artifacts, dagster = tmp_path / "artifacts", tmp_path / "dagster"
    (artifacts / "m" / "1").mkdir(parents=True)
    (artifacts / "m" / "1" / "model.bin").write_bytes(b"weights")
    (artifacts / "m" / "link").symlink_to("/etc/passwd")
    (dagster / "history" / "runs").mkdir(parents=True)
    for name in ("history/runs.db", "history/runs/a.db"):
        with sqlite3.connect(dagster / name) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table t (x)")
            connection.execute("insert into t values (1)")
    (dagster / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (dagster / "history" / "runs.db-journal").write_text("")
    blobs = Blobs(target)
    places = Places(tmp_path / "none.db", artifacts, local_dagster(dagster))
    found = {file.path: file for file in copy_files(places, blobs)}
    names = {"artifacts/m/1/model.bin", "dagster/history/runs.db", "dagster/history/runs/a.db"}
    assert found.keys() == names
    # What stands in the log of SQLite only is in the copy.
    copy = tmp_path / "copy.db"
    with blobs.open(found["dagster/history/runs.db"]) as content:
        copy.write_bytes(content.read())
    assert sqlite3.connect(copy).execute("select x from t").fetchall() == [(1,)]


def test_dagster_on_a_server_has_no_files_here(tmp_path: Path) -> None:
    assert local_dagster(tmp_path) == tmp_path
    (tmp_path / "dagster.yaml").write_text(json.dumps({"storage": {"postgres": {}}}))
    assert local_dagster(tmp_path) is None
