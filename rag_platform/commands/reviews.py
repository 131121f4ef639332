"""The verbs of the review queue: look at what waits, and decide."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from rag_platform.actions import Actions
from rag_platform.commands.context import (
    as_json_option,
    fail,
    open_platform,
    open_runs,
    print_json,
)
from rag_platform.commands.group import DefaultsToList

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table
    from rich.text import Text

    from rag_platform.commands.runs import Runs
    from rag_platform.enrichment.reviews import Review
    from rag_platform.platform import Platform

_EXCERPT = 2_000
_LARGEST_ID = 2**63 - 1
_STYLES = {"people": "bold cyan", "organizations": "bold magenta", "dates": "bold green"}

_number = click.argument("number", metavar="ID", type=click.IntRange(1, _LARGEST_ID))
_by = click.option(
    "--by", metavar="NAME", envvar="USER", required=True, help="Who decides; by default $USER."
)
_note = click.option("--note", metavar="TEXT", help="Why.")
_apply = click.option(
    "--apply", "at_once", is_flag=True, help="Let it take effect now, in this process."
)


@click.group(cls=DefaultsToList)
def reviews() -> None:
    """Documents that a person is asked about."""


@reviews.command("list")
@click.option("--source", metavar="NAME", help="Of this source only.")
@click.option("--overdue", is_flag=True, help="Past their deadline only.")
@as_json_option
def list_(source: str | None, overdue: bool, as_json: bool) -> None:
    """What waits for a decision, the most urgent first."""
    with open_platform() as platform:
        if source is not None:
            platform.source_settings(source)
        found = platform.reviews.queue(source=source, overdue=overdue)
        now = time.time()
        if as_json:
            print_json([review.as_json(now) for review in found])
            return
        from rag_platform.commands.output import out

        if not found:
            out().print("Nothing waits for a review.")
            return
        out().print(_queue(found, now))
        out().print(f"{len(found):,} open: rag-platform reviews show ID")


@reviews.command()
@_number
@as_json_option
def show(number: int, as_json: bool) -> None:
    """One review: what is proposed, why it is asked, and the document's text."""
    with open_platform() as platform:
        review = platform.reviews.get(number)
        text = _text_of(platform, review)
        if as_json:
            print_json(review.as_json(time.time()) | {"text": text})
            return
        from rag_platform.commands.output import out

        out().print(*_details(review), sep="\n", soft_wrap=True)
        if text is not None:
            out().print("", _marked(text, review), soft_wrap=True)


@reviews.command()
@_number
@_by
@_note
@_apply
@as_json_option
def approve(number: int, by: str, note: str | None, at_once: bool, as_json: bool) -> None:
    """Publish the proposal of review ID as it is."""
    _decide(
        lambda platform: Actions(platform, by, "cli").approve_review(number, note=note),
        "approved",
        at_once=at_once,
        as_json=as_json,
    )


@reviews.command()
@_number
@click.option("--label", metavar="NAME", help="The right category.")
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Another field; several values by several options, none by FIELD=.",
)
@_by
@_note
@_apply
@as_json_option
def correct(
    number: int,
    label: str | None,
    values: tuple[str, ...],
    by: str,
    note: str | None,
    at_once: bool,
    as_json: bool,
) -> None:
    """Publish review ID with another category or other fields."""
    if label is None and not values:
        raise click.UsageError("say what is right: --label NAME or --set FIELD=VALUE")
    fields = _fields(values)
    _decide(
        lambda platform: Actions(platform, by, "cli").correct_review(
            number, label=label, fields=fields, note=note
        ),
        "corrected",
        at_once=at_once,
        as_json=as_json,
    )


@reviews.command()
@_number
@_by
@_note
@_apply
@as_json_option
def reject(number: int, by: str, note: str | None, at_once: bool, as_json: bool) -> None:
    """Publish nothing of the proposal of review ID."""
    _decide(
        lambda platform: Actions(platform, by, "cli").reject_review(number, note=note),
        "rejected",
        at_once=at_once,
        as_json=as_json,
    )


@reviews.command("apply")
@as_json_option
def apply_(as_json: bool) -> None:
    """Let all decisions take effect now; a running daemon does so by itself."""
    with open_runs() as runs:
        waiting = len(runs.platform.reviews.unapplied())
        run_id, problems = take_effect(runs)
        if as_json:
            print_json({"taken_over": waiting, "run_id": run_id})
        else:
            click.echo(f"{waiting:,} decisions taken over.")
        fail(problems)


