"""The cases that an index has to live through, played to every contestant.

    python benchmarks/cases.py --data DIR [--sides langchain,llamaindex,cocoindex]

A small real corpus (two dozen pages) is changed step by step: edits, renames, copies, removals,
a source that lists nothing, another chunker, another model, a kill, an embedder that is down, a
lost vector store. After each step the contestant's process starts afresh on its own state. Two
things are judged: how many passages were embedded, against the number of passages never embedded
before (`needed`); and what is searchable, against a fresh index of the same folder built by the
same contestant, so that each one's own way to split is its own measure.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from contestant import EMBED_BATCH, Embedder, Recipe, versions
from corpora import unpack_base
from stage import MARK, SIDES, Stage, ask, contestant_of, differences

DOCUMENTS = 24


@dataclass
class Result:
    """One case of one contestant. `correct` is None where the contestant has no such notion."""

    case: str
    embedded: int | None = None
    needed: int | None = None
    correct: bool | None = None
    note: str = ""


def after_change(
    stage: Stage, case: str, *, musts: Iterable[tuple[str, str]] = (), gone: str = ""
) -> Result:
    """Sync the changed folder and judge; `musts` are (page, words) that have to be found."""
    answer, control = ask([stage.order(), stage.control()])
    wanted = control.contents
    needed = stage.needed(wanted)
    wrong = [differences(answer.contents, wanted), answer.failed]
    for path, words in musts:
        if not any(path == at and words in text for at, text in answer.contents):
            wrong.append(f"not found under {path}")
    if any(path == gone for path, _ in answer.contents):
        wrong.append("an empty passage stays")
    note = "; ".join(part for part in wrong if part)
    return Result(case, answer.embedded, needed, not note, note)


# The cases, in playing order. Each leaves folder and index agreeing for the next one.


def first_index(stage: Stage) -> Result:
    """Not a case of the list: the first build, which all others start from."""
    return after_change(stage, "0 first index")


def run_again(stage: Stage) -> Result:
    return after_change(stage, "1 nothing changed")


def only_modified_time(stage: Stage) -> Result:
    for page in stage.folder.glob("*.md"):
        os.utime(page, (1_600_000_000, 1_600_000_000))
    return after_change(stage, "2 only modified times")


def edit_in_the_middle(stage: Stage) -> Result:
    page = max(stage.folder.glob("*.md"), key=lambda path: path.stat().st_size)
    paragraphs = page.read_text(encoding="utf-8").split("\n\n")
    middle = len(paragraphs) // 2
    paragraphs[middle] = f"{paragraphs[middle]} {MARK}"
    page.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return after_change(stage, "3 one edit in a long page", musts=[(page.name, MARK)])


def paragraph_on_top(stage: Stage) -> Result:
    page = max(stage.folder.glob("*.md"), key=lambda path: path.stat().st_size)
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{MARK} It opens the page.\n\n{text}", encoding="utf-8")
    return after_change(stage, "4 paragraph on top", musts=[(page.name, "It opens the page")])


def renamed(stage: Stage) -> Result:
    page = stage.page(3)
    text = page.read_text(encoding="utf-8").strip()
    page.rename(page.with_name("moved-page.md"))
    return after_change(stage, "5 page renamed", musts=[("moved-page.md", text[-40:])])


def exact_copy(stage: Stage) -> Result:
    page = stage.page(5)
    text = page.read_text(encoding="utf-8").strip()
    shutil.copyfile(page, stage.folder / "copied-page.md")
    both = [(page.name, text[-40:]), ("copied-page.md", text[-40:])]
    return after_change(stage, "6 exact copy", musts=both)


def removed(stage: Stage) -> Result:
    stage.page(7).unlink()
    return after_change(stage, "7 page removed")


def emptied(stage: Stage) -> Result:
    page = stage.page(8)
    page.write_text("", encoding="utf-8")
    return after_change(stage, "8 page emptied", gone=page.name)


def two_identical_removed(stage: Stage) -> Result:
    for name in ("twin-a.md", "twin-b.md"):
        (stage.folder / name).write_text(f"# Twins\n\n{MARK} Twice.\n", encoding="utf-8")
    settle(stage)
    for name in ("twin-a.md", "twin-b.md"):
        (stage.folder / name).unlink()
    return after_change(stage, "9 both of two identical removed")


def source_lists_nothing(stage: Stage) -> Result:
    aside = stage.work / "aside"
    before = stage.ask(sync=False).contents
    stage.folder.rename(aside)
    stage.folder.mkdir()
    answer = stage.ask()
    stage.folder.rmdir()
    aside.rename(stage.folder)
    note = differences(answer.contents, before)
    spent = settle(stage)
    if spent:
        note += f"; {spent} embedded again when it came back"
    case = "10 source suddenly lists nothing"
    return Result(case, answer.embedded + spent, 0, not note, note or answer.failed)


def another_chunker(stage: Stage) -> Result:
    stage.recipe = replace(stage.recipe, chunk_bytes=800, overlap_bytes=80)
    return after_change(stage, "11 chunker changed")


def chunker_back(stage: Stage) -> Result:
    stage.recipe = Recipe()
    return after_change(stage, "12 chunker changed back")


def another_model(stage: Stage) -> Result:
    stage.recipe = replace(stage.recipe, dimensions=128)
    result = after_change(stage, "13 embedder changed")
    if result.correct and result.embedded == 0:
        result.correct, result.note = False, "not noticed: old vectors, new questions"
    elif result.correct:
        result.correct, result.note = (
            False,
            "replaced: no old index beside that keeps serving",
        )
    return result


def model_back(stage: Stage) -> Result:
    stage.recipe = Recipe()
    result = after_change(stage, "14 rolled back")
    if result.embedded == 0:
        result.correct, result.note = None, "no versions to go back to"
    return result


def killed(stage: Stage) -> Result:
    case = "15 killed half way, run again"
    shutil.rmtree(stage.state)
    wanted = stage.fresh()
    total = sum(wanted.values())
    first = stage.ask(limit=total // 2, kill=True)
    second = stage.ask()
    paid = first.embedded + second.embedded
    note = differences(second.contents, wanted) or second.failed
    if paid > total + EMBED_BATCH:
        note = "; ".join(part for part in (note, f"{paid - total} passages paid twice") if part)
    return Result(case, paid, total, not note, note)


def embedder_down(stage: Stage) -> Result:
    case = "16 embedder down during an update"
    before = stage.ask(sync=False).contents
    changed = [stage.page(0), stage.page(1)]
    for page in changed:
        page.write_text(f"{page.read_text(encoding='utf-8')}\n\n{MARK} Down.\n", encoding="utf-8")
    down = stage.ask(limit=0)
    meanwhile = stage.ask(sync=False).contents
    wrong = [differences(meanwhile, before)]
    if wrong[0]:
        wrong[0] = f"meanwhile {wrong[0]}"
    if not down.failed:
        wrong.append("ended as a success")
    after = after_change(stage, case)
    wrong.append(after.note)
    after.note = "; ".join(part for part in wrong if part)
    after.correct = not after.note
    return after


def vectors_lost(stage: Stage) -> Result:
    contestant = contestant_of(stage.side)
    shutil.rmtree(contestant(stage.state, Embedder(1), stage.recipe).vectors)
    return after_change(stage, "17 vector store wiped behind its back")


def shared_passage(stage: Stage) -> Result:
    shutil.rmtree(stage.state)
    shared = f"{MARK} Shared by two pages."
    for name in ("shared-a.md", "shared-b.md"):
        (stage.folder / name).write_text(f"{shared}\n", encoding="utf-8")
    settle(stage)
    (stage.folder / "shared-a.md").write_text("Something else altogether.\n", encoding="utf-8")
    musts = [("shared-b.md", "Shared by two pages")]
    return after_change(stage, "18 shared passage, one page drops it", musts=musts)


CASES: list[Callable[[Stage], Result]] = [
    first_index,
    run_again,
    only_modified_time,
    edit_in_the_middle,
    paragraph_on_top,
    renamed,
    exact_copy,
    removed,
    emptied,
    two_identical_removed,
    source_lists_nothing,
    another_chunker,
    chunker_back,
    another_model,
    model_back,
    killed,
    embedder_down,
    vectors_lost,
    shared_passage,
]


def settle(stage: Stage) -> int:
    """Sync without judging; returns how many passages were embedded."""
    answer = stage.ask()
    stage.needed(answer.contents)
    return answer.embedded


def small_corpus(corpus: Path, folder: Path) -> None:
    """Two dozen English pages of middling length, flat in one folder."""
    whole = folder.with_name("whole")
    unpack_base(corpus, whole)
    pages = sorted((whole / "content" / "en").rglob("*.md"))
    chosen = [page for page in pages if 4_000 < page.stat().st_size < 20_000][: 3 * DOCUMENTS : 3]
    folder.mkdir()
    for number, page in enumerate(chosen):
        shutil.copyfile(page, folder / f"{number:02d}-{page.parent.name}.md")
    shutil.rmtree(whole)


def play(side: str, corpus: Path) -> list[Result]:
    """All cases in order for one contestant."""
    results = []
    with tempfile.TemporaryDirectory(prefix=f"cases-{side}-") as folder:
        stage = Stage(side, Path(folder).resolve())
        small_corpus(corpus, stage.folder)
        for case in CASES:
            results.append(case(stage))
            print(side, results[-1], file=sys.stderr, flush=True)
            if not results[-1].correct:
                start_over(stage)
    return results


def start_over(stage: Stage) -> None:
    """Begin the next case from an index that agrees with the folder."""
    shutil.rmtree(stage.state)
    stage.needed(stage.ask().contents)


def table(results: dict[str, list[Result]]) -> str:
    """Markdown: a row per case, a column per contestant, and what went wrong."""
    sides = list(results)
    lines = ["| case | " + " | ".join(sides) + " |", "|---" * (len(sides) + 1) + "|"]
    for row in zip(*results.values(), strict=True):
        cells = [_cell(result) for result in row]
        lines.append(f"| {row[0].case} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(result: Result) -> str:
    if result.correct is None:
        return f"n/a ({result.note})"
    verdict = "right" if result.correct else f"**wrong**: {result.note}"
    return f"{result.embedded} embedded, {result.needed} needed, {verdict}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with docs_opentelemetry")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--out", type=Path, help="write the results as JSON there")
    arguments = parser.parse_args()
    corpus = arguments.data / "docs_opentelemetry"
    results = {side: play(side, corpus) for side in arguments.sides.split(",")}
    print(table(results))
    if arguments.out:
        packages = {side: versions(contestant_of(side).packages) for side in results}
        rows = {side: [asdict(result) for result in told] for side, told in results.items()}
        record = json.dumps({"versions": packages, "cases": rows}, indent=1)
        arguments.out.write_text(record, encoding="utf-8")


if __name__ == "__main__":
    main()
