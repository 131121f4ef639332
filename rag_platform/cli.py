"""The command line `rag-platform`: thin verbs over the packages below.

Dagster and every other heavy library are imported inside the verbs that need them, so that
`rag-platform search` starts fast. docs/cli.md describes the verbs, their JSON and exit codes.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.ask import ask, mcp
from rag_platform.commands.backup import backup, restore
from rag_platform.commands.context import (
    as_json_option,
    fail,
    fail_on_problems,
    open_platform,
    open_runs,
    print_json,
    reader_options,
)
from rag_platform.commands.costs import costs
from rag_platform.commands.enrich import enrich, enrich_what_is_new, show
from rag_platform.commands.erase import erase, receipts
from rag_platform.commands.evaluate import compare, evaluate
from rag_platform.commands.group import Cli
from rag_platform.commands.indexes import experiment, indexes, promote, rollback
from rag_platform.commands.letters import dead_letters
from rag_platform.commands.metrics import metrics
from rag_platform.commands.migrate import migrate
from rag_platform.commands.models import models
from rag_platform.commands.notify import notify
from rag_platform.commands.predict import predict
from rag_platform.commands.reviews import reviews
from rag_platform.commands.rides import rides, simulate_rides
from rag_platform.commands.train import train
from rag_platform.console.command import console
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from rag_platform.commands.runs import PageRun, Runs
    from rag_platform.platform import Platform

_MOST_RESULTS = 200


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("-v", "--verbose", is_flag=True, help="Show Dagster's own log.")
@click.version_option(package_name="rag_platform")
def main(debug: bool, verbose: bool) -> None:
    """Documents to an always-current, searchable index.

    Settings are read from platform.yaml (RAG_PLATFORM_CONFIG), state is kept in .rag_platform
    (RAG_PLATFORM_HOME).
    """


for command in (
    *(enrich, reviews, costs, rides, simulate_rides, train, predict, models, notify),
    *(evaluate, compare, promote, rollback, indexes, experiment, ask, mcp, dead_letters),
    *(erase, receipts, backup, restore, migrate, metrics, console),
):
    main.add_command(command)

_index = click.option("--index", metavar="NAME", help="An index version.")


@main.command()
@click.argument("source")
@click.option("--window", metavar="KEY", help="The window; by default the current one.")
@click.option("--allow-deletions", is_flag=True, help="Accept a listing that lost very much.")
@click.option("--refresh", is_flag=True, help="Ask the source even for an older window.")
@as_json_option
def sync(
    source: str, window: str | None, allow_deletions: bool, refresh: bool, as_json: bool
) -> None:
    """Bring the indexes up to date with SOURCE, then enrich what is new of it."""
    with open_runs(source) as runs:
        from rag_platform.commands import runs as verbs

        done = verbs.sync(runs, source, window, allow_deletions=allow_deletions, refresh=refresh)
        enriched: list[PageRun] = []
        if source in runs.platform.settings.enrichment.sources:
            enriched = enrich_what_is_new(runs, source, [run.window for run in done])
        _report(runs, done, source, enriched=enriched, as_json=as_json)


def _report(
    runs: "Runs",
    done: "list[PageRun]",
    source: str,
    *,
    enriched: "Sequence[PageRun]" = (),
    as_json: bool,
) -> None:
    """The pages that were run; problems go to standard error and into the exit code."""
    if as_json:
        shown = {"source": source, "runs": [run.as_json() for run in done]}
        if source in runs.platform.settings.enrichment.sources:
            shown["enrichment"] = [run.as_json() for run in enriched]
        print_json(shown)
    else:
        from rag_platform.commands.output import letter_lines, out, outcome_table
        from rag_platform.documents.dead_letters import letters

        out().print(outcome_table(done, source))
        if waiting := done[-1].page["waiting"] if done[-1].page else 0:
            calendar = runs.platform.calendar(source)
            first = calendar.key(calendar.start)
            out().print(
                f"{waiting:,} objects are dated into windows that have no page yet: rag-platform "
                f"replay {source} --from {first} --to {done[-1].window}"
            )
        if found := letters(runs.platform.catalog, source=source):
            out().print(f"{len(found)} dead letters:", *letter_lines(found), sep="\n")
        if enriched:
            show(runs, source, enriched)
    fail_on_problems([*done, *enriched])


@main.command()
@click.argument("source")
@click.option("--from", "first", metavar="KEY", required=True, help="The first window.")
@click.option("--to", "last", metavar="KEY", required=True, help="The last window.")
@_index
@click.option("--refresh", is_flag=True, help="Ask the source again for each window.")
@as_json_option
def replay(
    source: str, first: str, last: str, index: str | None, refresh: bool, as_json: bool
) -> None:
    """Run the windows of SOURCE from --from to --to again.

    As an asset backfill when the webserver is up, in this process otherwise. With --index only
    that index version is filled.
    """
    with open_runs(source) as runs:
        from rag_platform.commands import runs as verbs
        from rag_platform.defs.operations import launch

        wanted = verbs.replay_of(
            runs.platform, source, first=first, last=last, index=index, refresh=refresh
        )
        if not launch.webserver_serves(wanted.keys):
            done = verbs.replay_here(runs, wanted)
            _report(runs, done, source, as_json=as_json)
            return
        title = f"replay {source} {first} to {last}" + (f" into {index}" if index else "")
        backfill = launch.launch_backfill(
            wanted.keys, wanted.windows, title=title, run_config=wanted.config
        )
        url = f"{launch.webserver_url()}/runs/b/{backfill}"
        if as_json:
            print_json({"source": source, "backfill": backfill, "url": url})
        else:
            click.echo(f"Backfill {backfill} of {len(wanted.windows)} windows started: {url}")


@main.command()
@click.argument("source", required=False)
@as_json_option
def plan(source: str | None, as_json: bool) -> None:
    """What the next sync would do, and what it would cost. Records nothing."""
    with open_platform() as platform:
        from rag_platform.commands.plan import plan_of

        found = plan_of(platform, [source] if source else list(platform.settings.sources))
        if as_json:
            print_json(found)
            return
        from rag_platform.commands.output import out, plan_tables

        out().print(*plan_tables(found), sep="\n")


@main.command()
@click.argument("query", required=False)
@click.option("--queries", "file", type=click.File(encoding="utf-8"), help="JSON lines to ask.")
@_index
@click.option("--k", default=10, show_default=True, type=click.IntRange(1, _MOST_RESULTS))
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@reader_options
@as_json_option
def search(
    query: str | None,
    file: Any,
    index: str | None,
    k: int,
    filters: tuple[str, ...],
    tenant: str | None,
    groups: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find passages for QUERY; or for each line of --queries FILE.jsonl, with --json."""
    from rag_platform.retrieval.queries import parse_filters, read_queries

    if (query is None) == (file is None) or (file is not None and not as_json):
        raise click.UsageError("give either QUERY, or --queries FILE.jsonl with --json")
    try:
        wanted = parse_filters(filters)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error
    with open_platform() as platform:
        reader = platform.reader(tenant, groups)
        if file is not None:
            queries = read_queries(file, file.name)
            with platform.searcher(index, reader=reader) as searcher:
                for asked in queries:
                    results = searcher.search(asked.query, k, filters=wanted)
                    line = {"id": asked.id, "results": [found.as_json() for found in results]}
                    click.echo(json.dumps(line, ensure_ascii=False))
            return
        with platform.searcher(index, reader=reader) as searcher:
            results = searcher.search(str(query), k, filters=wanted)
    if as_json:
        print_json({"query": query, "results": [found.as_json() for found in results]})
        return
    from rag_platform.commands.output import out, passages

    out().print(*(passages(results) if results else ["Nothing found."]), sep="\n")


