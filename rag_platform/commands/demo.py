"""`rag-platform demo`: what a newcomer gets to see."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from rag_platform import demo
from rag_platform.commands.context import fail
from rag_platform.commands.enrich import status_table
from rag_platform.commands.output import letter_lines, out, outcome_table, passages
from rag_platform.commands.reviews import take_effect
from rag_platform.commands.runs import DEMO_SOURCE, PageRun, Runs, replay_demo
from rag_platform.documents.dead_letters import letters
from rag_platform.operations.status import written_windows
from rag_platform.operations.terminal import escape

if TYPE_CHECKING:
    from rag_platform.enrichment.reviews import Review

_PASSAGES = 3
_RIDES = 2_000
# With what the last day's figures are compared.
_DAYS_BEFORE = 3
_MODELS = ("credit_risk_scorer", "intent_classifier")


def run_demo(runs: Runs, days: int | None) -> list[PageRun]:
    """Replay the days, then show outcomes, dead letters, an answer and the next commands."""
    console = out()
    done, last = replay_demo(runs, days, say=console.print)
    console.print(outcome_table(done, "What each day brought"))
    pages = [run.page for run in done if run.page is not None]
    embedded = sum(page["embedded_chunks"] for page in pages)
    console.print(_paid(embedded, sum(page["memo_hits"] for page in pages)))
    dead = letters(runs.platform.catalog, source=DEMO_SOURCE)
    if dead:
        console.print(
            f"\n{len(dead)} documents have no text, and say why (dead letters):",
            *letter_lines(dead),
            sep="\n",
        )
    if all(run.success for run in done):
        done += _enrichment(runs)
        done += _rides(runs, last)
        done += _models(runs)
        _answer(runs, last)
    return done


def _paid(embedded: int, remembered: int) -> str:
    if embedded == 0:
        return "0 embedded: nothing was paid for."
    return f"{embedded:,} passages embedded, {remembered:,} taken from memory. Run it again: 0."


def _enrichment(runs: Runs) -> list[PageRun]:
    """Enrich what is new in one run, then decide one review and let that take effect."""
    from rag_platform.defs.enrichment.automation import job_name
    from rag_platform.enrichment.progress import unaccounted, unfinished_windows

    console, platform = out(), runs.platform
    if DEMO_SOURCE not in platform.settings.enrichment.sources:
        return []
    written = written_windows(platform.catalog, DEMO_SOURCE)
    new = {*unaccounted(platform.catalog, DEMO_SOURCE, written)}
    new |= {*unfinished_windows(platform.catalog, DEMO_SOURCE)}
    if not new:
        return []
    windows = [window for window in written if min(new) <= window <= max(new)]
    done = _pages(runs, runs.run(DEMO_SOURCE, windows, job=job_name(DEMO_SOURCE)))
    method = "extractive methods" if platform.llm.gateway("demo").is_extractive else "the models"
    console.print(status_table(done, f"What {method} made of each day's documents"))
    open_reviews = platform.reviews.queue(source=DEMO_SOURCE)
    if open_reviews and all(run.success for run in done):
        surest = max(open_reviews, key=lambda review: review.confidence or 0.0)
        console.print(*_review(surest, len(open_reviews)), sep="\n")
        platform.reviews.approve(surest.id, by="demo", note="one of them, for show")
        fail(take_effect(runs)[1])
        console.print("Approved by `demo`: published, and a filter of the search from now on.")
    return done


def _pages(runs: Runs, done: Sequence[PageRun]) -> list[PageRun]:
    """The runs, with what became of the documents of each page."""
    from rag_platform.commands.enrich import with_page

    return [with_page(runs.platform.catalog, run) for run in done]


def _review(review: "Review", waiting: int) -> list[str]:
    return [
        f"\n{waiting:,} documents are not certain enough and wait for a person; one of them:",
        f"  [bold]{escape(review.title)}[/] ({escape(review.key)})",
        f"  proposed: [cyan]{escape(review.label or 'nothing')}[/], {escape(review.reason)}",
    ]


def _rides(runs: Runs, last: date) -> list[PageRun]:
    """The report on the rides of the last day, simulated with a few days before it."""
    from rag_platform.defs.rides.automation import JOB
    from rag_platform.rides.saving import save
    from rag_platform.rides.simulation import simulate
    from rag_platform.rides.tables import REPORT, SUMMARIES

    platform = runs.platform
    folder = platform.settings.home / "demo" / "rides"
    if platform.settings.rides is None or platform.settings.rides.url != folder.as_uri():
        return []
    rides = platform.rides
    days = [last - timedelta(days=number) for number in range(_DAYS_BEFORE, -1, -1)]
    days = [day for day in days if day >= rides.days.start]
    if rides.tables.known_facts(REPORT, last) is not None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for day in days:
        save(simulate(day, _RIDES, 0), folder / f"{day.isoformat()}.parquet")
    done = runs.run("rides", [day.isoformat() for day in days], job=JOB)
    if not all(run.success for run in done):
        return done
    [report] = rides.tables.read(REPORT, last).to_pylist()
    out().print(
        f"\n[bold]Rides of {last}[/] (simulated): {report['rides']:,}, "
        f"{report['anomalies']:,} of them anomalous. The worst of all:"
    )
    for row in rides.tables.read(SUMMARIES, last).slice(0, 1).to_pylist():
        out().print(f"  {escape(row['summary'] or row['reason'])} ({escape(row['model'])})")
    out().print(f"  The report: {escape(rides.report_url(last))}", soft_wrap=True)
    return done


def _models(runs: Runs) -> list[PageRun]:
    """Train two models with the samples that come with the platform, unless they serve already."""
    from rag_platform.training.calendar import current_week
    from rag_platform.training.overview import measured

    platform, done = runs.platform, list[PageRun]()
    for name in _MODELS:
        if name not in platform.models.names or platform.models.promotions.champion(name):
            continue
        done += runs.run(name, [current_week()], job=f"{name}_training")
        if not done[-1].success:
            return done
        champion = platform.models.promotions.champion(name)
        told = measured(platform.models.training(name).newest_evaluation())
        number = champion.number if champion else "?"
        out().print(f"\n[bold]{name}[/] version {number} serves. Gates: {escape(told)}")
    return done


def _answer(runs: Runs, last: date) -> None:
    """A question, the passages that answer it, and what to try next."""
    console = out()
    asked = demo.question(demo.CORPUS, last)
    if asked is None:
        return
    with runs.platform.searcher() as searcher:
        results = searcher.search(asked.question, _PASSAGES, filters={"source": DEMO_SOURCE})
    console.print(f"\n[bold]Question:[/] {escape(asked.question)}\n")
    console.print(*passages(results), sep="\n")
    console.print("[bold]Next[/]")
    console.print(
        '  .venv/bin/rag-platform search "What is tail sampling?"  ask the index',
        '  .venv/bin/rag-platform ask "What is a span?"            an answer with its sources',
        "  .venv/bin/rag-platform status                           what there is",
        "  .venv/bin/rag-platform dead-letters list                what has no text, and why",
        "  .venv/bin/rag-platform reviews                          what waits for a person",
        "  .venv/bin/rag-platform models                           which models serve",
        "  make dev                                                the same in the Dagster UI",
        "  .venv/bin/rag-platform reset                            throw all of it away",
        sep="\n",
    )