def _decide(
    decision: "Callable[[Platform], list[int]]", what: str, *, at_once: bool, as_json: bool
) -> None:
    """Record a decision, say what it was about, and let it take effect where that is asked."""
    problems: list[str] = []
    if at_once:
        with open_runs() as runs:
            numbers = decision(runs.platform)
            _, problems = take_effect(runs)
    else:
        with open_platform() as platform:
            numbers = decision(platform)
    if as_json:
        print_json({"reviews": numbers, "decision": what, "applied": at_once and not problems})
    else:
        first, *others = numbers
        same = f", and with it {len(others)} of the same text" if others else ""
        click.echo(f"Review {first} {what}{same}.")
        if not at_once:
            click.echo(
                "It takes effect within a minute where the daemon runs, else by: rag-platform "
                "reviews apply"
            )
    fail(problems)


def take_effect(runs: "Runs") -> tuple[str, list[str]]:
    """A recorded run of review_decisions; its id and its problems."""
    from rag_platform.defs.enrichment.reviews import JOB
    from rag_platform.defs.operations import launch

    done = launch.run_in_process(runs.instance, "", (), job=JOB, run_config=runs.quiet)
    return done.run_id, list(done.problems)


def _fields(values: Sequence[str]) -> dict[str, Any]:
    """FIELD=VALUE as a dictionary: lists of the fields that have several values."""
    from rag_platform.enrichment.fields import is_list

    fields: dict[str, Any] = {}
    for written in values:
        name, equals, value = written.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"{written!r}: write FIELD=VALUE", param_hint="--set")
        if not is_list(name):
            fields[name] = value.strip() or None
        else:
            fields.setdefault(name, [])
            if value.strip():
                fields[name].append(value.strip())
    return fields


def _text_of(platform: "Platform", review: "Review") -> str | None:
    """The text that the review is about; None where the page has it no more."""
    if review.source not in platform.settings.sources:
        return None
    from rag_platform.enrichment.texts import text_of_review

    return text_of_review(
        platform.clean(review.source), review, catalog=platform.catalog, pages=platform.pages
    )


def _queue(found: "Sequence[Review]", now: float) -> "Table":
    from rich.table import Table

    from rag_platform.documents.windows import utc
    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("id", "source", "document", "label", "due (UTC)", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name == "id" else "left")
    for review in found:
        due = f"{utc(review.due_at):%Y-%m-%d %H:%M}"
        table.add_row(
            str(review.id),
            escape(review.source),
            escape(review.key),
            escape(review.label or ""),
            f"[red]{due}[/]" if review.is_overdue(now) else due,
            escape(review.reason),
        )
    return table


def _details(review: "Review") -> Iterator[str]:
    from rag_platform.documents.windows import utc
    from rag_platform.operations.terminal import escape

    yield f"[bold]Review {review.id}: {escape(review.title)}[/]"
    yield f"{escape(review.source)}: {escape(review.key)} (window {review.window})"
    state = review.status + (f" by {review.decided_by}" if review.decided_by else "")
    yield f"{escape(state)}, due {utc(review.due_at):%Y-%m-%d %H:%M} UTC"
    yield f"[yellow]{escape(review.reason)}[/]"
    yield f"by {escape(review.model or 'no model')}, {escape(review.prompt or 'no prompt')}"
    yield ""
    for name, value in {**review.fields, **(review.decision or {})}.items():
        if name in ("title", "characters") or value in (None, "", []):
            continue
        shown = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
        style = _STYLES.get(name, "")
        yield f"  {name}: " + (f"[{style}]{escape(shown)}[/]" if style else escape(shown))
    if review.note:
        yield f"  note: {escape(review.note)}"


def _marked(text: str, review: "Review") -> "Text":
    """The beginning of the text, line by line, with the proposed entities marked."""
    from rich.text import Text

    from rag_platform.operations.terminal import printable

    excerpt = "\n".join(printable(line) for line in text[:_EXCERPT].splitlines())
    marked = Text(excerpt + (" …" if len(text) > _EXCERPT else ""))
    for name, style in _STYLES.items():
        marked.highlight_words(review.fields.get(name) or [], style, case_sensitive=False)
    return marked
