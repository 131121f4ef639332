"""What the command line shows while runs go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from rag_platform.operations.terminal import error_stream, escape

if TYPE_CHECKING:
    from rag_platform.defs.operations.launch import StepUpdate


def terminal() -> Console:
    """Standard error, for progress."""
    return Console(file=error_stream(), highlight=False)


class StepProgress:
    """Shows the steps of runs: live on a terminal, and a line for each run when it has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}
        self._steps: dict[str, str] = {}

    @contextmanager
    def run(self, title: str) -> Iterator[None]:
        """The length of one run."""
        self._began, self._steps = {}, {}
        started = time.monotonic()
        waiting = Spinner("dots", Text(f" {title} starting"))
        with Live(
            waiting,
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live, self._title = live, title
            yield
        took = timedelta(seconds=round(time.monotonic() - started))
        steps = ", ".join(self._steps.values())
        self._console.print(
            f"[bold]{escape(title)}[/] {steps or 'nothing ran'} [dim]({took})[/]", soft_wrap=True
        )

    def __call__(self, update: "StepUpdate") -> None:
        """A step has come to another state."""
        name = update.step.partition("/")[2]
        if update.state == "started":
            self._began[name] = time.monotonic()
        else:
            self._steps[name] = self._done(name, update.state)
        open_ = [name for name in self._began if name not in self._steps]
        line = " ".join([self._title, ", ".join([*self._steps.values(), *open_])])
        self._live.update(Spinner("dots", Text.from_markup(" " + line)))

    def _done(self, name: str, state: str) -> str:
        if state == "skipped":
            return f"[dim]{escape(name)} skipped[/]"
        if state == "failed":
            return f"[red]{escape(name)} FAILED[/]"
        took = time.monotonic() - self._began.get(name, time.monotonic())
        return f"{escape(name)} [green]{took:.1f}s[/]"
