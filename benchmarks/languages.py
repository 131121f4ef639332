"""How well languages are told apart, and what an index finds in each of them.

    python benchmarks/languages.py CORPORA_FOLDER

CORPORA_FOLDER holds language_id (4,500 sentences in 75 languages, 57 declarations of human rights)
and ir_xquad (612 questions to 120 paragraphs in each of 12 languages). The questions are halved by
a hash of their id: shares of the dense leg are chosen on one half, and only the other is reported.
Passages are those of the default recipe: `recursive`, 400 tokens with 40 overlap, wordllama.
Writes `benchmarks/results/languages.json` and `languages.md`.
"""

import argparse
import gzip
import hashlib
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from run import HERE, heading, machine

from rag_platform.documents.identity import document_id, point_id
from rag_platform.encoders.base import SparseEncoder
from rag_platform.encoders.bm25 import Bm25Encoder, MultilingualBm25
from rag_platform.encoders.languages import DENSE_SHARE, code, detect
from rag_platform.encoders.wordllama import WordLlamaEmbedder
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.retrieval.fusion import fuse
from rag_platform.storage.vectors.base import Collection, Hit, Point, SparseVector
from rag_platform.storage.vectors.edge import EdgeVectorStore

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
DEPTH = 100
# ISO 639-3, as the declarations are named, where the first two letters are not the ISO 639-1 code.
_CODES = """
arb:ar ben:bn bul:bg ces:cs cmn:zh deu:de ell:el est:et eus:eu gle:ga glg:gl hrv:hr hye:hy isl:is
jpn:ja kat:ka kaz:kk lav:lv lit:lt mlt:mt nld:nl nob:no pes:fa pol:pl por:pt slk:sk slv:sl spa:es
swe:sv swh:sw tgl:tl tur:tr ukr:uk urd:ur uzn:uz
"""
DECLARATIONS = dict(pair.split(":") for pair in _CODES.split())


# Detection


def detection(folder: Path) -> dict[str, Any]:
    """Shares right, wrong and uncertain of sentences, documents and queries."""
    sentences = [(row["lang"], row["text"]) for row in _rows(folder / "sentences_dev.jsonl.gz")]
    began = time.perf_counter()
    alone = [(truth, detect(text)) for truth, text in sentences]
    seconds = time.perf_counter() - began
    declared = [(truth, detect(text, truth)) for truth, text in sentences]
    documents = []
    for file in sorted((folder / "udhr").glob("*.gz")):
        name = file.name[:3]
        text = gzip.decompress(file.read_bytes()).decode()
        documents.append((DECLARATIONS.get(name, name[:2]), detect(text)))
    by_language: dict[str, Counter[str]] = {}
    for truth, found in alone:
        by_language.setdefault(code(truth), Counter())[_verdict(truth, found)] += 1
    known = {each for each, verdicts in by_language.items() if verdicts["right"]}
    return {
        "sentences": _shares(alone),
        "sentences in languages it knows": _shares([p for p in alone if code(p[0]) in known]),
        "sentences, language declared": _shares(declared),
        "declarations of human rights": _shares(documents),
        "languages it knows": len(known),
        "languages": len(by_language),
        "sentences a second": round(len(sentences) / seconds),
        "by language": {each: dict(verdicts) for each, verdicts in by_language.items()},
    }


def _verdict(truth: str, found: str) -> str:
    if not found:
        return "uncertain"
    return "right" if found == code(truth) else "wrong"


