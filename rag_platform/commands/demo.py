"""`rag-platform demo`: what a newcomer gets to see."""

from datetime import date

from rag_platform import demo
from rag_platform.commands.output import letter_lines, out, outcome_table, passages
from rag_platform.commands.runs import DEMO_SOURCE, PageRun, Runs, replay_demo
from rag_platform.documents.dead_letters import letters
from rag_platform.operations.terminal import escape

_PASSAGES = 3


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
        _answer(runs, last)
    return done


def _paid(embedded: int, remembered: int) -> str:
    if embedded == 0:
        return "0 embedded: nothing was paid for."
    return f"{embedded:,} passages embedded, {remembered:,} taken from memory. Run it again: 0."


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
        "  .venv/bin/rag-platform status                           what there is",
        "  .venv/bin/rag-platform dead-letters list                what has no text, and why",
        "  make dev                                                the same in the Dagster UI",
        "  .venv/bin/rag-platform reset                            throw all of it away",
        sep="\n",
    )
