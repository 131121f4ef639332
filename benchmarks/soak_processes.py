"""Processes of a soak: roles that are killed and come back, and the table of what runs."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Every process that a soak starts has this in its environment, and so have their children.
MARKER = "RAG_PLATFORM_SOAK"


@dataclass
class Role:
    """A process with all that it starts. `user` runs it where this process is root's."""

    name: str
    command: list[str]
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    wanted: bool = False
    restarts: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    lock: Any = field(default_factory=threading.RLock, repr=False)

    @property
    def log(self) -> Path:
        """What it wrote in all its lives."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it, where it does not run."""
        with self.lock:
            self.wanted = True
            if self.is_up:
                return
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    self.command,
                    cwd=self.folder,
                    env=os.environ | self.environ,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    user=self.user if os.geteuid() == 0 else None,
                    start_new_session=True,
                )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A signal for it and its children at once: what becomes of a container."""
        with self.lock:
            self.wanted = False
            if self.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, number)
                self.process.wait()

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


class Engine(threading.Thread):
    """Starts again what ended by itself, as a container engine does, and counts that."""

    def __init__(self, roles: list[Role]) -> None:
        super().__init__(daemon=True)
        self._roles = roles
        self.ended = threading.Event()

    def run(self) -> None:
        """Look every two seconds."""
        while not self.ended.wait(2):
            for role in self._roles:
                with role.lock:
                    if role.wanted and not role.is_up:
                        role.restarts += 1
                        logger.warning("%s ended by itself; it is started again", role.name)
                        role.start()


def listens(port: int) -> bool:
    """Whether something takes connections at a port."""
    with socket.socket() as tried:
        tried.settimeout(5)
        return tried.connect_ex(("127.0.0.1", port)) == 0


def until(is_so: Callable[[], object], what: str, log: Path, seconds: float = 180) -> None:
    """Wait for it; raises with the end of the log where it never comes."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            told = log.read_text("utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"{what}: not within {seconds:g} s\n{told}")
        time.sleep(0.5)


@dataclass(frozen=True, slots=True)
class Process:
    """A line of the table of processes."""

    pid: int
    parent: int
    group: int
    command: str


def processes_of(identity: str) -> list[Process]:
    """The processes of a soak, whatever became of those that started them."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if f"{MARKER}={identity}".encode() not in (folder / "environ").read_bytes():
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            # pid (name) state parent group ...
            state, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                command = line.decode("utf-8", "replace")[:160]
                found.append(Process(int(folder.name), int(parent), int(group), command))
    return found
