"""The cases that an index has to live through, played to every contestant.

    python benchmarks/cases.py --data DIR [--sides rag_platform,langchain,llamaindex,cocoindex]

A small real corpus (two dozen pages) is changed step by step: edits, renames, copies, removals,
a source that lists nothing, another chunker, another model, a kill, an embedder that is down, a
lost vector store. After each step the contestant's process starts afresh on its own state. Two
things are judged: how many passages were embedded, against the number of passages never embedded
before (`needed`); and what is searchable, against a fresh index of the same folder built by the
same contestant, so that each one's own way to split is its own measure. Writes
`benchmarks/results/cases.json` and `cases.md`. A contestant whose process takes more than five
minutes has timed out and starts the next case afresh.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from contestant import EMBED_BATCH, Recipe
from corpora import unpack_base
from run import HERE, heading, listed_versions, machine
from stage import MARK, OURS, SIDES, NoAnswer, Stage, differences

DOCUMENTS = 24


@dataclass
class Result:
    """One case of one contestant. `correct` is None where the contestant has no such notion."""

    embedded: int | None = None
    needed: int | None = None
    correct: bool | None = None
    note: str = ""


def after_change(stage: Stage, *, musts: Iterable[tuple[str, str]] = (), gone: str = "") -> Result:
    """Sync the changed folder and judge; `musts` are (page, words) that have to be found."""
    answer, wanted = stage.ask(), stage.fresh()
    needed = stage.needed(wanted)
    wrong = [differences(answer.contents, wanted), answer.failed]
    for path, words in musts:
        if not any(path == at and words in text for at, text in answer.contents):
            wrong.append(f"not found under {path}")
    if any(path == gone for path, _ in answer.contents):
        wrong.append("an empty passage stays")
    note = _joined(*wrong)
    return Result(answer.embedded, needed, not note, note)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


# The cases, in playing order. Each leaves folder and index agreeing for the next one.


def first_index(stage: Stage) -> Result:
    """Not a case of the list: the first build, which all others start from."""
    return after_change(stage)


def run_again(stage: Stage) -> Result:
    return after_change(stage)


def only_modified_time(stage: Stage) -> Result:
    for page in stage.folder.glob("*.md"):
        os.utime(page, (1_600_000_000, 1_600_000_000))
    return after_change(stage)


def edit_in_the_middle(stage: Stage) -> Result:
    page = max(stage.folder.glob("*.md"), key=lambda path: path.stat().st_size)
    paragraphs = page.read_text(encoding="utf-8").split("\n\n")
    middle = len(paragraphs) // 2
    paragraphs[middle] = f"{paragraphs[middle]} {MARK}"
    page.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return after_change(stage, musts=[(page.name, MARK)])


def paragraph_on_top(stage: Stage) -> Result:
    page = max(stage.folder.glob("*.md"), key=lambda path: path.stat().st_size)
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{MARK} It opens the page.\n\n{text}", encoding="utf-8")
    return after_change(stage, musts=[(page.name, "It opens the page")])


def renamed(stage: Stage) -> Result:
    page = stage.page(3)
    text = page.read_text(encoding="utf-8").strip()
    page.rename(page.with_name("moved-page.md"))
    return after_change(stage, musts=[("moved-page.md", text[-40:])])


def exact_copy(stage: Stage) -> Result:
    page = stage.page(5)
    text = page.read_text(encoding="utf-8").strip()
    shutil.copyfile(page, stage.folder / "copied-page.md")
    both = [(page.name, text[-40:]), ("copied-page.md", text[-40:])]
    return after_change(stage, musts=both)


def removed(stage: Stage) -> Result:
    stage.page(7).unlink()
    return after_change(stage)


def emptied(stage: Stage) -> Result:
    page = stage.page(8)
    page.write_text("", encoding="utf-8")
    return after_change(stage, gone=page.name)


def two_identical_removed(stage: Stage) -> Result:
    for name in ("twin-a.md", "twin-b.md"):
        (stage.folder / name).write_text(f"# Twins\n\n{MARK} Twice.\n", encoding="utf-8")
    settle(stage)
    for name in ("twin-a.md", "twin-b.md"):
        (stage.folder / name).unlink()
    return after_change(stage)


def source_lists_nothing(stage: Stage) -> Result:
    aside = stage.work / "aside"
    before = stage.ask(sync=False).contents
    stage.folder.rename(aside)
    stage.folder.mkdir()
    try:
        answer = stage.ask()
    finally:
        stage.folder.rmdir()
        aside.rename(stage.folder)
    lost = differences(answer.contents, before)
    spent = settle(stage)
    again = f"{spent} embedded again when it came back" if spent else ""
    wrong = _joined(lost, again)
    return Result(answer.embedded + spent, 0, not wrong, wrong or answer.failed)


def another_chunker(stage: Stage) -> Result:
    stage.recipe = replace(stage.recipe, chunk_bytes=800, overlap_bytes=80)
    return after_change(stage)


def chunker_back(stage: Stage) -> Result:
    stage.recipe = Recipe()
    return after_change(stage)


def another_model(stage: Stage) -> Result:
    before = stage.ask(sync=False).contents
    stage.recipe = replace(stage.recipe, dimensions=128)
    result = after_change(stage)
    if result.correct and result.embedded == 0:
        result.correct, result.note = False, "not noticed: old vectors, new questions"
    elif result.correct:
        old = stage.ask(sync=False, recipe=Recipe())
        if differences(old.contents, before):
            result.correct, result.note = False, "replaced: no old index beside that keeps serving"
    return result


def model_back(stage: Stage) -> Result:
    stage.recipe = Recipe()
    result = after_change(stage)
    if result.embedded == 0 and not result.correct:
        result.correct, result.note = None, "no versions to go back to"
    return result


def killed(stage: Stage) -> Result:
    shutil.rmtree(stage.state)
    wanted = stage.fresh()
    total = sum(wanted.values())
    first = stage.ask(limit=total // 2, kill=True)
    second = stage.ask()
    paid = first.embedded + second.embedded
    twice = f"{paid - total} passages paid twice" if paid > total + EMBED_BATCH else ""
    note = _joined(differences(second.contents, wanted) or second.failed, twice)
    return Result(paid, total, not note, note)


def embedder_down(stage: Stage) -> Result:
    before = stage.ask(sync=False).contents
    changed = [stage.page(0), stage.page(1)]
    for page in changed:
        page.write_text(f"{page.read_text(encoding='utf-8')}\n\n{MARK} Down.\n", encoding="utf-8")
    down = stage.ask(limit=0)
    meanwhile = stage.ask(sync=False).contents
    unlike = differences(meanwhile, before)
    after = after_change(stage)
    after.note = _joined(
        f"meanwhile {unlike}" if unlike else "",
        "" if down.failed else "ended as a success",
        after.note,
    )
    after.correct = not after.note
    return after


def vectors_lost(stage: Stage) -> Result:
    """Right is an update that mends it, or one that fails and whose contestant has a repair."""
    answer, wanted = stage.ask(lose_vectors=True), stage.fresh()
    lost = differences(answer.contents, wanted)
    if not lost:
        return Result(answer.embedded, 0, not answer.failed, answer.failed)
    repaired = stage.ask(sync=False, repair=True)
    paid = answer.embedded + repaired.embedded
    if answer.failed and not differences(repaired.contents, wanted):
        return Result(paid, 0, True, f"the update failed ({answer.failed}), its repair mended it")
    noticed = answer.failed or "not noticed"
    return Result(paid, 0, False, _joined(lost, noticed))


def shared_passage(stage: Stage) -> Result:
    shutil.rmtree(stage.state)
    shared = f"{MARK} Shared by two pages."
    for name in ("shared-a.md", "shared-b.md"):
        (stage.folder / name).write_text(f"{shared}\n", encoding="utf-8")
    settle(stage)
    (stage.folder / "shared-a.md").write_text("Something else altogether.\n", encoding="utf-8")
    musts = [("shared-b.md", "Shared by two pages")]
    return after_change(stage, musts=musts)


CASES: dict[str, Callable[[Stage], Result]] = {
    "0 first index": first_index,
    "1 nothing changed": run_again,
    "2 only modified times": only_modified_time,
    "3 one edit in a long page": edit_in_the_middle,
    "4 paragraph on top": paragraph_on_top,
    "5 page renamed": renamed,
    "6 exact copy": exact_copy,
    "7 page removed": removed,
    "8 page emptied": emptied,
    "9 both of two identical removed": two_identical_removed,
    "10 source suddenly lists nothing": source_lists_nothing,
    "11 chunker changed": another_chunker,
    "12 chunker changed back": chunker_back,
    "13 embedder changed": another_model,
    "14 rolled back": model_back,
    "15 killed half way, run again": killed,
    "16 embedder down during an update": embedder_down,
    "17 vector store wiped behind its back": vectors_lost,
    "18 shared passage, one page drops it": shared_passage,
}


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


def play(side: str, corpus: Path, python: str) -> dict[str, Result]:
    """All cases in order for one contestant."""
    results = {name: Result(correct=False, note="not played") for name in CASES}
    with tempfile.TemporaryDirectory(prefix=f"cases-{side}-") as folder:
        stage = Stage(side, Path(folder).resolve(), python)
        small_corpus(corpus, stage.folder)
        for name, case in CASES.items():
            results[name] = result = answered(stage, case)
            print(side, name, result, file=sys.stderr, flush=True)
            if not result.correct and not started_over(stage):
                break
    return results


def answered(stage: Stage, case: Callable[[Stage], Result]) -> Result:
    """A case's result; a contestant that hangs or breaks down is wrong."""
    try:
        return case(stage)
    except NoAnswer as error:
        return Result(correct=False, note=str(error))


