"""One parser process as its pool sees it: the pipes, and the documents it holds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from rag_platform.documents.parsing.frames import FrameReader, encode_head
from rag_platform.documents.parsing.result import MAY_BE_PICTURES, Kind, ParseLimits

LOAD_BYTES: Final = 4 * 1024
# What may be scanned goes one by one: a page of it takes as long as a hundred others.
KIND_LOAD: Final = {
    Kind.MARKDOWN: 1,
    Kind.TEXT: 1,
    Kind.HTML: 8,
    **dict.fromkeys(MAY_BE_PICTURES, 128),
}
OTHER_LOAD: Final = 32
KEPT_VARIABLES: Final = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "SYSTEMROOT",
    "TESSDATA_PREFIX",
)


@dataclass(slots=True)
class Task:
    """A document on its way: at most `MAX_ATTEMPTS` workers may die of it."""

    id: Hashable
    kind: Kind
    data: bytes
    attempts: int = 0

    def load(self) -> int:
        """A guess at the work, in small Markdown pages."""
        return KIND_LOAD.get(self.kind, OTHER_LOAD) + len(self.data) // LOAD_BYTES


class Worker:
    """One parser process, its pipes, and the documents it holds, oldest first.

    `begun` is when its oldest document was begun, `since` the last sign of life, `page` of `pages`
    what that said.
    """

    def __init__(self, module: str, limits: ParseLimits) -> None:
        root = str(Path(__file__).parents[3])
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-B",
                "-P",
                "-m",
                module,
                json.dumps(asdict(limits)),
                str(os.getpid()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_worker_environment(root),
            bufsize=0,
        )
        self.stdin, self.stdout = _pipe(self.process.stdin), _pipe(self.process.stdout)
        os.set_blocking(self.stdin.fileno(), False)
        os.set_blocking(self.stdout.fileno(), False)
        self.reader = FrameReader(max_payload=4 * limits.max_inflated_bytes)
        self.unsent: deque[memoryview] = deque()
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.begin()

    def begin(self) -> None:
        """The oldest document is begun now."""
        self.begun = self.since = time.monotonic()
        self.page = self.pages = 0

    def see(self, page: int, pages: int) -> None:
        """A sign of life: so many pages are done."""
        self.since = time.monotonic()
        self.page, self.pages = page, pages

    def wait(self, seconds: float) -> None:
        """Time that does not count."""
        self.begun += seconds
        self.since += seconds

    def load(self) -> int:
        """How much is left to do."""
        return sum(task.load() for task in self.tasks)

    def send(self, batch: list[Task]) -> None:
        if not self.tasks:
            self.begin()
        self.tasks.extend(batch)
        header = {"documents": [[task.kind, len(task.data)] for task in batch]}
        payload = batch[0].data if len(batch) == 1 else b"".join(task.data for task in batch)
        self.unsent.append(memoryview(encode_head(header, len(payload))))
        self.unsent.append(memoryview(payload))
        self.write()

    def write(self) -> None:
        """Write what the pipe takes; a broken pipe shows as the end of stdout."""
        try:
            while self.unsent:
                view = self.unsent[0]
                sent = os.write(self.stdin.fileno(), view) if view else 0
                if sent == len(view):
                    self.unsent.popleft()
                else:
                    self.unsent[0] = view[sent:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unsent.clear()

    def end(self) -> int:
        """Kill and reap; the exit status that the process had, if it ended by itself."""
        if self.process.poll() is None:
            self.process.kill()
        status = self.process.wait()
        self.stdin.close()
        self.stdout.close()
        return status


def _worker_environment(root: str) -> dict[str, str]:
    """No credentials: a worker sees where Python, libraries and language data are, no more."""
    kept = {name: value for name in KEPT_VARIABLES if (value := os.environ.get(name)) is not None}
    paths = [root, *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a worker without pipes")
    return stream


def ending(status: int) -> str:
    """How a process ended, for a sentence."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