@main.command()
@as_json_option
def status(as_json: bool) -> None:
    """Documents, pages, dead letters and indexes as they are."""
    with open_platform() as platform:
        from rag_platform.operations.status import status as status_of

        found = status_of(
            platform.catalog,
            sources=list(platform.settings.sources),
            indexes=list(platform.settings.indexes),
            live=platform.live(),
            points=lambda index: _points(platform, index),
        )
        if as_json:
            print_json(found)
            return
        from rag_platform.commands.output import out, status_tables

        out().print(*status_tables(found), sep="\n")


def _points(platform: "Platform", index: str) -> int | None:
    """What the collection holds; None, and why, where it cannot be opened."""
    from rag_platform.storage.vectors.base import CollectionMissing

    try:
        with platform.vectors.open_existing(index) as collection:
            return collection.count()
    except CollectionMissing:
        return 0
    except PlatformError as error:
        click.echo(f"warning: points of {index} not counted: {error}", err=True)
        return None


@main.command()
@click.option("--repair", is_flag=True, help="Rebuild what drifted; costs no embedding.")
@click.option("--full", is_flag=True, help="Read every point, however many there are.")
@_index
@as_json_option
def reconcile(repair: bool, full: bool, index: str | None, as_json: bool) -> None:
    """Compare the indexes with the catalog. Exits 1 where they do not agree at the end."""
    with open_platform() as platform:
        names = [index] if index else platform.indexes
        reports = [
            platform.reconciler(name).run(repair=repair, full=full or None) for name in names
        ]
        if as_json:
            print_json([found.as_json() for found in reports])
        else:
            from rag_platform.commands.output import out, reconcile_table

            out().print(reconcile_table(reports))
    advice = "rag-platform reconcile --repair"
    if repair:
        advice = f"replay the pages of its documents, then {advice}"
    fail([f"{r.index}: does not agree with the catalog: {advice}" for r in reports if not r.agrees])


@main.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Check settings, connections and versions, and say what to do."""
    from rag_platform.commands.doctor import findings

    found = findings()
    if as_json:
        print_json([finding.as_json() for finding in found])
    else:
        from rag_platform.commands.output import findings_lines, out

        out().print(*findings_lines(found), sep="\n")
    failed = sum(finding.state == "fail" for finding in found)
    fail([f"{failed} of {len(found)} checks failed; see above what to do"] if failed else [])


@main.command()
@click.option("--days", type=click.IntRange(min=1), help="Only so many days of the corpus.")
def demo(days: int | None) -> None:
    """Replay two weeks of a documentation folder day by day, and ask it a question."""
    with open_runs() as runs:
        from rag_platform.commands.demo import run_demo

        fail_on_problems(run_demo(runs, days))


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Throw the state folder away: catalog, index, stored pages and recorded runs."""
    from rag_platform.operations.reset import removable, remove
    from rag_platform.settings import load

    home = load().home
    if not removable(home):
        click.echo(f"{home}: nothing to remove.")
        return
    if not yes and not click.confirm(f"Remove {home} with everything in it?", err=True):
        fail(["nothing removed"])
    remove(home)
    click.echo(f"Removed {home}.")
