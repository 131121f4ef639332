"""Whether questions are answered that the index can answer, and refused that it cannot.

    python benchmarks/answers.py CORPORA_FOLDER

CORPORA_FOLDER holds ir_xquad, ir_cranfield and ir_scifact. Of XQuAD half of the 24 articles are
indexed at a time, so each question is asked once with its article there and once without it. The
likeness is fitted on the questions of half of the articles, the same in all languages; only the
others are reported, and the two other collections, of which nothing was fitted. No model is asked:
the answers are the extractive ones. Writes `benchmarks/results/answers.json` and `answers.md`.
"""

import argparse
import gzip
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from run import HERE, heading, machine

from rag_platform.documents.identity import document_id, point_id
from rag_platform.encoders.bm25 import MultilingualBm25
from rag_platform.encoders.languages import detect
from rag_platform.encoders.wordllama import WordLlamaEmbedder
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.retrieval.likeness import MIDDLE, SLOPE, match
from rag_platform.retrieval.search import Searcher
from rag_platform.settings_indexes import AskSettings
from rag_platform.storage.vectors.base import Point
from rag_platform.storage.vectors.edge import EdgeVectorStore

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
LEAST = (0.2, 0.3, 0.4, 0.5, 0.6)
OTHERS = ("ir_cranfield", "ir_scifact")
PASSAGES = AskSettings().passages

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A question and what came of it. `total` is what the likeness is made from."""

    language: str
    is_there: bool
    is_reported: bool
    likeness: float
    total: float
    in_first: bool
    in_two: bool


EMBEDDER, SPARSE, CHUNKER = (
    WordLlamaEmbedder(),
    MultilingualBm25(),
    Chunker("recursive", 400, overlap=40),
)


@contextmanager
def index(rows: Sequence[Row]) -> Iterator[Searcher]:
    """A searcher over some documents, cut as by the default recipe."""
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeVectorStore(Path(folder), lock_timeout_s=5)
        with store.open("bench", dimension=256, fingerprint="bench") as collection:
            collection.upsert([point for row in rows for point in points(row)])
            yield Searcher(collection, embedder=EMBEDDER, sparse=SPARSE)


def points(row: Row) -> Iterator[Point]:
    text = f"# {row['title']}\n\n{row['text']}"
    language = detect(text)
    names = dict.fromkeys(("doc_id", "key", "uri"), row["_id"])
    for number, chunk in enumerate(CHUNKER.chunk(text)):
        text_hash = hashlib.sha256(chunk.text.encode()).hexdigest()[:32]
        payload = names | {
            "text": chunk.text,
            "text_hash": text_hash,
            "title": row["title"],
            "source": "bench",
            "heading": chunk.heading,
            "page": None,
            "start": chunk.start,
            "end": chunk.end,
            "language": language,
        }
        yield Point(
            point_id(document_id("bench", row["_id"]), text_hash, number),
            EMBEDDER.embed_passages([chunk.text])[0],
            SPARSE.passage(chunk.text, title=row["title"], language=language),
            payload,
        )


def xquad(folder: Path, language: str, share: int) -> Iterator[Case]:
    """Every `share`-th question, with its article in the index and without it."""
    documents = list(_rows(folder / language / "corpus.jsonl.gz"))
    lines = (folder / language / "qrels.tsv").read_text().splitlines()[1:]
    paragraphs = dict(line.split("\t")[:2] for line in lines)
    asked = [
        row
        for row in _rows(folder / language / "queries.jsonl.gz")
        if _hash(row["_id"].partition("-")[2]) % share == 0
    ]
    for half in (0, 1):
        there = [row for row in documents if _article(row["_id"]) % 2 == half]
        with index(there) as searcher:
            for row in asked:
                article = _article(paragraphs[row["_id"]])
                passages = [found.text for found in searcher.search(row["text"], PASSAGES)]
                yield case(
                    row["text"], passages, row["answer"], language, article % 2 == half, article
                )


def case(
    question: str, passages: Sequence[str], answer: str, language: str, there: bool, article: int
) -> Case:
    found = match(question, passages)
    held = [answer.casefold() in each.text.casefold() for each in found.sentences[:2]]
    bounded = min(max(found.likeness, 1e-12), 1 - 1e-12)
    return Case(
        language=language,
        is_there=there,
        is_reported=_hash(f"article {article}") % 2 == 1,
        likeness=found.likeness,
        total=MIDDLE + math.log(bounded / (1 - bounded)) / SLOPE,
        in_first=there and held[:1] == [True],
        in_two=there and any(held),
    )


def elsewhere(corpora: Path) -> list[Row]:
    """Other collections: the likeness of their own questions and of those of others."""
    asked = {name: _questions(corpora / name) for name in OTHERS}
    asked["ir_xquad, en"] = _questions(corpora / "ir_xquad" / "en")
    found = []
    for name in OTHERS:
        with index(list(_rows(corpora / name / "corpus.jsonl.gz"))) as searcher:
            for origin, questions in asked.items():
                likeness = [
                    match(text, [each.text for each in searcher.search(text, PASSAGES)]).likeness
                    for text in questions
                ]
                shares = {str(least): _share(likeness, least) for least in LEAST}
                found.append({"index": name, "questions": origin, "n": len(questions), **shares})
    return found


def _questions(folder: Path) -> list[str]:
    rows = list(_rows(folder / "queries.jsonl.gz"))
    return [row["text"] for row in rows if _hash(row["_id"]) % max(1, len(rows) // 150) == 0]


def fitted(cases: Sequence[Case]) -> dict[str, float]:
    """Slope and middle on the questions that are not reported."""
    from sklearn.linear_model import LogisticRegression

    chosen = [case for case in cases if not case.is_reported]
    totals = np.array([[case.total] for case in chosen])
    model = LogisticRegression(C=1_000).fit(totals, [case.is_there for case in chosen])
    slope = float(model.coef_[0, 0])
    return {"slope": round(slope, 2), "middle": round(-float(model.intercept_[0]) / slope, 2)}


def rates(cases: Sequence[Case]) -> dict[str, Any]:
    """Shares of questions that are answered, and of answers that are right."""
    there = [case for case in cases if case.is_there]
    absent = [case for case in cases if not case.is_there]
    return {
        "questions": len(there),
        "answered": {str(least): _share([c.likeness for c in there], least) for least in LEAST},
        "answered, article not there": {
            str(least): _share([c.likeness for c in absent], least) for least in LEAST
        },
        "answer in the best sentence": round(sum(c.in_first for c in there) / len(there), 3),
        "answer in the two best": round(sum(c.in_two for c in there) / len(there), 3),
    }


def calibration(cases: Sequence[Case]) -> list[list[Any]]:
    """The share whose article is there, by tenths of the likeness."""
    rows: list[list[Any]] = []
    for tenth in range(10):
        chosen = [c for c in cases if tenth <= 10 * c.likeness < tenth + 1 + (tenth == 9)]
        if chosen:
            share = sum(c.is_there for c in chosen) / len(chosen)
            rows.append([f"{tenth / 10:.1f}", len(chosen), round(share, 3)])
    return rows


def _share(values: Sequence[float], least: float) -> float:
    return round(sum(value >= least for value in values) / len(values), 3)


def _article(paragraph: str) -> int:
    """`en-p123` is paragraph 3 of article 12, in all languages."""
    return int(paragraph.partition("-p")[2]) // 10


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _rows(file: Path) -> Iterator[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# The page


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    least = str(AskSettings().min_score)
    rows = [
        [
            language,
            found["questions"],
            found["answered"][least],
            found["answered, article not there"][least],
            found["answer in the best sentence"],
            found["answer in the two best"],
        ]
        for language, found in results["by language"].items()
    ]
    whole = results["all"]
    names = ["answered", "answered, article not there"]
    by_least = [[each, *(whole[name][each] for name in names)] for each in map(str, LEAST)]
    others = [
        [row["index"], row["questions"], row["n"], *(row[str(each)] for each in LEAST)]
        for row in results["elsewhere"]
    ]
    fit = results["fitted"]
    return "\n".join(
        [
            heading(f"Answers, on {results['date']}"),
            "`python benchmarks/answers.py CORPORA_FOLDER`. "
            f"{results['ms a question']} ms a question for the likeness and the answer.\n",
            "## Questions of XQuAD, their article in the index or not",
            "",
            f"`min_score` {least}. Of the articles that nothing was fitted on.",
            "",
            *_table(
                ["language", "n", *names, "answer in the best sentence", "in the two best"], rows
            ),
            "## All languages, by `min_score`",
            "",
            *_table(["min_score", *names], by_least),
            "## How often the article is there, by likeness",
            "",
            f"Fitted on the other articles: slope {fit['slope']}, middle {fit['middle']}; in use: "
            f"{SLOPE} and {MIDDLE}.",
            "",
            *_table(["likeness from", "n", "there"], results["calibration"]),
            "## Other collections: share of questions answered, by `min_score`",
            "",
            *_table(["index", "questions of", "n", *map(str, LEAST)], others),
        ]
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [names, ["---"] * len(names), *rows]
    return [*(f"| {' | '.join(map(str, line))} |" for line in lines), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--share", type=int, default=2, help="Every so many questions.")
    options = parser.parse_args()
    cases = []
    for language in LANGUAGES:
        cases += list(xquad(options.corpora / "ir_xquad", language, options.share))
        print(language, len(cases), flush=True)
    reported = [case for case in cases if case.is_reported]
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "share": options.share,
        "fitted": fitted(cases),
        "all": rates(reported),
        "by language": {
            language: rates([case for case in reported if case.language == language])
            for language in LANGUAGES
        },
        "calibration": calibration(reported),
        "elsewhere": elsewhere(options.corpora),
        "ms a question": milliseconds(options.corpora / "ir_xquad" / "en"),
    }
    folder = HERE / "results"
    (folder / "answers.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "answers.md").write_text(page(results), encoding="utf-8")
    print(page(results))


def milliseconds(folder: Path) -> float:
    """CPU time of a comparison with as many passages as a question is given."""
    passages = [row["text"] for row in _rows(folder / "corpus.jsonl.gz")][:PASSAGES]
    asked = [row["text"] for row in _rows(folder / "queries.jsonl.gz")][:200]
    began = time.process_time()
    for text in asked:
        match(text, passages)
    return round((time.process_time() - began) / len(asked) * 1_000, 1)


if __name__ == "__main__":
    main()
