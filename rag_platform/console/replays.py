"""Replays of dead letters that the console starts: by Dagster's daemon where one serves, else in a
child process that is the command `rag-platform dead-letters replay`."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rag_platform.actions import Actions
from rag_platform.documents.dead_letters import DeadLetter
from rag_platform.errors import PlatformError

_MAIN = "from rag_platform.cli import main; main()"
_ROOT = str(Path(__file__).parents[2])
_LONGEST_SAID = 4_000


class ReplayRefused(PlatformError):
    """A replay that is not begun."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are replayed: of a source (None: of all), a reason (None: of all), or single
    keys of a source."""

    source: str | None = None
    reason: str | None = None
    keys: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """As the command takes them."""
        found = [f"--key={key}" for key in self.keys]
        found += [f"--reason={self.reason}"] if self.reason else []
        return found + (["--", self.source] if self.source else [])


class Replays:
    """The replays of one console: one child at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def begin(
        self, actions: Actions, wanted: Wanted, chosen: Sequence[DeadLetter]
    ) -> tuple[str, ...]:
        """Begin to replay what is wanted, which are the letters `chosen`.

        Returns the backfills that Dagster has begun, none for a child. Raises `ReplayRefused`.
        """
        from rag_platform.commands.letters import dagster_replays, launch_replays

        with self._lock:
            if self._is_running():
                raise ReplayRefused(
                    "A replay of this console is under way. Wait until it has ended; see below."
                )
            subject = wanted.source or "all"
            if not dagster_replays(actions.platform, chosen):
                self._start(wanted, by=actions.actor)
                return ()
            begun: list[str] = []
            with actions.audited(
                "dead_letters.replay", subject, letters=len(chosen), of_reason=wanted.reason
            ) as ending:
                ending.facts["backfills"] = begun
                for backfill in launch_replays(actions.platform, chosen):
                    begun.append(backfill)  # noqa: PERF402  # it stands, if a later one fails
                ending.detail = f"begun in Dagster: {', '.join(begun)}"
            return tuple(begun)

    def _start(self, wanted: Wanted, *, by: str) -> None:
        """The child writes the audit log itself, so that it is right even if the console dies."""
        command = ["dead-letters", "replay", f"--by={by}", "--via=console", *wanted.arguments()]
        paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # read when the child has ended
        self._child = subprocess.Popen(
            # -P: no module of the folder that the console was started in is run.
            [sys.executable, "-P", "-c", _MAIN, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            # The package of this process, also where it runs from a checkout.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    @property
    def is_running(self) -> bool:
        """Whether a child of this console is replaying."""
        with self._lock:
            return self._is_running()

    def _is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def problems(self) -> list[str]:
        """What the last child that has ended said was wrong, a line each; nothing if all was well
        or none was started."""
        with self._lock:
            if self._said is None or self._child is None or not self._child.poll():
                return []
            self._said.seek(0)
            said = self._said.read()[-_LONGEST_SAID:].decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.startswith("error:")]
        return lines or [f"The replay ended with {self._child.returncode}."]

    def wait(self, timeout_s: float) -> None:
        """Until the child has ended."""
        if self._child is not None:
            self._child.wait(timeout_s)
