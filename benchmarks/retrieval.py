"""How well the indexes find what is asked for, by recipe and by leg.

    python benchmarks/retrieval.py CORPORA_FOLDER [--sets cranfield,scifact,xquad_en,finance]
        [--recipes wordllama,english,minilm] [--state FOLDER]

CORPORA_FOLDER holds ir_cranfield, ir_scifact and ir_xquad (in the form of BEIR) and finance_pdf_qa
(12 filings as PDF, questions with the page of the evidence). Every document is a file of its own
(title as heading, then the text), every set goes through the whole chain into an index of its own.
The queries are halved by a hash of their ids: what there is to choose (fusion, shares, BM25's
length) was chosen on the first half, only the second is new to it; finance_pdf_qa took no part.
Writes `benchmarks/results/retrieval.json` and `retrieval.md`; what was measured before of other
sets and recipes stays there.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from run import HERE, heading, machine

from rag_platform.platform import Platform
from rag_platform.retrieval.evaluation import ALL, Evaluation, Slice, evaluate
from rag_platform.retrieval.golden import Golden, GoldenQuery, golden_of, read_golden
from rag_platform.retrieval.metrics import METRICS
from rag_platform.retrieval.readers import EVERYTHING
from rag_platform.retrieval.search import Result, Searcher
from rag_platform.retrieval.statistics import compare
from rag_platform.settings import load

WINDOW = "2026-01-01"
BEIR = {"cranfield": "ir_cranfield", "scifact": "ir_scifact", "xquad_en": "ir_xquad/en"}
FINANCE = "finance_pdf_qa"
RECIPES: dict[str, Any] = {
    "wordllama": {},
    "english": {"sparse": "english"},
    "minilm": {"embedder": "minilm"},
}
TIMED = 100
METRIC = "ndcg@10"

Row = dict[str, Any]


class Everywhere(Searcher):
    """A searcher whose dense leg weighs the same in every language."""

    def __init__(self, searcher: Searcher, share: float) -> None:
        codes = [a + b for a in string.ascii_lowercase for b in string.ascii_lowercase]
        vars(self).update(vars(searcher) | {"_weights": dict.fromkeys(["", *codes], share)})


class ByRank(Searcher):
    """Reciprocal rank fusion, BM25 counted twice: what there was before scores were fused."""

    def __init__(self, searcher: Searcher) -> None:
        vars(self).update(vars(searcher))
        self._legs = ((1.0, Everywhere(searcher, 1.0)), (2.0, Everywhere(searcher, 0.0)))

    def search(self, query: str, k: int = 10, **more: Any) -> list[Result]:
        """Fused by rank, of each leg the best 50."""
        scores: dict[str, float] = {}
        found: dict[str, Result] = {}
        for weight, leg in self._legs:
            for rank, result in enumerate(leg.search(query, 50, **more), start=1):
                if result.score > 0 or weight == 1.0:
                    scores[result.text] = scores.get(result.text, 0.0) + weight / (60 + rank)
                    found[result.text] = result
        return [found[text] for text in sorted(scores, key=lambda t: -scores[t])][:k]


SEARCHES: dict[str, Callable[[Searcher], Searcher]] = {
    "fused": lambda searcher: searcher,
    "words only": lambda searcher: Everywhere(searcher, 0.0),
    "vectors only": lambda searcher: Everywhere(searcher, 1.0),
    "by rank, 1:2": ByRank,
}


@dataclass(frozen=True)
class Measured:
    """A recipe on a set."""

    recipe: str
    points: int
    seconds: float
    search_ms: float
    found: dict[str, Evaluation]  # by search and half


def half(query: GoldenQuery) -> str:
    """`chosen on` or `reported`."""
    return "reported" if hashlib.sha256(query.id.encode()).digest()[0] & 1 else "chosen on"


def halves(golden: Golden) -> dict[str, list[int]]:
    """The places of all queries, and of those of each half where one was chosen on."""
    if golden.source == FINANCE:
        return {"all": [*range(len(golden.queries))]}
    parts: dict[str, list[int]] = {"all": [], "chosen on": [], "reported": []}
    for place, query in enumerate(golden.queries):
        parts["all"].append(place)
        parts[half(query)].append(place)
    return parts


def narrowed(evaluation: Evaluation, places: Sequence[int]) -> Evaluation:
    """What came of some of the queries."""
    scores = {metric: [found[at] for at in places] for metric, found in evaluation.scores.items()}
    means = {metric: sum(found) / len(found) for metric, found in scores.items()}
    queries = [evaluation.queries[at] for at in places]
    return replace(
        evaluation, queries=queries, scores=scores, slices={ALL: Slice(len(queries), means)}
    )


def write_beir(folder: Path, documents: Path) -> None:
    """A file for each document of a corpus."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            title = f"# {row['title']}\n\n" if row.get("title") else ""
            (documents / f"{row['_id']}.md").write_text(title + row["text"], encoding="utf-8")


