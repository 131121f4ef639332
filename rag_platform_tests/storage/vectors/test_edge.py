"""What is particular to the embedded engine: kills, locks, disks and damage."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TypedDict

import pytest

from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.vectors import edge
from rag_platform.storage.vectors.base import CollectionMissing, VectorStoreError
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.storage.vectors.conftest import make_point, point_id


class Recipe(TypedDict):
    dimension: int
    fingerprint: str


RECIPE: Recipe = {"dimension": 4, "fingerprint": "f" * 64}

# Adds groups of 50 points for ever, takes every third group away again, and says what returned.
WRITER = """
import sys
from pathlib import Path
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.storage.vectors.conftest import make_point, point_id
group = int(sys.argv[2])
with EdgeVectorStore(Path(sys.argv[1])).open("docs", dimension=4, fingerprint="f" * 64) as docs:
    while True:
        numbers = range(group * 50 + 1, group * 50 + 51)
        docs.upsert([make_point(n, doc_id=str(group), text="x" * 1500) for n in numbers])
        print("+", group, flush=True)
        if group % 3 == 0:
            docs.delete([point_id(n) for n in numbers])
            print("-", group, flush=True)
        group += 1
"""


@pytest.fixture
def store(tmp_path: Path) -> EdgeVectorStore:
    return EdgeVectorStore(tmp_path / "vectors", lock_timeout_s=20)


def _write_until_killed(root: Path, *, first_group: int, seconds: float) -> tuple[set[str], int]:
    """What the writer said it left behind, and the group it may have been in the middle of."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first_group)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    kept: set[str] = set()
    last = first_group
    for line in lines:
        if not line.endswith("\n"):
            continue
        sign, group = line.split()
        last = int(group)
        (kept.add if sign == "+" else kept.discard)(group)
    return kept, last


@pytest.mark.slow
def test_what_returned_before_a_kill_is_there_after_it(store):
    expected: set[str] = set()
    first_group = 0
    for seconds in (0.05, 0.4, 0.9, 0.2):
        kept, last = _write_until_killed(store.root, first_group=first_group, seconds=seconds)
        with store.open("docs", **RECIPE) as docs:
            sizes = Counter(doc_id for _, doc_id in docs.ids())
            # Groups are whole batches: what was under way is there entirely or not at all.
            assert set(sizes.values()) <= {50}
            # Under way were the next group, or the deletion of the last one.
            uncertain = {str(last), str(last + 1)}
            assert set(sizes) - uncertain == (expected | kept) - uncertain
            assert {group for group in kept if int(group) % 3} <= set(sizes)
            assert docs.count() == 50 * len(sizes)
            found = docs.present(list(sizes))
            assert {group: len(points) for group, points in found.items()} == sizes
        expected = set(sizes)
        first_group = last + 2
    assert len(expected) > 10


def test_a_collection_half_made_is_made_anew(store):
    unfinished = store.root / "docs.new"
    (unfinished / "engine" / "segments").mkdir(parents=True)
    (unfinished / "engine" / "edge_config.json").write_text("{")
    assert store.names() == []
    with pytest.raises(CollectionMissing), store.open_existing("docs"):
        pytest.fail("opened")
    with store.open("docs", **RECIPE) as docs:
        docs.upsert([make_point(1)])
        assert docs.count() == 1
    assert not unfinished.exists()


@pytest.mark.parametrize("when", ["create", "rename"])
def test_a_kill_while_a_collection_is_made(store, when):
    code = f"""
import os, signal, sys
from pathlib import Path
from rag_platform.storage.vectors.edge import EdgeVectorStore
def die(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)
if {when!r} == "create":
    from rag_platform.storage.vectors import edge
    edge.os.fsync = die
else:
    Path.rename = die
EdgeVectorStore(Path(sys.argv[1])).open("docs", dimension=4, fingerprint="f" * 64).__enter__()
"""
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.names() == []
    with store.open("docs", **RECIPE) as docs:
        assert docs.count() == 0
    assert sorted(entry.name for entry in store.root.iterdir()) == ["docs", "docs.lock"]


def test_a_kill_while_a_collection_is_removed_leaves_nothing_behind(store):
    code = """
import os, shutil, signal, sys
from pathlib import Path
from rag_platform.storage.vectors.edge import EdgeVectorStore
def die(path, **more):
    if Path(path).exists(): os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = die
EdgeVectorStore(Path(sys.argv[1])).drop("docs")
"""
    with store.open("docs", **RECIPE) as docs:
        docs.upsert([make_point(1)])
    done = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    store.drop("docs")
    assert [entry.name for entry in store.root.iterdir()] == ["docs.lock"]


