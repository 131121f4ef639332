"""A backup restored answers as before; what is damaged, foreign or in the way is refused."""

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from obstore.store import LocalStore

from rag_platform.operations.backup import backup as module_of_backup
from rag_platform.operations.backup import manifest, tables
from rag_platform.operations.backup.backup import State, backup
from rag_platform.operations.backup.blobs import Blobs
from rag_platform.operations.backup.files import Places, copy_files, restore_files
from rag_platform.operations.backup.manifest import BackupDamaged, Manifest, NoBackup
from rag_platform.operations.backup.restore import Restore
from rag_platform.operations.backup.tables import NewerBackup, NotEmpty
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.objects import open_store
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema_base import metadata
from rag_platform_tests.conformance.corpus import article
from rag_platform_tests.conformance.harness import V1, WINDOWS, World, assert_same
from rag_platform_tests.forks import FORKS
from rag_platform_tests.operations.backup.conftest import Open, answers, state
from rag_platform_tests.servers.seaweed import S3Server


def restore(world: World, source: Any, name: str | None = None) -> None:
    """As the command does it."""
    restoring = Restore(state(world), source, name or manifest.newest(source))
    restoring.refuse_filled()
    restoring.check()
    restoring.run()
    assert world.platform.reconciler(V1).run(repair=True).agrees
    restoring.finish()


def content(catalog: Catalog) -> dict[str, list[str]]:
    """All rows but of what reconciling measured."""
    with catalog.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
            if table.name != "measures"
        }


def refused(world: World) -> None:
    """Nothing was written."""
    assert not any(content(world.platform.catalog).values())
    assert not any(world.platform.objects.list())
    assert world.platform.vectors.names() == []


def lives_on(world: World) -> None:
    """A sync that finds nothing new does nothing; an edit costs what it costs."""
    with world.counted() as embedded:
        done = world.sync(WINDOWS[3])
    assert (embedded, done.writes()) == ([], 0)
    assert done.page.changes == {}
    world.folder.write("station-4.md", article(4) + "\nOne more sentence about the boiler.\n")
    with world.counted() as embedded:
        world.sync(WINDOWS[4])
    assert len(embedded) == 1


def test_it_answers_as_before(world: World, empty: Open, target: LocalStore) -> None:
    before, points = answers(world), world.contents()
    rows = content(world.platform.catalog)
    backup(state(world), target)
    restored = empty(world, engine="embedded")
    with restored.counted() as embedded:
        restore(restored, target)
    assert embedded == []
    assert content(restored.platform.catalog) == rows
    assert_same(restored.contents(), points)
    assert answers(restored) == before
    assert restored.platform.reconciler(V1).run(repair=False, full=True).agrees
    lives_on(restored)