def _shares(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    counts = Counter(_verdict(*pair) for pair in pairs)
    return {"n": len(pairs)} | {
        each: round(counts[each] / len(pairs), 4) for each in ("right", "wrong", "uncertain")
    }


# Retrieval


@dataclass(frozen=True)
class Question:
    """A question and the number of the paragraph that answers it."""

    text: str
    paragraph: str
    is_reported: bool


def questions(folder: Path) -> list[Question]:
    """The questions of one language."""
    lines = (folder / "qrels.tsv").read_text().splitlines()[1:]
    answers = dict(line.split("\t")[:2] for line in lines)
    return [
        Question(row["text"], answers[row["_id"]].partition("-")[2], _is_reported(row["_id"]))
        for row in _rows(folder / "queries.jsonl.gz")
    ]


def _is_reported(question: str) -> bool:
    return bool(hashlib.sha256(question.encode()).digest()[0] & 1)


class Bench:
    """Collections of one or more languages, filled as the pipeline would."""

    def __init__(self, corpora: Path, store: EdgeVectorStore) -> None:
        self.corpora = corpora
        self.store = store
        self.embedder = WordLlamaEmbedder()
        self._chunker = Chunker("recursive", 400, overlap=40)

    def fill(self, collection: Collection, languages: Sequence[str], sparse: SparseEncoder) -> None:
        """Every paragraph of some languages, its language as detected."""
        points = [p for each in languages for p in self._points(each, sparse)]
        collection.upsert(points)

    def _points(self, language: str, sparse: SparseEncoder) -> Iterator[Point]:
        for row in _rows(self.corpora / "ir_xquad" / language / "corpus.jsonl.gz"):
            text = f"# {row['title']}\n\n{row['text']}"
            told = detect(text)
            chunks = self._chunker.chunk(text)
            vectors = self.embedder.embed_passages([chunk.text for chunk in chunks])
            for number, chunk in enumerate(chunks):
                yield Point(
                    point_id(document_id("xquad", row["_id"]), chunk.text, number),
                    vectors[number],
                    sparse.passage(chunk.text, title=row["title"], language=told),
                    {"doc_id": row["_id"], "language": language},
                )


def by_language(bench: Bench, language: str) -> dict[str, Any]:
    """What the legs find alone and together in a collection of one language."""
    asked = questions(bench.corpora / "ir_xquad" / language)
    legs: dict[str, list[tuple[dict[str, float], dict[str, str]]]] = {}
    for name, encoder in (("english", Bm25Encoder()), ("auto", MultilingualBm25())):
        with bench.store.open(
            f"{name}-{language}", dimension=256, fingerprint=encoder.fingerprint
        ) as collection:
            bench.fill(collection, [language], encoder)
            legs[name] = [
                _leg(collection.nearest_sparse(encoder.query(q.text), DEPTH, {})) for q in asked
            ]
            if name == "auto":
                legs["dense"] = [
                    _leg(collection.nearest(bench.embedder.embed_query(q.text), DEPTH, {}))
                    for q in asked
                ]
    found = {name: _halves(asked, language, hits) for name, hits in legs.items()}
    fused = {
        share: _halves(
            asked,
            language,
            [
                (fuse(dense, sparse, share), of_dense | of_sparse)
                for (dense, of_dense), (sparse, of_sparse) in zip(
                    legs["dense"], legs["auto"], strict=True
                )
            ],
        )
        for share in SHARES
    }
    return {
        "questions": {
            "tuned": sum(not q.is_reported for q in asked),
            "reported": sum(q.is_reported for q in asked),
        },
        "detected": sum(detect(q.text) == language for q in asked) / len(asked),
        **found,
        "fused": fused,
    }


def across(bench: Bench) -> dict[str, Any]:
    """All languages in one collection: what a question finds in its own and in English, by the
    terms of its own language alone and with those of other readings."""
    encoder = MultilingualBm25()
    results: dict[str, Any] = {}
    with bench.store.open("all", dimension=256, fingerprint=encoder.fingerprint) as collection:
        bench.fill(collection, LANGUAGES, encoder)
        for language in LANGUAGES:
            asked = [q for q in questions(bench.corpora / "ir_xquad" / language) if q.is_reported]
            rows: dict[str, Any] = {}
            for name, cut in (("own", _own), ("all", lambda vector: vector)):
                vectors = [cut(encoder.query(q.text)) for q in asked]
                for target, filters in ((language, {}), ("en", {"language": "en"})):
                    hits = [_leg(collection.nearest_sparse(v, DEPTH, filters)) for v in vectors]
                    where = "in its own" if not filters else "in English"
                    rows[f"{where}, {name}"] = _mean(asked, target, hits)
            results[language] = rows
    return results


def _own(vector: SparseVector) -> SparseVector:
    kept = [
        (at, value) for at, value in zip(vector.indices, vector.values, strict=True) if value == 1
    ]
    return SparseVector([at for at, _ in kept], [value for _, value in kept])


def _leg(hits: Sequence[Hit]) -> tuple[dict[str, float], dict[str, str]]:
    """Scores by point, and the document of each point."""
    return {h.id: h.score for h in hits}, {h.id: str(h.payload["doc_id"]) for h in hits}


def _halves(
    asked: Sequence[Question],
    language: str,
    legs: Sequence[tuple[Mapping[str, float], Mapping[str, str]]],
) -> dict[str, float]:
    halves: dict[str, float] = {}
    for name, is_reported in (("tuned", False), ("reported", True)):
        chosen = [k for k, q in enumerate(asked) if q.is_reported == is_reported]
        halves[name] = _mean([asked[k] for k in chosen], language, [legs[k] for k in chosen])
    return halves


def _mean(
    asked: Sequence[Question],
    language: str,
    legs: Sequence[tuple[Mapping[str, float], Mapping[str, str]]],
) -> float:
    """nDCG@10 where each question has one right document, in `language`."""
    total = 0.0
    for question, (scores, documents) in zip(asked, legs, strict=True):
        ranked = sorted(scores, key=lambda point: (-scores[point], point))
        distinct = list(dict.fromkeys(documents[point] for point in ranked))[:10]
        wanted = f"{language}-{question.paragraph}"
        if wanted in distinct:
            total += 1 / math.log2(distinct.index(wanted) + 2)
    return round(total / len(asked), 4)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# The page


def page(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    parts = [
        heading(f"Languages, on {results['date']}"),
        "`python benchmarks/languages.py CORPORA_FOLDER`.\n",
    ]
    parts += _page_of_detection(results["detection"])
    parts += _page_of_retrieval(results["retrieval"])
    parts += _page_of_readings(results["across"])
    return "\n".join(parts) + "\n"


def _page_of_detection(found: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, *(shares[each] for each in ("n", "right", "wrong", "uncertain"))]
        for name, shares in found.items()
        if isinstance(shares, dict) and "right" in shares
    ]
    return [
        "## Which language a text is in",
        "",
        f"The detector knows {found['languages it knows']} of the {found['languages']} languages "
        "of the sentences, among them pairs that are hard to tell apart. "
        f"{found['sentences a second']:,} sentences a second, one core.",
        "",
        *_table(["texts", "n", "right", "wrong", "uncertain"], rows),
    ]


def _page_of_retrieval(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for language, of in found.items():
        share = DENSE_SHARE.get(language, DENSE_SHARE[""])
        legs = [of[name]["reported"] for name in ("english", "auto", "dense")]
        rows.append([language, of["detected"], *legs, of["fused"][share]["reported"], share])
    means = [round(sum(row[k] for row in rows) / len(rows), 4) for k in range(1, 6)]
    return [
        "## What a question finds in its own language",
        "",
        "nDCG@10 of the reported half (289 to 321 questions a language, one collection each). "
        "`english`: stop words and stemmer of English for all, as before. `auto`: those of the "
        "text's language, Thai segmented, Chinese by pairs of characters, titles included. "
        "`fused`: `auto` and dense together, with the share of the dense leg in use.",
        "",
        *_table(
            ["language", "queries told right", "english", "auto", "dense", "fused", "share"],
            [*rows, ["mean", *means, ""]],
        ),
        "### The tuning half by share of the dense leg",
        "",
        *_table(
            ["language", *map(str, SHARES)],
            [
                [language, *(of["fused"][share]["tuned"] for share in SHARES)]
                for language, of in found.items()
            ],
        ),
    ]


def _page_of_readings(found: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(found.values())))
    return [
        "## All languages in one collection, keywords only",
        "",
        "nDCG@10 of the reported half. `own`: the terms of the query's own language; `all`: with "
        "those of other readings at less weight, as in use.",
        "",
        *_table(
            ["language", *names],
            [[language, *(of[name] for name in names)] for language, of in found.items()],
        ),
    ]


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(names) + " |", "|---|" + "--:|" * (len(names) - 1)]
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else f"{cell}" for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path)
    corpora = parser.parse_args().corpora
    results: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    results["detection"] = detection(corpora / "language_id")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(corpora, EdgeVectorStore(Path(folder)))
        results["retrieval"] = {each: by_language(bench, each) for each in LANGUAGES}
        results["across"] = across(bench)
    (HERE / "results" / "languages.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results" / "languages.md").write_text(page(results))


if __name__ == "__main__":
    main()
