"""The processes of production, each on its own, from the files in deploy/: started and killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rag_platform.settings import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"


@dataclass
class Role:
    """One process and all that it started; `log` has what it wrote in all its lives."""

    command: list[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, as an engine does that restarts what died."""
        program, *arguments = self.command
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name(program)), *arguments],
                # Not in the checkout: the installed package is found, as in the image.
                cwd=self.log.parent,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT_ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL for it and its children at once: what becomes of a container."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextlib.contextmanager
def role(folder: Path, *command: str) -> Iterator[Role]:
    """A process that lives for the length of the block, or until it is killed."""
    started = Role(list(command), folder / f"{command[0]}.log")
    started.start()
    try:
        yield started
    finally:
        started.kill()