@pytest.mark.slow
def test_from_one_machine_to_servers_and_from_there_on(
    world: World,
    empty: Open,
    target: LocalStore,
    postgres_catalog: str,
    postgres_database: str,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite and a folder become PostgreSQL and S3, those PostgreSQL and S3 elsewhere."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    s3 = {"endpoint_url": s3_server.endpoint}
    before, points = answers(world), world.contents()
    backup(state(world), target)

    first = empty(
        world,
        catalog=postgres_catalog,
        storage=f"s3://{s3_server.make_bucket()}/state",
        s3=s3,
    )
    restore(first, target)
    assert_same(first.contents(), points)
    texts = [result["text"] for result in before]
    assert [result["text"] for result in answers(first)] == texts

    elsewhere = open_store(f"s3://{s3_server.make_bucket()}/backups", first.platform._s3)
    backup(state(first), elsewhere)
    assert backup(state(first), elsewhere).added == 0
    second = empty(
        world,
        catalog=postgres_database,
        storage=f"s3://{s3_server.make_bucket()}/state",
        s3=s3,
    )
    restore(second, elsewhere)
    assert answers(second) == answers(first)
    assert content(second.platform.catalog) == content(first.platform.catalog)


def test_what_is_there_is_not_written_over(lived: World, empty: Open, target: LocalStore) -> None:
    backup(state(lived), target)
    with pytest.raises(NotEmpty, match="nothing was restored"):
        restore(lived, target)
    fresh = empty(lived)
    fresh.platform.objects.put("pages/other", b"x")
    with pytest.raises(NotEmpty, match="storage"):
        restore(fresh, target)
    assert not any(content(fresh.platform.catalog).values())


def cut(patch: pytest.MonkeyPatch, turn: int, act: Callable[[], object]) -> None:
    """Act before the turn-th blob is opened for restoring."""
    opened, calls = Blobs.open, iter(range(1, 10_000))

    def counted(self: Blobs, blob: Any) -> Any:
        if next(calls) == turn:
            act()
        return opened(self, blob)

    patch.setattr(Blobs, "open", counted)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_cut_off_at_any_step_it_goes_on(
    lived: World, empty: Open, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again, as often as it takes: each time one step further."""
    backup(state(lived), target)
    made = manifest.read(target, manifest.newest(target))
    parts = sum(len(table.parts) for table in made.tables.values())
    restored, tries = empty(lived), 0
    for turn in (2, 5, len(made.objects) // 2, parts // 2, parts):
        with monkeypatch.context() as patch:
            cut(patch, turn, interrupt)
            with pytest.raises(KeyboardInterrupt):
                restore(restored, target)
        tries += 1
        assert not any(content(restored.platform.catalog).values())
    # Another backup is refused meanwhile.
    second = backup(state(lived), target).name
    with pytest.raises(NotEmpty):
        restore(restored, target, second)
    restore(restored, target, manifest.names(target)[0])
    assert tries == 5
    assert_same(restored.contents(), lived.contents())
    with pytest.raises(NotEmpty):
        restore(restored, target)


def test_cut_off_before_the_indexes_it_goes_on(
    lived: World, empty: Open, target: LocalStore
) -> None:
    backup(state(lived), target)
    restored = empty(lived)
    Restore(state(restored), target, manifest.newest(target)).run()
    restore(restored, target)
    assert_same(restored.contents(), lived.contents())


def test_what_is_written_meanwhile_does_no_harm(
    world: World, empty: Open, target: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole sync between the catalog's moment and the objects."""
    points = world.contents()
    dump = tables.dump

    def then_a_sync(*given: Any) -> Any:
        copied = dump(*given)
        world.folder.write("station-0.md", article(0).replace("pump", "valve"))
        world.folder.remove("station-1.md")
        world.folder.write("new.md", article(9))
        world.sync(WINDOWS[3])
        return copied

    with monkeypatch.context() as patch:
        patch.setattr(module_of_backup, "dump", then_a_sync)
        backup(state(world), target)
    restored = empty(world)
    restore(restored, target)
    assert_same(restored.contents(), points)
    with restored.counted() as embedded:
        restored.sync(WINDOWS[3])
    assert set(embedded) == {p["text"] for p, _ in world.contents().values()} - {
        p["text"] for p, _ in points.values()
    }
    assert_same(restored.contents(), world.contents())


def _restore_until(root: Path, backups: str, turn: int) -> None:
    """In a process of its own, which kills itself before the turn-th blob."""
    target = LocalStore(backups)
    world = World(root, quick=True, home="killed")
    cut(pytest.MonkeyPatch(), turn, lambda: os.kill(os.getpid(), signal.SIGKILL))
    Restore(state(world), target, manifest.newest(target)).run()


@pytest.mark.slow
def test_killed_again_and_again_it_goes_on(lived: World, empty: Open, target: LocalStore) -> None:
    """Among the objects, and in the middle of the catalog."""
    backup(state(lived), target)
    objects = len(manifest.read(target, manifest.newest(target)).objects)
    # What an earlier try has copied is not opened again.
    for turn in (objects // 2, objects // 2 + 4):
        child = FORKS.Process(target=_restore_until, args=(lived.root, target.prefix, turn))
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL
    restored = empty(lived, name="killed")
    assert not any(content(restored.platform.catalog).values())
    restore(restored, target)
    assert_same(restored.contents(), lived.contents())


def write(target: LocalStore, made: dict[str, Any]) -> str:
    """A manifest by somebody who knows how to name it."""
    return write_raw(target, json.dumps(made).encode())


def write_raw(target: LocalStore, content: bytes) -> str:
    name = f"20990101T000000000000Z-{hashlib.sha256(content).hexdigest()[:16]}"
    target.put(f"backups/{name}.json", content)
    return name


def test_a_damaged_backup_is_refused_before_anything_is_written(
    lived: World, empty: Open, target: LocalStore, tmp_path: Path
) -> None:
    name = backup(state(lived), target).name
    made, fresh = manifest.read(target, name), empty(lived)
    blob = made.objects[0]
    path = f"blobs/{blob.sha256[:2]}/{blob.sha256}"
    whole = bytes(target.get(path).bytes())
    for content_ in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole + b"x"):
        target.put(path, content_)
        with pytest.raises(BackupDamaged, match=blob.sha256):
            restore(fresh, target)
        refused(fresh)
    target.delete(path)
    with pytest.raises(BackupDamaged, match="missing"):
        restore(fresh, target)
    refused(fresh)
    file = tmp_path / "backups" / "backups" / f"{name}.json"
    file.write_text(file.read_text().replace('"rows":', '"rows": ', 1))
    with pytest.raises(BackupDamaged, match="changed since it was written"):
        restore(fresh, target)


def test_no_backup(target: LocalStore, lived: World, empty: Open) -> None:
    with pytest.raises(NoBackup, match="no backup here"):
        manifest.newest(target)
    fresh = state(empty(lived))
    for name in ("20260101T000000000000Z-0123456789abcdef", "../../etc/passwd", "x" * 500, ""):
        with pytest.raises(NoBackup, match="no such backup"):
            Restore(fresh, target, name)


MADE: dict[str, Any] = {
    "format": 1,
    "made_at": "2026-07-01T00:00:00Z",
    "version": "1",
    "revision": "0001",
    "home": "/",
    "tables": {},
    "objects": [],
    "files": [],
}
HOSTILE = [
    "../../etc/cron.d/x",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "./a",
    "a\\..\\b",
    "a\0b",
    "",
    "x" * 3_000,
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("part", ["objects", "files"])
def test_paths_that_lead_elsewhere_are_refused(target: LocalStore, part: str, path: str) -> None:
    assert manifest.read(target, write(target, MADE)).files == ()
    entry = {"path": path, "sha256": "0" * 64, "size": 0}
    listed = [entry | ({"etag": None} if part == "objects" else {})]
    with pytest.raises(BackupDamaged, match=f"{part}.0.path"):
        manifest.read(target, write(target, MADE | {part: listed}))


@pytest.mark.parametrize(
    "path",
    ["catalog.db", "dagster/dagster.yaml", "dagster/history/evil.py", "locks/x", "mlflow.db/x"],
)
def test_files_that_are_none_of_ours_are_refused(
    lived: World, empty: Open, target: LocalStore, path: str
) -> None:
    entry = {"path": path, "sha256": "0" * 64, "size": 0}
    name = write(target, MADE | {"files": [entry]})
    with pytest.raises(BackupDamaged, match="no file of a state folder"):
        Restore(state(empty(lived)), target, name)


def test_manifests_of_other_programs_and_versions(
    lived: World, empty: Open, target: LocalStore
) -> None:
    fresh = state(empty(lived))
    Restore(fresh, target, write(target, MADE))
    for content_ in (b"", b"[]", b"{}", b"\xff", b'{"format": 1}', b"[" * 100_000):
        with pytest.raises(BackupDamaged, match="no backup of this version"):
            Restore(fresh, target, write_raw(target, content_))
    with pytest.raises(BackupDamaged, match="home"):
        Restore(fresh, target, write(target, MADE | {"home": "state"}))
    with pytest.raises(BackupDamaged, match="format"):
        Restore(fresh, target, write(target, MADE | {"format": 2}))
    with pytest.raises(NewerBackup):
        Restore(fresh, target, write(target, MADE | {"revision": "9999"}))


def test_a_place_with_servers_takes_no_files_for_them() -> None:
    served = Places()
    for path in ("mlflow.db", "artifacts/a", "dagster/history/runs.db"):
        assert served.target(path) is None


def test_mlflow_finds_its_artifacts_in_another_folder(tmp_path: Path, target: LocalStore) -> None:
    former, home = tmp_path / "former", tmp_path / "home"
    former.mkdir()
    with sqlite3.connect(former / "mlflow.db") as connection:
        connection.execute("create table runs (run_uuid text, artifact_uri text)")
        rows = [
            ("a", f"{former.as_uri()}/models/artifacts/m/1"),
            ("b", "s3://bucket/elsewhere"),
            ("c", f"{former.as_uri()}er/models"),
            ("d", None),
        ]
        connection.executemany("insert into runs values (?, ?)", rows)
    connection.close()
    blobs = Blobs(target)
    files = [*copy_files(Places(mlflow=former / "mlflow.db"), blobs)]
    place = Places(mlflow=home / "mlflow.db")
    restore_files(place, files, blobs, former=former, home=home)
    with sqlite3.connect(home / "mlflow.db") as connection:
        moved = dict(connection.execute("select run_uuid, artifact_uri from runs"))
    assert moved == dict(rows) | {"a": f"{home.as_uri()}/models/artifacts/m/1"}


class InWholeSeconds:
    """A store that tells time as S3 does."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def head(self, path: str) -> Any:
        return self._floored(self._store.head(path))

    def list(self, *given: Any, **named: Any) -> Any:
        for batch in self._store.list(*given, **named):
            yield [self._floored(meta) for meta in batch]

    @staticmethod
    def _floored(meta: Any) -> Any:
        return meta | {"last_modified": meta["last_modified"].replace(microsecond=0)}


def test_the_newest_part_of_a_page_stays_the_newest(
    catalog: Catalog, target: LocalStore, tmp_path: Path
) -> None:
    """Objects of a folder are written in the order in which they were, however fast."""
    folder = "pages/x/chunks/2026-07-01"
    vectors: Any = SimpleNamespace(names=list)
    store = LocalStore(tmp_path / "before", mkdir=True)
    for name in ("000001-b", "000001-a", "000002-c"):
        store.put(f"{folder}/{name}.parquet", name.encode())
    backup(State(catalog, store, vectors, Places(), tmp_path), target)
    made: Manifest = manifest.read(target, manifest.newest(target))
    assert [copy.path[-9] for copy in made.objects] == list("bac")
    after = InWholeSeconds(LocalStore(tmp_path / "after", mkdir=True))
    place = State(catalog, after, vectors, Places(), tmp_path)
    Restore(place, target, manifest.newest(target)).run()
    found = PageStore(after).newest(PartKey(("x",), "chunks", "2026-07-01", 1, ""))
    assert found
    assert found.fingerprint == "a"