def test_a_second_process_waits_and_gives_up(store):
    impatient = EdgeVectorStore(store.root, lock_timeout_s=0.2)
    code = """
import sys
from pathlib import Path
from rag_platform.storage.vectors.edge import EdgeVectorStore
with EdgeVectorStore(Path(sys.argv[1])).open("docs", dimension=4, fingerprint="f" * 64):
    print("open", flush=True)
    sys.stdin.readline()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    for opening in (
        lambda: impatient.open("docs", **RECIPE),
        lambda: impatient.open_existing("docs"),
    ):
        with (
            pytest.raises(LockTimeout, match=f"vector collection docs.*pid {holder.pid}"),
            opening(),
        ):
            pytest.fail("two holders")
    with impatient.open("another", **RECIPE) as other:
        assert other.count() == 0
    threading.Timer(0.3, lambda: holder.communicate("\n")).start()
    with store.open("docs", **RECIPE) as docs:
        assert docs.count() == 0
    assert holder.wait(10) == 0


def test_threads_share_an_open_collection(store):
    with store.open("docs", **RECIPE) as docs:

        def write(thread: int) -> None:
            for start in range(0, 100, 20):
                numbers = range(thread * 100 + start + 1, thread * 100 + start + 21)
                docs.upsert([make_point(n, doc_id=str(thread)) for n in numbers])
                docs.delete([point_id(numbers[0])])

        threads = [threading.Thread(target=write, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Of each 20 points one was taken away: 19 x 5 a thread.
        assert Counter(d for _, d in docs.ids()) == {str(t): 95 for t in range(4)}


def test_a_disk_almost_full_is_refused_before_the_engine_writes(store, monkeypatch):
    with store.open("docs", **RECIPE) as docs:
        docs.upsert([make_point(1)])
        monkeypatch.setattr(edge, "DISK_RESERVE", 2**60)
        for write in (
            lambda: docs.upsert([make_point(2)]),
            lambda: docs.delete([point_id(1)]),
            docs.optimize,
        ):
            with pytest.raises(VectorStoreError, match="disk full") as refused:
                write()
            assert str(store.root / "docs") in str(refused.value)
            assert "\n" not in str(refused.value)
        assert list(docs.ids()) == [(point_id(1), "doc")]
    with pytest.raises(VectorStoreError, match="disk full"), store.open("new", **RECIPE):
        pytest.fail("opened")
    assert store.names() == ["docs"]


def test_an_error_of_the_engine_says_where(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from rag_platform.errors import PlatformError
from rag_platform.storage.vectors.edge import EdgeVectorStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    EdgeVectorStore(Path(sys.argv[1])).open("docs", dimension=4, fingerprint="f").__enter__()
except PlatformError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    assert str(tmp_path / "docs") in done.stdout
    assert "File too large" in done.stdout
    assert EdgeVectorStore(tmp_path).names() == []


def test_damage_is_named_and_dropping_mends_it(store):
    for name in ("no_recipe", "bad_engine"):
        with store.open(name, **RECIPE) as docs:
            docs.upsert([make_point(1)])
    (store.root / "no_recipe" / "recipe.json").unlink()
    (segment,) = (store.root / "bad_engine" / "engine" / "segments").glob("*/segment.json")
    segment.write_text("{")
    for name in ("no_recipe", "bad_engine"):
        with (
            pytest.raises(VectorStoreError, match="reconcile --repair") as refused,
            store.open(name, **RECIPE),
        ):
            pytest.fail("opened")
        assert str(store.root / name) in str(refused.value)
        store.drop(name)
        with store.open(name, **RECIPE) as docs:
            assert docs.count() == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.new", "ä", "a\n", "x" * 101])
def test_a_name_is_never_a_path(store, name):
    with pytest.raises(VectorStoreError, match="not allowed"), store.open(name, **RECIPE):
        pytest.fail("opened")
    with pytest.raises(VectorStoreError, match="not allowed"):
        store.drop(name)
    assert not store.root.exists()


def test_a_value_the_engine_cannot_hold_is_refused(store):
    with store.open("docs", **RECIPE) as docs:
        with pytest.raises(VectorStoreError, match=r"writing points in .*docs"):
            docs.upsert([make_point(1, text="half a character \ud800")])
        assert docs.count() == 0


def test_optimize_gives_back_what_deleted_points_held(store):
    def engine_bytes() -> int:
        files = (store.root / "docs" / "engine" / "segments").rglob("*")
        return sum(512 * f.stat().st_blocks for f in files if f.is_file())

    with store.open("docs", **RECIPE) as docs:
        docs.upsert([make_point(n, text=str(n) * 300) for n in range(1, 10_001)])
        docs.delete([point_id(n) for n in range(1, 9_001)])
    before = engine_bytes()
    with store.open("docs", **RECIPE) as docs:
        assert docs.count() == 1000
        docs.optimize()
    with store.open("docs", **RECIPE) as docs:
        assert docs.count() == 1000
    assert engine_bytes() < before / 2


@pytest.mark.slow
def test_memory_grows_by_a_few_kilobytes_a_point(tmp_path):
    code = """
import sys, numpy as np
from pathlib import Path
from rag_platform.storage.vectors.base import Point, SparseVector
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.storage.vectors.conftest import point_id
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith("RssAnon"))
numbers = np.random.default_rng(0)
with EdgeVectorStore(Path(sys.argv[1])).open("docs", dimension=256, fingerprint="f") as docs:
    docs.upsert([])
    before = anonymous()
    for start in range(1, 20_001, 1000):
        vectors = numbers.standard_normal((1000, 256), dtype=np.float32)
        docs.upsert([
            Point(point_id(start + n), vectors[n],
                  SparseVector(numbers.choice(30_000, 65, replace=False).tolist(), [1.0] * 65),
                  {"doc_id": str(n), "text": "x" * 1500})
            for n in range(1000)
        ])
    print((anonymous() - before) / 20_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    # The 1.5 KB text and the 1 KB vector lie on disk; the sparse index lies in memory.
    assert float(done.stdout) < 5
