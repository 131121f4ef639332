"""Locks between processes and threads."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rag_platform.storage.locks import LockTimeout, LockUnavailable, exclusive

HOLDER = """
import sys, time
from pathlib import Path
from rag_platform.storage.locks import exclusive
with exclusive(Path(sys.argv[1]), timeout_s=5, purpose="backfill of manuals"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock; and the lock's path."""
    path = tmp_path / "some" / "folder.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process, path
    process.kill()
    process.wait()
    process.stdout.close()


def test_gives_up_and_names_the_holder(holder):
    process, path = holder
    started = time.monotonic()
    with (
        pytest.raises(LockTimeout) as refused,
        exclusive(path, timeout_s=0.3, purpose="reading docs_v1"),
    ):
        pytest.fail("two holders")
    assert 0.3 <= time.monotonic() - started < 3
    message = str(refused.value)
    assert f"held by pid {process.pid} since 20" in message
    assert "backfill of manuals" in message
    assert message.startswith("reading docs_v1: ")
    assert str(path) in message
    assert "lock_timeout_s" in message
    assert "\n" not in message


def test_says_that_it_waits_and_goes_on_when_the_holder_is_killed(holder, caplog):
    process, path = holder
    caplog.set_level(logging.INFO)
    threading.Timer(0.5, lambda: os.kill(process.pid, signal.SIGKILL)).start()
    started = time.monotonic()
    with exclusive(path, timeout_s=20, purpose="reading docs_v1"):
        assert 0.4 <= time.monotonic() - started < 10
        assert json.loads(path.read_text())["pid"] == os.getpid()
    waits = [record.message for record in caplog.records if "waiting for" in record.message]
    assert len(waits) == 1
    assert f"held by pid {process.pid}" in waits[0]


def test_zero_timeout_asks_once(holder):
    _, path = holder
    started = time.monotonic()
    with pytest.raises(LockTimeout), exclusive(path, timeout_s=0, purpose="x"):
        pytest.fail("two holders")
    assert time.monotonic() - started < 1


def test_threads_exclude_each_other(tmp_path):
    path = tmp_path / "lock"
    inside = 0
    most = 0
    turns = 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(5):
            with exclusive(path, timeout_s=30, purpose="thread"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                inside -= 1
                turns += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 20)


def test_released_after_an_error(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(KeyError), exclusive(path, timeout_s=0, purpose="first"):
        raise KeyError("inside")
    with exclusive(path, timeout_s=0, purpose="second"):
        assert json.loads(path.read_text())["purpose"] == "second"


def test_released_although_a_child_keeps_the_file_open(tmp_path):
    path = tmp_path / "lock"
    read_end, write_end = os.pipe()
    with exclusive(path, timeout_s=0, purpose="parent"):
        child = os.fork()
        if child == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
    with exclusive(path, timeout_s=0, purpose="again"):
        pass
    os.close(write_end)
    os.close(read_end)
    assert os.waitpid(child, 0)[1] == 0


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "lock"
    with pytest.raises(LockUnavailable, match=str(path)), exclusive(path, timeout_s=0, purpose="x"):
        pytest.fail("held")
