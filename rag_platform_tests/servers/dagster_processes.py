"""Dagster's own processes on a platform of their own: the daemon alone, or with the webserver."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from rag_platform.defs.operations.launch import dagster_home
from rag_platform.settings import PROJECT_ROOT, Settings, load
from rag_platform_tests.servers.ports import free_ports

T = TypeVar("T")


@dataclass(frozen=True)
class Workplace:
    """Settings with a source folder, and an empty DAGSTER_HOME made ready as the CLI does it."""

    home: Path
    source: Path
    settings: Settings

    @contextlib.contextmanager
    def process(self, program: str, *arguments: str) -> Iterator[Path]:
        """A program of Dagster's on our workspace for the length of the block; gives its log."""
        log = self.home / f"{program}.log"
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "-w", "workspace.yaml"],
                cwd=PROJECT_ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        try:
            yield log
        finally:
            _stop(process)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Path]:
        """The daemon: schedules, sensors, the queue of runs, backfills."""
        with self.process("dagster-daemon", "run") as log:
            yield log

    @contextlib.contextmanager
    def webserver(self) -> Iterator[str]:
        """The webserver; gives its address once it answers."""
        [port] = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        with self.process("dagster-webserver", "-h", "127.0.0.1", "-p", str(port)) as log:
            until(lambda: _answers(f"{url}/server_info"), seconds=120, log=log)
            yield url


def workplace(folder: Path, patch: pytest.MonkeyPatch, **settings: Any) -> Workplace:
    """A workplace in `folder`; `settings` are added to platform.yaml."""
    source = folder / "source"
    source.mkdir(parents=True)
    tree = {
        "sources": {"manuals": {"url": str(source), "start": "2026-06-01"}},
        "indexes": {"docs_v1": {"embedder": "wordllama"}},
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(tree | settings), encoding="utf-8")
    patch.setenv("RAG_PLATFORM_CONFIG", str(folder / "platform.yaml"))
    patch.setenv("RAG_PLATFORM_HOME", str(folder / "state"))
    patch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    loaded = load()
    dagster_home(loaded)
    return Workplace(folder, source, loaded)


def until(ask: Callable[[], T], *, seconds: float, log: Path) -> T:
    """What `ask` gives once that is true; fails with the end of the log when it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.5)
    return answer


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the program and the code servers and runs that it started."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