def started_over(stage: Stage) -> bool:
    """Begin the next case from an index that agrees with the folder; whether that went well."""
    shutil.rmtree(stage.state, ignore_errors=True)
    try:
        settle(stage)
    except NoAnswer:
        return False
    return True


def table(results: dict[str, dict[str, Result]]) -> str:
    """Markdown: a row per case, a column per contestant, and what went wrong."""
    lines = ["| case | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for name in CASES:
        cells = [_cell(played[name]) for played in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(result: Result) -> str:
    note = result.note.replace("|", "\\|")
    if result.correct is None:
        return f"n/a ({note})"
    counts = "" if result.embedded is None else f"{result.embedded} of {result.needed}, "
    if not result.correct:
        return f"{counts}**wrong**: {note}"
    return f"{counts}right" + (f" ({note})" if note else "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with docs_opentelemetry")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--ours-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    corpus = asked.data / "docs_opentelemetry"
    pythons = {
        side: asked.ours_python if side in OURS else asked.peers_python
        for side in asked.sides.split(",")
    }
    # Nothing is timed, so contestants may play side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        played = pool.map(lambda side: play(side, corpus, pythons[side]), pythons)
        results = dict(zip(pythons, played, strict=True))
    versions = {side: Stage(side, Path(), python).versions() for side, python in pythons.items()}
    write(asked.results, results, versions)


def write(
    folder: Path, results: dict[str, dict[str, Result]], versions: dict[str, dict[str, str]]
) -> None:
    """Write `cases.json` and `cases.md`, and print the latter."""
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    rows = {
        side: {name: asdict(result) for name, result in played.items()}
        for side, played in results.items()
    }
    record = {"taken": taken, "machine": machine(), "versions": versions, "cases": rows}
    page = "\n".join(
        [
            heading(f"The cases on {taken[:10]}"),
            f"{DOCUMENTS} pages of docs_opentelemetry. `2 of 1`: two passages were embedded, one",
            "of them had never been embedded before. Right is what finds the same passages as a",
            "fresh index of the same folder, by the same contestant.",
            "",
            table(results),
            listed_versions(versions),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "cases.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
