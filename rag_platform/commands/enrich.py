"""The verb that enriches the documents of a source, in this process."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.context import as_json_option, fail_on_problems, open_runs, print_json
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from rich.table import Table

    from rag_platform.commands.runs import PageRun, Runs
    from rag_platform.storage.catalog import Catalog


class NothingToEnrich(PlatformError):
    """The source has no documents with a text."""


@click.command()
@click.argument("source")
@click.option("--window", metavar="KEY", help="The window; by default the newest page.")
@click.option("--from", "first", metavar="KEY", help="The first of several windows.")
@click.option("--to", "last", metavar="KEY", help="The last of them; by default the newest page.")
@click.option("--retry-failed", is_flag=True, help="Ask again about what failed before.")
@as_json_option
def enrich(
    source: str,
    window: str | None,
    first: str | None,
    last: str | None,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Enrich the documents of SOURCE: entities, summary, category, and what is published.

    Windows with documents that wait for the budget or the service come first. With --from, all
    windows from there on: after another gate, other labels or another prompt. Only what these
    change is asked anew; `plan` says how much that is.
    """
    if (last and not first) or (first and window):
        raise click.UsageError("write --window KEY, or --from KEY [--to KEY]")
    with open_runs(source) as runs:
        if first:
            done = enrich_between(runs, source, first, last, retry=retry_failed)
        else:
            done = enrich_windows(runs, source, window, retry=retry_failed)
        if as_json:
            print_json({"source": source, "runs": [run.as_json() for run in done]})
        else:
            show(runs, source, done)
        fail_on_problems(done)


def show(runs: "Runs", source: str, done: "Sequence[PageRun]") -> None:
    """What became of the documents, the dead letters, and what to do next."""
    from rag_platform.commands.output import letter_lines, out
    from rag_platform.documents.dead_letters import step_letters

    out().print(status_table(done, f"{source}, enriched"))
    letters = step_letters(runs.platform.catalog, source)
    for line in (*letter_lines(letters), *_next(done)):
        out().print(line, soft_wrap=True)


def enrich_windows(
    runs: "Runs", source: str, window: str | None, *, retry: bool
) -> "list[PageRun]":
    """Older windows with documents that wait, then the window; the pages hold what
    `PageEnrichment.as_json` says."""
    from rag_platform.enrichment.progress import unfinished_windows

    chosen = _checked(runs, source, window)
    older = [one for one in unfinished_windows(runs.platform.catalog, source) if one < chosen]
    return _enriched(runs, source, [*older, chosen], retry=retry)


def enrich_between(
    runs: "Runs", source: str, first: str, last: str | None, *, retry: bool
) -> "list[PageRun]":
    """The pages from one window to another, oldest first."""
    from rag_platform.operations.status import written_windows

    first, last = _checked(runs, source, first), _checked(runs, source, last)
    written = written_windows(runs.platform.catalog, source)
    windows = [window for window in written if first <= window <= last]
    if not windows:
        raise NothingToEnrich(
            f"{source}: no page from {first} to {last}. See `rag-platform status`."
        )
    return _enriched(runs, source, windows, retry=retry)


def _checked(runs: "Runs", source: str, window: str | None) -> str:
    """The window, if there is one; by default that of the newest page."""
    from rag_platform.enrichment.progress import newest_window

    platform = runs.platform
    platform.enrichment(source)  # raises for a source that is not enriched
    if window:
        return platform.calendar(source).check(window)
    newest = newest_window(platform.catalog, source)
    if newest is None:
        raise NothingToEnrich(
            f"{source}: no document with a text. Run `rag-platform sync {source}` first."
        )
    return newest


def enrich_what_is_new(runs: "Runs", source: str, windows: Sequence[str]) -> "list[PageRun]":
    """Windows with documents that wait, and those of `windows` with documents never enriched."""
    from rag_platform.enrichment.progress import unaccounted, unfinished_windows

    catalog = runs.platform.catalog
    new = [one for one in windows if unaccounted(catalog, source, [one])]
    return _enriched(runs, source, sorted({*unfinished_windows(catalog, source), *new}))


def _enriched(
    runs: "Runs", source: str, windows: Sequence[str], *, retry: bool = False
) -> "list[PageRun]":
    from rag_platform.defs.enrichment.automation import job_name
    from rag_platform.defs.enrichment.factory import MODEL_STAGES

    steps = {f"{source}__{stage}": {"config": {"retry_failed": retry}} for stage in MODEL_STAGES}
    done = []
    for one in windows:
        [run] = runs.run(source, [one], job=job_name(source), config={"ops": steps})
        done.append(with_page(runs.platform.catalog, run))
    return done


def with_page(catalog: "Catalog", run: "PageRun") -> "PageRun":
    """A run of the enrichment, with what became of the page's documents."""
    from rag_platform.enrichment.report import page_enrichment

    page = page_enrichment(catalog, run.source, run.window, now=time.time())
    return replace(run, page=page.as_json())


def status_table(runs: "Sequence[PageRun]", title: str) -> "Table":
    """A line for each page: its documents by status."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rag_platform.enrichment.gate import STATUSES
    from rag_platform.operations.terminal import escape

    pages = [run.page for run in runs if run.page is not None]
    shown = [name for name in STATUSES if any(name in page["statuses"] for page in pages)]
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("window", no_wrap=True)
    for name in ("documents", *shown, "open reviews"):
        table.add_column(name.replace("_", " "), justify="right")
    for page in pages:
        counts = [page["documents"], *(page["statuses"].get(name, 0) for name in shown)]
        counts.append(page["open_reviews"])
        table.add_row(page["window"], *(f"{count:,}" if count else "·" for count in counts))
    return table


def _next(done: "Sequence[PageRun]") -> Iterator[str]:
    pages: list[dict[str, Any]] = [run.page for run in done if run.page is not None]
    if count := sum(page["open_reviews"] for page in pages):
        yield f"{count:,} documents wait for a person: rag-platform reviews"
    if count := sum(page["statuses"].get("deferred", 0) for page in pages):
        yield f"{count:,} documents wait for the budget or the service; the next run takes them."
