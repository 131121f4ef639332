"""Every file of a folder of difficult documents through the parser pool, in one run.

    python benchmarks/document_zoo.py DIR [--articles DIR] [--json FILE] [--workers N]

`DIR` holds `manifest.csv` (`file`, `expect`, `truth`), the files, and reference texts under
`expected/`. Each file may take 2 GiB and 120 seconds. Prints a Markdown table of the outcomes that
differ from what is expected (with `--all` of all), then by format how far the text is from the
reference: character error rate (edits per reference character) and F1 of the words, both of
lower-case words without Markdown signs, medians over the files. `--articles` is a folder of web
pages with `truth.jsonl.gz`: precision, recall and F1 of runs of four words, means over the pages.
"""

import argparse
import csv
import gzip
import json
import re
import resource
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_platform.documents.parsing.pool import Outcome, ParserPool
from rag_platform.documents.parsing.result import Hints, Parsed, ParseLimits, Reason

LIMITS = ParseLimits(parse_seconds=120.0, parse_memory_mb=2_048)
# Ends that no document may come to, whatever it holds.
NEVER = (Reason.TIMEOUT, Reason.MEMORY, Reason.WORKER_DIED)
# Formats with a parser since the expectations were written.
MORE_FORMATS = ("pptx", "xlsx", "odt", "rtf", "epub", "eml")
MARKS = re.compile(r"<!--.*?-->|!?\[([^\]]*)\]\([^)]*\)|&(?:amp|lt|gt|quot|nbsp);", re.DOTALL)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--articles", type=Path)
    parser.add_argument("--json", type=Path, help="every figure of every file")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--all", action="store_true", help="a line for every file")
    options = parser.parse_args()
    with (options.zoo / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    started = time.monotonic()
    outcomes = parsed(options.zoo, [row["file"] for row in rows], options.workers)
    wall = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    told = [verdict(options.zoo, row, outcomes[row["file"]]) for row in rows]
    report(told, wall, peak, every=options.all)
    if options.articles:
        print_articles(options.articles)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def parsed(folder: Path, names: list[str], workers: int | None) -> dict[Any, Outcome]:
    """The outcome of each file, all through one pool."""
    documents = ((name, (folder / name).read_bytes, Hints(name)) for name in names)
    with ParserPool(LIMITS, workers) as pool:
        return dict(pool.parse_all(documents))


def verdict(folder: Path, row: dict[str, str], outcome: Outcome) -> dict[str, Any]:
    """What became of a file, whether that is as expected, and how close its text is."""
    if isinstance(outcome, Parsed):
        got, detail = ("text" if outcome.text.strip() else "empty"), ""
    else:
        got, detail = str(outcome.reason), outcome.detail
    told: dict[str, Any] = {
        "file": row["file"],
        "expect": row["expect"],
        "got": got,
        "detail": detail,
        "right": is_right(row["expect"], got, row["file"]),
    }
    if row["truth"] and isinstance(outcome, Parsed):
        wanted = (folder / row["truth"]).read_text(encoding="utf-8")
        told |= {"cer": error_rate(plain(wanted), plain(outcome.text))}
        told |= {"f1": word_f1(plain(wanted), plain(outcome.text))}
    return told


def is_right(expect: str, got: str, name: str) -> bool:
    """Whether an outcome is one of those that the expectation allows."""
    refused = got not in ("text", "empty") and got not in NEVER
    if expect == "unsupported" and name.endswith(MORE_FORMATS):
        return got in ("text", "encrypted")
    return {
        "error": refused,
        "text-or-error": got == "text" or refused,
        "ocr": got == "text",
        "ocr-or-empty": got in ("text", "empty"),
    }.get(expect, got == expect)


def plain(text: str) -> str:
    """Lower-case words, without Markdown signs and with single spaces."""
    return " ".join(re.findall(r"\w+", MARKS.sub(r" \1 ", text).lower()))


def error_rate(wanted: str, got: str) -> float:
    """Edits from one text to the other, per character of the wanted one."""
    return edits(wanted, got) / max(1, len(wanted))


def edits(wanted: str, got: str) -> int:
    """Levenshtein distance, a row of the table at once as bits of a number (Hyyrö 2003)."""
    if not wanted:
        return len(got)
    places: dict[str, int] = defaultdict(int)
    for place, character in enumerate(wanted):
        places[character] |= 1 << place
    full, last = (1 << len(wanted)) - 1, 1 << (len(wanted) - 1)
    more, less, distance = full, 0, len(wanted)
    for character in got:
        same = places.get(character, 0)
        diagonal = (((same & more) + more) ^ more) | same | less
        right, left = less | (full & ~(diagonal | more)), more & diagonal
        distance += bool(right & last) - bool(left & last)
        right, left = (right << 1) | 1, left << 1
        more = full & (left | ~(diagonal | right))
        less = full & right & diagonal
    return distance


def word_f1(wanted: str, got: str) -> float:
    """Harmonic mean of precision and recall of the words, each as often as it stands there."""
    return f1(*shares(Counter(wanted.split()), Counter(got.split())))


def shares(wanted: Counter[Any], got: Counter[Any]) -> tuple[float, float]:
    """Precision and recall of one bag in another."""
    common = (wanted & got).total()
    return common / max(1, got.total()), common / max(1, wanted.total())


def f1(precision: float, recall: float) -> float:
    """Harmonic mean."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def report(told: list[dict[str, Any]], wall: float, peak: float, *, every: bool) -> None:
    """Print the tables."""
    right = sum(each["right"] for each in told)
    print(
        f"{right} of {len(told)} files as expected; {wall:.0f} s, peak {peak:,.0f} MB a process\n"
    )
    print("| folder | expected | files | outcomes |\n|---|---|--:|---|")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for each in told:
        groups[each["file"].partition("/")[0], each["expect"]].append(each)
    for (folder, expect), group in sorted(groups.items()):
        counts = Counter(each["got"] for each in group).most_common()
        listed = ", ".join(f"{got} {count}" for got, count in counts)
        print(f"| {folder} | {expect} | {len(group)} | {listed} |")
    for each in told:
        if every or not each["right"]:
            print(
                f"\n{each['file']}: expected {each['expect']}, got {each['got']} {each['detail']}"
            )
    print("\n| format | with reference | CER median | CER worst | word F1 median | word F1 worst |")
    print("|---|--:|--:|--:|--:|--:|")
    for folder in sorted({each["file"].partition("/")[0] for each in told if "cer" in each}):
        group = [each for each in told if "cer" in each and each["file"].startswith(f"{folder}/")]
        rates, scores = [each["cer"] for each in group], [each["f1"] for each in group]
        print(
            f"| {folder} | {len(group)} | {statistics.median(rates):.3f} | {max(rates):.3f} "
            f"| {statistics.median(scores):.3f} | {min(scores):.3f} |"
        )


def print_articles(folder: Path) -> None:
    """The main content of web pages beside what people typed out."""
    scores = list(articles(folder))
    precision = statistics.fmean(pair[0] for pair in scores)
    recall = statistics.fmean(pair[1] for pair in scores)
    print(
        f"\n{len(scores)} web articles: precision {precision:.3f}, recall {recall:.3f}, "
        f"F1 {f1(precision, recall):.3f}"
    )


def articles(folder: Path) -> Iterator[tuple[float, float]]:
    """Precision and recall of the runs of four words of each page."""
    with gzip.open(folder / "truth.jsonl.gz", "rt", encoding="utf-8") as file:
        wanted = {row["file"]: row["articleBody"] for row in map(json.loads, file)}
    documents = ((name, gzip.decompress((folder / name).read_bytes())) for name in wanted)
    with ParserPool(LIMITS) as pool:
        for name, outcome in pool.parse_all((n, data, Hints("a.html")) for n, data in documents):
            text = outcome.text if isinstance(outcome, Parsed) else ""
            yield shares(runs(wanted[str(name)]), runs(text))


def runs(text: str) -> Counter[tuple[str, ...]]:
    """All runs of four words, with case."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[place : place + 4]) for place in range(max(1, len(words) - 3)))


if __name__ == "__main__":
    main()
