"""What the command line shows people: tables and passages."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rag_platform.operations.terminal import escape

if TYPE_CHECKING:
    from rag_platform.commands.doctor import Finding
    from rag_platform.commands.runs import PageRun
    from rag_platform.documents.dead_letters import DeadLetter
    from rag_platform.indexing.reconcile import ReconcileReport
    from rag_platform.retrieval.search import Result

_PASSAGE = 480
_FILE_WIDTH = 110
# So that a table of all that commonly occurs fits into 80 columns.
_SHORT = {
    "unchanged": "same",
    "deleted": "gone",
    "duplicate": "copy",
    "dead_lettered": "dead",
    "embedded": "embeds",
    "from_memo": "memo",
}
_STATES = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


def out() -> Console:
    """Standard output, for results."""
    to_file = not sys.stdout.isatty()
    return Console(highlight=False, width=_FILE_WIDTH if to_file else None, soft_wrap=to_file)


def outcome_table(runs: "Sequence[PageRun]", title: str) -> Table:
    """A line for each page: its outcomes, and what embedding took."""
    from rag_platform.documents.settlement import OUTCOMES

    pages = [run.page for run in runs if run.page is not None]
    shown = [name for name in OUTCOMES if any(name in page["outcomes"] for page in pages)]
    table = Table(
        title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False
    )
    table.add_column("window", no_wrap=True)
    for name in ("listed", *shown, "embedded", "from_memo", "calls"):
        table.add_column(_SHORT.get(name, name), justify="right", overflow="fold")
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
    for name, need in plan["translation"].items():
        price = f"some ${need['cost_usd']:,.4f}" if need["cost_usd"] else "at no cost"
        yield f"{escape(name)}: {need['pieces']:,} pieces of text to translate: {price}"
    for name, need in plan["enrichment"].items():
        asked = ", ".join(f"{count:,} {step}" for step, count in need["questions"].items())
        window = f", windows {need['first']} to {need['last']}" if need["first"] else ""
        price = f"some ${need['cost_usd']:,.4f}" if need["cost_usd"] else "at no cost"
        yield f"{escape(name)}: {asked} to ask{window}: {price}"


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


def letter_lines(letters: "Sequence[DeadLetter]") -> Iterator[str]:
    """What could not be used, and why: a line for each, with how often it was tried."""
    for letter in letters:
        tried = "quarantined" if letter.quarantined else f"attempts: {letter.attempts}"
        yield (
            f"[bold]{escape(letter.key)}[/] ({letter.source}, {letter.window}, {letter.stage}): "
            f"[yellow]{escape(letter.reason)}[/], {escape(letter.detail)} [dim]({tried})[/]"
        )


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