def finance_golden(folder: Path, *, by_page: bool) -> Golden:
    """The questions, with the pages of their evidence, or the filings."""
    queries = []
    with gzip.open(folder / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            pages = {evidence["evidence_page_num"] + 1 for evidence in row["evidence"]}
            name = f"{row['doc_name']}.pdf"
            grades = {f"{name}#page={page}": 1 for page in pages} if by_page else {name: 1}
            queries.append(GoldenQuery(row["financebench_id"], row["question"], "", grades))
    return golden_of("finance, pages" if by_page else "finance, filings", FINANCE, queries)


@contextmanager
def platform_of(state: Path, documents: Path, name: str, recipe: str) -> Iterator[Platform]:
    """A platform over one source and one index, below `state`."""
    place = state / hashlib.sha256(f"{name} {recipe}".encode()).hexdigest()[:12]
    place.mkdir(parents=True, exist_ok=True)
    config = place / "platform.yaml"
    source = {"url": str(documents), "start": WINDOW, "near_duplicates": None}
    tree = {"sources": {name: source}, "indexes": {"docs_v1": RECIPES[recipe]}}
    config.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    platform = Platform(load(config, os.environ | {"RAG_PLATFORM_HOME": str(place / "home")}))
    try:
        yield platform
    finally:
        platform.close()


def run_chain(platform: Platform, source: str) -> tuple[int, float]:
    """All stages; the points of the index, and the seconds it took."""
    began = time.perf_counter()
    for stage in (platform.raw, platform.parsed, platform.clean):
        stage(source).run(WINDOW)
    for build in (platform.chunks, platform.embeddings):
        build(source, "docs_v1").run(WINDOW)
    figures = platform.vector_index(source, "docs_v1").run(WINDOW)
    if figures.points != figures.expected:
        raise RuntimeError(f"{source}: {figures.points} points of {figures.expected}")
    return figures.points, time.perf_counter() - began


def measure(platform: Platform, goldens: Sequence[Golden], recipe: str) -> list[Measured]:
    """A recipe on the golden sets of one source, by every search and on every half."""
    points, seconds = run_chain(platform, goldens[0].source)
    measured = []
    with platform.searcher("docs_v1", reader=EVERYTHING) as searcher:
        for golden in goldens:
            asked = [query.text for query in golden.queries[:TIMED]]
            found = {}
            for search, made in SEARCHES.items():
                whole = evaluate(made(searcher), golden)
                for part, kept in halves(golden).items():
                    found[f"{search}/{part}"] = narrowed(whole, kept)
            ms = statistics.median(timed(searcher, text) for text in asked)
            measured.append(Measured(recipe, points, seconds, ms, found))
    return measured


def timed(searcher: Searcher, query: str) -> float:
    """Milliseconds of one search."""
    began = time.perf_counter()
    searcher.search(query)
    return (time.perf_counter() - began) * 1000


def rows_of(name: str, measured: Measured) -> Iterator[Row]:
    """A row for each search and half."""
    for label, evaluation in measured.found.items():
        search, part = label.split("/")
        yield {
            "set": name,
            "recipe": measured.recipe,
            "search": search,
            "half": part,
            "queries": len(evaluation.queries),
            "points": measured.points,
            "build_seconds": round(measured.seconds, 1),
            "search_ms": round(measured.search_ms, 1),
            **{metric: round(evaluation.mean(metric), 4) for metric in METRICS},
        }


def sets(folder: Path, names: Sequence[str], work: Path) -> Iterator[tuple[Path, list[Golden]]]:
    """The documents of each set, and its golden queries."""
    for name in names:
        if name == "finance":
            goldens = [finance_golden(folder / FINANCE, by_page=paged) for paged in (True, False)]
            yield folder / FINANCE / "pdfs", goldens
            continue
        documents = work / name
        documents.mkdir()
        write_beir(folder / BEIR[name], documents)
        yield documents, [read_golden(name, (folder / BEIR[name]).as_uri(), source=name)]


def page(rows: Sequence[Row], comparisons: Sequence[Row]) -> str:
    """The results as Markdown."""
    lines = [
        heading("Retrieval"),
        "`python benchmarks/retrieval.py CORPORA_FOLDER`. Recipes: `wordllama` is the default, "
        "`english` has one BM25 for all languages without titles, `minilm` is the extra. Chunks "
        "of at most 400 tokens with 40 of overlap; passages count for their documents (finance, "
        "pages: for the page they begin on). What there is to choose was chosen on one half of "
        "the queries; `reported` is the other. `words only` and `vectors only` are the legs "
        "alone, `by rank, 1:2` is reciprocal rank fusion with BM25 counted twice. Seconds: the "
        "whole chain; ms: median of a search for 10 passages.",
        "",
        "| set | recipe | search | nDCG@10, all | chosen on | reported | recall@10 | recall@100 "
        "| MRR@10 | points | seconds | ms |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    by = {(row["set"], row["recipe"], row["search"], row["half"]): row for row in rows}
    for (name, recipe, search, part), row in by.items():
        if part != "all":
            continue
        others = (by.get((name, recipe, search, which)) for which in ("chosen on", "reported"))
        halves_of = [f"{other[METRIC]:.3f}" if other else "" for other in others]
        figures = [f"{row[METRIC]:.3f}", *halves_of, f"{row['recall@10']:.3f}"]
        # A leg alone is filled up with what the other found, below its own.
        figures += [f"{row['recall@100']:.3f}" if search == "fused" else "", f"{row['mrr@10']:.3f}"]
        lines.append(
            f"| {name} | {recipe} | {search} | {' | '.join(figures)} "
            f"| {row['points']:,} | {row['build_seconds']:,.0f} | {row['search_ms']:.1f} |"
        )
    lines += [
        "",
        "## Paired differences in nDCG@10 from `wordllama`, fused",
        "",
        "p better is small where the recipe is better by more than chance gives.",
        "",
        "| set | recipe | half | queries | difference | 95 % interval | p better |",
        "|---|---|---|--:|--:|---|--:|",
    ]
    for row in comparisons:
        told = "" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
        lines.append(
            f"| {row['set']} | {row['recipe']} | {row['half']} | {row['queries']} "
            f"| {row['difference']:+.3f} | {told} | {row['p_better']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def compared(name: str, base: Measured, other: Measured) -> Iterator[Row]:
    """The fused searches of two recipes, half by half."""
    for label, evaluation in other.found.items():
        search, part = label.split("/")
        if search == "fused":
            found = compare(evaluation, base.found[label], METRIC)
            yield {"set": name, "recipe": other.recipe, "half": part, **asdict(found)}


def merged(before: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """New rows, and those of sets and recipes that were not measured again."""
    done = {(row["set"], row["recipe"]) for row in new}
    kept = [row for row in before if (row["set"], row["recipe"]) not in done]
    names = [*RECIPES]
    return sorted([*kept, *new], key=lambda row: (row["set"], names.index(row["recipe"])))


def main() -> None:
    """Everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default=",".join([*BEIR, "finance"]))
    parser.add_argument("--recipes", default=",".join(RECIPES), help="the first is compared with")
    parser.add_argument("--state", type=Path, help="kept, and gone on with; by default thrown away")
    options = parser.parse_args()
    rows: list[Row] = []
    comparisons: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        work = Path(scratch)
        for documents, goldens in sets(options.folder, options.sets.split(","), work):
            first: list[Measured] = []
            for recipe in options.recipes.split(","):
                state = options.state or work / "state"
                with platform_of(state, documents, goldens[0].source, recipe) as platform:
                    found = measure(platform, goldens, recipe)
                first = first or found
                for golden, base, measured in zip(goldens, first, found, strict=True):
                    rows += rows_of(golden.name, measured)
                    if measured is not base:
                        comparisons += compared(golden.name, base, measured)
                    print(json.dumps(next(rows_of(golden.name, measured))), flush=True)
            if not options.state:
                shutil.rmtree(work / "state")
    place = HERE / "results" / "retrieval.json"
    before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    rows = merged(before.get("rows", []), rows)
    comparisons = merged(before.get("comparisons", []), comparisons)
    results = {"machine": machine(), "at": datetime.now(UTC).isoformat(), "rows": rows}
    results["comparisons"] = comparisons
    place.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    place.with_suffix(".md").write_text(page(rows, comparisons), encoding="utf-8")


if __name__ == "__main__":
    main()
