"""The verbs that measure index versions by golden queries, and compare two of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rag_platform.commands.context import as_json_option, open_platform, print_json
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from rich.table import Table

    from rag_platform.platform import Platform
    from rag_platform.retrieval.evaluation import Evaluation
    from rag_platform.retrieval.golden import Golden
    from rag_platform.retrieval.search import Searcher
    from rag_platform.retrieval.statistics import Comparison

_golden = click.option("--golden", metavar="NAME", help="One set of queries; by default all.")


class NoGolden(PlatformError):
    """There are no golden queries in the settings."""


@click.command()
@click.option("--index", metavar="NAME", help="An index version; by default the live one.")
@_golden
@as_json_option
def evaluate(index: str | None, golden: str | None, as_json: bool) -> None:
    """Ask an index the golden queries and say how well it answered, slice by slice."""
    with open_platform() as platform:
        name = index or _live(platform)
        sets = _sets(platform, golden)
        with _searcher(platform, name) as searcher:
            found = [_measured(platform, searcher, each) for each in sets]
        if as_json:
            print_json([evaluation.as_json() for evaluation in found])
            return
        from rag_platform.commands.output import out

        out().print(*map(evaluation_table, found), sep="\n")


@click.command()
@click.argument("index")
@click.argument("other", required=False)
@_golden
@click.option("--metric", help="One metric; by default that of `promotion` in the settings.")
@as_json_option
def compare(
    index: str, other: str | None, golden: str | None, metric: str | None, as_json: bool
) -> None:
    """Whether INDEX answers the golden queries better or worse than OTHER (the live one).

    What was measured on the same queries before is compared as it was; `evaluate` measures anew.
    """
    from rag_platform.retrieval.metrics import METRICS

    with open_platform() as platform:
        wanted = metric or platform.settings.promotion.metric
        if wanted not in METRICS:
            raise click.BadParameter(f"{wanted!r}: choose from {', '.join(METRICS)}")
        from rag_platform.retrieval.statistics import compare as compared

        names = (index, other or _live(platform))
        rows = {}
        for each in _sets(platform, golden):
            a, b = (_known(platform, name, each) for name in names)
            rows[each.name] = (a, b, compared(a, b, wanted))
        if as_json:
            print_json([_as_json(*row) for row in rows.values()])
            return
        from rag_platform.commands.output import out

        out().print(comparison_table(rows, *names))


def _live(platform: "Platform") -> str:
    from rag_platform.retrieval.live import live_index

    return live_index(platform.catalog, platform.settings.live)


def _sets(platform: "Platform", name: str | None) -> "list[Golden]":
    names = [name] if name else list(platform.settings.golden)
    if not names:
        raise NoGolden("no golden queries: add a set under `golden` in platform.yaml.")
    return [platform.golden(each) for each in names]


@contextmanager
def _searcher(platform: "Platform", index: str) -> "Iterator[Searcher]":
    from rag_platform.retrieval.readers import EVERYTHING

    with platform.searcher(index, reader=EVERYTHING) as searcher:
        yield searcher


def _known(platform: "Platform", index: str, golden: "Golden") -> "Evaluation":
    """The last evaluation on these queries, or a new one."""
    from rag_platform.retrieval.evaluation import latest

    platform.index_settings(index)
    found = latest(platform.catalog, index, golden.name)
    if found is not None and found.digest == golden.digest:
        return found
    with _searcher(platform, index) as searcher:
        return _measured(platform, searcher, golden)


def _measured(platform: "Platform", searcher: "Searcher", golden: "Golden") -> "Evaluation":
    from rag_platform.retrieval.evaluation import evaluate as evaluated
    from rag_platform.retrieval.evaluation import record

    found = evaluated(searcher, golden)
    record(platform.catalog, found)
    return found


def _as_json(a: "Evaluation", b: "Evaluation", found: "Comparison") -> dict[str, object]:
    return {
        "golden": a.golden,
        "index": a.index,
        "other": b.index,
        **asdict(found),
        "index_mean": a.mean(found.metric),
        "other_mean": b.mean(found.metric),
    }


def evaluation_table(evaluation: "Evaluation") -> "Table":
    """A line for each slice."""
    from rag_platform.operations.terminal import escape
    from rag_platform.retrieval.metrics import METRICS

    title = f"{evaluation.index} on {evaluation.golden}, {evaluation.points:,} points"
    table = _table(escape(title), ["slice"], ["queries", *METRICS])
    for name, part in evaluation.slices.items():
        means = [f"{part.means[metric]:.3f}" for metric in METRICS]
        table.add_row(escape(name), f"{part.queries:,}", *means)
    return table


def comparison_table(
    rows: "Mapping[str, tuple[Evaluation, Evaluation, Comparison]]", index: str, other: str
) -> "Table":
    """A line for each golden set."""
    from rag_platform.operations.terminal import escape

    table = _table(
        escape(f"{index} against {other}"),
        ["golden", "metric"],
        ["queries", escape(index), escape(other), "difference", "95 % interval", "p worse"],
    )
    for name, (a, b, found) in rows.items():
        told = "too few queries" if found.low is None else f"{found.low:+.3f} to {found.high:+.3f}"
        table.add_row(
            escape(name),
            found.metric,
            f"{found.queries:,}",
            f"{a.mean(found.metric):.3f}",
            f"{b.mean(found.metric):.3f}",
            f"{found.difference:+.3f}",
            told,
            f"{found.p_worse:.3f}",
        )
    return table


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table
