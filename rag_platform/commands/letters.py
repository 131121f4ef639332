"""The verbs of the dead letters: see what could not be used, and try it again."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from rag_platform.actions import Actions
from rag_platform.commands.context import (
    as_json_option,
    by_option,
    fail_on_problems,
    open_platform,
    open_runs,
    print_json,
)
from rag_platform.commands.group import DefaultsToList

if TYPE_CHECKING:
    from rag_platform.commands.runs import PageRun, Runs
    from rag_platform.documents.dead_letters import DeadLetter
    from rag_platform.operations.audit import Via
    from rag_platform.platform import Platform

_reason = click.option("--reason", metavar="CODE", help="Of one reason only.")


@click.group("dead-letters", cls=DefaultsToList)
def dead_letters() -> None:
    """Documents without a text: list them (by default), or try them again."""


@dead_letters.command("list")
@click.option("--source", metavar="NAME", help="Of one source only, of `rides`, or of a model.")
@_reason
@as_json_option
def list_(source: str | None, reason: str | None, as_json: bool) -> None:
    """What could not be used, and why: documents without a text, steps that failed for one.

    Records of the rides are listed by --source rides, those of a model by its name.
    """
    with open_platform() as platform:
        from rag_platform.documents.dead_letters import letters, step_letters

        settings = platform.settings
        # Pipelines of records, which have no documents.
        others = [*settings.models, *(["rides"] if settings.rides else [])]
        if source and source not in others:
            platform.source_settings(source)
        found = letters(platform.catalog, source=source)
        for name in [source] if source else settings.enrichment.sources:
            found += step_letters(platform.catalog, name)
        found = [letter for letter in found if reason in (None, letter.reason)]
        if as_json:
            print_json([letter.as_json() for letter in found])
            return
        from rag_platform.commands.output import letter_lines, out

        out().print(*(letter_lines(found) if found else ["No dead letters."]), sep="\n")


@dead_letters.command("replay")
@click.argument("source", required=False)
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Of this document; repeat it.")
@_reason
@by_option
@click.option("--via", type=click.Choice(["cli", "console"]), default="cli", hidden=True)
@as_json_option
def replay(
    source: str | None,
    keys: tuple[str, ...],
    reason: str | None,
    by: str,
    via: "Via",
    as_json: bool,
) -> None:
    """Try dead letters again: all, those of a reason, or single ones.

    Quarantined ones are left until their bytes, the parser or its limits change.
    """
    if keys and source is None:
        raise click.UsageError("--key names a document of a source: give SOURCE, too")
    with open_runs(source) as runs:
        from rag_platform.documents.dead_letters import letters

        catalog = runs.platform.catalog
        known = list(runs.platform.settings.sources)
        found = [
            letter
            for letter in letters(catalog, source=source, reason=reason, keys=keys)
            if letter.source in known
        ]
        if missing := set(keys) - {letter.key for letter in found}:
            first = min(missing)
            raise click.UsageError(f"{source}: no such dead letter: {first}; see dead-letters list")
        chosen = [letter for letter in found if not letter.quarantined]
        actions = Actions(runs.platform, by, via)
        with actions.audited(
            "dead_letters.replay", source or "all", letters=len(chosen), of_reason=reason
        ) as ending:
            done = replay_letters(runs, chosen)
            left = {letter.doc_id for letter in letters(catalog)}
            healed = sum(letter.doc_id not in left for letter in chosen)
            ending.detail = f"{healed} of {len(chosen)} have a text now"
        counts = {
            "tried": len(chosen),
            "healed": healed,
            "quarantined": len(found) - len(chosen),
        }
        if as_json:
            print_json(counts | {"runs": [run.as_json() for run in done]})
        else:
            click.echo(
                f"{len(chosen)} tried again, {healed} have a text now, "
                f"{len(found) - len(chosen)} left in quarantine."
            )
        fail_on_problems(done)


def replay_letters(runs: "Runs", chosen: "Sequence[DeadLetter]") -> "list[PageRun]":
    """Parse again what failed to parse; read again what could not be read. No other letter of
    their pages is tried."""
    from rag_platform.defs.operations import launch
    from rag_platform.documents.dead_letters import forget_etags, retries
    from rag_platform.operations.status import written_windows

    catalog = runs.platform.catalog
    done: list[PageRun] = []
    for source, windows in retries(chosen).items():
        for window, keys in windows.items():
            config = launch.step_config(source, "parsed_docs", retry_keys=keys)
            done += runs.run(source, [window], config=config)
    for source in forget_etags(catalog, chosen):
        done += runs.run(source, [written_windows(catalog, source)[-1]])
    return done


def dagster_replays(platform: "Platform", chosen: "Sequence[DeadLetter]") -> bool:
    """Whether a webserver is up that knows the assets of these letters and has a daemon."""
    from rag_platform.defs.operations import launch

    sources = sorted({letter.source for letter in chosen})
    return launch.webserver_serves([key for name in sources for key in _assets(platform, name)])


def launch_replays(platform: "Platform", chosen: "Sequence[DeadLetter]") -> Iterator[str]:
    """Have Dagster's daemon replay letters as `replay_letters` does; the id of each backfill once
    it has begun."""
    from rag_platform.defs.operations import launch
    from rag_platform.documents.dead_letters import forget_etags, retries
    from rag_platform.operations.status import written_windows

    for source, windows in retries(chosen).items():
        named = [key for in_window in windows.values() for key in in_window]
        config = launch.step_config(source, "parsed_docs", retry_keys=named)
        title = f"Dead letters of {source}"
        assets = _assets(platform, source)
        yield launch.launch_backfill(assets, [*windows], title=title, run_config=config)
    for source in forget_etags(platform.catalog, chosen):
        newest = written_windows(platform.catalog, source)[-1]
        title = f"Unread documents of {source}"
        yield launch.launch_backfill(_assets(platform, source), [newest], title=title)


def _assets(platform: "Platform", source: str) -> Sequence[Any]:
    from rag_platform.defs.operations import launch

    stages = launch.stages_of(platform.settings, source)
    return launch.keys_of(source, platform.indexes, stages=stages)
