"""What the command line shows: tables and passages for people, progress while runs go."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rag_platform.operations.terminal import error_stream

if TYPE_CHECKING:
    from rag_platform.commands.doctor import Finding
    from rag_platform.commands.runs import PageRun
    from rag_platform.defs.operations.launch import StepUpdate
    from rag_platform.documents.dead_letters import DeadLetter
    from rag_platform.indexing.reconcile import ReconcileReport
    from rag_platform.retrieval.search import Result

_PASSAGE = 480
_STATES = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


def out() -> Console:
    """Standard output, for results."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


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


def outcome_table(runs: "Sequence[PageRun]", title: str) -> Table:
    """A line for each page: its outcomes, and what embedding took."""
    from rag_platform.documents.settlement import OUTCOMES

    pages = [run.page for run in runs if run.page is not None]
    shown = [name for name in OUTCOMES if any(name in page["outcomes"] for page in pages)]
    table = Table(title=escape(title), title_justify="left")
    table.add_column("window", no_wrap=True)
    for name in ("listed", *shown, "embedded", "from memo", "calls"):
        table.add_column(name.replace("_", " "), justify="right")
    for page in pages:
        counts = [page["listed"], *(page["outcomes"].get(name, 0) for name in shown)]
        counts += [page["embedded_chunks"], page["memo_hits"], page["embed_calls"]]
        table.add_row(page["window"], *(f"{count:,}" if count else "·" for count in counts))
    return table


def plan_tables(plan: Mapping[str, Any]) -> Iterator[Table | str]:
    """What the next sync of each source would find, and what each index still needs."""
    table = _table("source", "window", "listed", "new", "changed", "gone", "unchanged", "waiting")
    for name, found in plan["sources"].items():
        counts = ("listed", "new", "changed", "gone", "unchanged", "waiting")
        table.add_row(escape(name), found["window"], *(f"{found[count]:,}" for count in counts))
    yield table
    for name, found in plan["sources"].items():
        if found["refused"]:
            yield f"[red]{escape(name)}: would be refused:[/] {escape(found['refused'])}"
        if found["unfinished_windows"]:
            windows = ", ".join(found["unfinished_windows"])
            yield f"{escape(name)}: unfinished, run again first: {windows}"
    table = _table("index", "documents", "chunks", "new texts", "tokens", "cost in USD")
    for name, need in plan["indexes"].items():
        needed = [f"{need[count]:,}" for count in ("documents", "chunks", "texts", "tokens")]
        table.add_row(escape(name), *needed, f"{need['cost_usd']:,.4f}")
    yield table
    for name, need in plan["indexes"].items():
        for source, left in need["sources"].items():
            span = f"--from {left['first']} --to {left['last']}"
            yield f"{escape(name)}: rag-platform replay {source} {span} --index {name}"


def status_tables(status: Mapping[str, Any]) -> Iterator[Table]:
    """Sources and indexes."""
    names = ("source", "documents", "dead letters", "pages", "last page", "listed", "embedded")
    table = _table(*names)
    for name, found in status["sources"].items():
        last = found["last_page"] or {}
        table.add_row(
            escape(name),
            *(f"{found[count]:,}" for count in ("documents", "dead_letters", "pages")),
            last.get("window", "never synced"),
            *(f"{last[count]:,}" if last else "" for count in ("listed", "embedded_chunks")),
        )
    yield table
    table = _table("index", "documents", "chunks", "points", "live")
    for name, found in status["indexes"].items():
        points = "?" if found["points"] is None else f"{found['points']:,}"
        live = "live" if found["live"] else ""
        table.add_row(escape(name), f"{found['documents']:,}", f"{found['chunks']:,}", points, live)
    yield table


def letter_table(letters: "Sequence[DeadLetter]") -> Table:
    """Documents without a text, and why."""
    table = _table("source", "document", "window", "reason", "detail", "attempts")
    for letter in letters:
        attempts = f"{letter.attempts}, quarantined" if letter.quarantined else str(letter.attempts)
        cells = (letter.source, letter.key, letter.window, letter.reason, letter.detail, attempts)
        table.add_row(*map(escape, cells))
    return table


def reconcile_table(reports: "Sequence[ReconcileReport]") -> Table:
    """What was found in each collection."""
    names = ("documents", "points", "drifted", "repaired", "unrepaired", "orphan_points")
    table = _table("index", *(name.replace("_", " ") for name in names), "agrees")
    for report in reports:
        counts = [f"{getattr(report, name):,}" for name in names]
        verdict = "[green]yes[/]" if report.agrees else "[red]no[/]"
        table.add_row(escape(report.index), *counts, verdict)
    return table


def findings_lines(findings: "Sequence[Finding]") -> Iterator[str]:
    """One line for each part."""
    for finding in findings:
        yield f"{_STATES[finding.state]} {escape(finding.part)}: {escape(finding.detail)}"


def passages(results: "Sequence[Result]") -> Iterator[str]:
    """Numbered passages with title, address, page and heading."""
    for number, found in enumerate(results, start=1):
        place = escape(found.uri) + (f", page {found.page}" if found.page else "")
        text = " ".join(found.text.split())
        shortened = text if len(text) <= _PASSAGE else text[:_PASSAGE].rsplit(" ", 1)[0] + " …"
        yield f"[bold]{number}. {escape(found.title)}[/]"
        yield f"   [cyan]{place}[/]"
        if found.heading:
            yield f"   {escape(found.heading)}"
        yield f"   {escape(shortened)}"
        for other in found.uris[1:]:
            yield f"   [dim]also at {escape(other)}[/]"
        yield ""


def _table(*names: str) -> Table:
    """Text columns to the left, counts to the right; long cells are folded, not cut."""
    table = Table()
    left = {"source", "index", "window", "document", "reason", "detail", "last page", "live"}
    for name in names:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table
