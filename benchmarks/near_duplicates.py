"""How near duplicates are found: pairs that are known, speed, and how it grows.

    python benchmarks/near_duplicates.py CORPORA_FOLDER

CORPORA_FOLDER holds neardup_articles (1,000 articles, 10 known pairs). Then documents of 300 words
are drawn from a vocabulary, a tenth of them as near copies of earlier ones, and as many pages again
are made of one template that they share to nine tenths. Everything goes through the same code as a
pass of clean_docs, in passes of 1,000, into a catalog on SQLite. Writes
`benchmarks/results/near_duplicates.json` and `near_duplicates.md`.
"""

import argparse
import csv
import gzip
import hashlib
import json
import random
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from run import HERE, heading, machine

from rag_platform.documents.near_duplicates import NearDuplicates
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, near_documents

WINDOW = "2026-01-01"
PASS = 1_000


def articles(folder: Path) -> dict[str, Any]:
    """Pairs found at several thresholds, beside the known ones."""
    with gzip.open(folder / "articles.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        known = {frozenset(pair) for pair in list(csv.reader(file))[1:]}
    found: dict[str, Any] = {"documents": len(texts), "known pairs": len(known)}
    with _catalog() as catalog:
        for threshold in (0.5, 0.7, 0.9, 0.95):
            name = f"articles{threshold:g}".replace(".", "")
            seconds = sum(_bring(catalog, name, threshold, texts.items()))
            pairs = _pairs(catalog, name)
            found[f"{threshold:g}"] = {
                "found": len(pairs & known),
                "false": len(pairs - known),
                "seconds": round(seconds, 2),
            }
    return found


def growth(passes: int, *, template: bool) -> dict[str, Any]:
    """CPU seconds of the first and the last pass of 1,000 documents, and what was found."""
    planted: set[frozenset[str]] = set()
    with _catalog() as catalog:
        made = _template_pages(passes * PASS) if template else _documents(passes * PASS, planted)
        seconds = _bring(catalog, "grown", 0.9, made)
        pairs = _pairs(catalog, "grown")
        return {
            "documents": passes * PASS,
            "seconds of the first pass": round(seconds[0], 2),
            "seconds of the last pass": round(seconds[-1], 2),
            "planted pairs": len(planted),
            "found": len(pairs & planted),
            "others": len(pairs - planted),
            "bytes a document": round(_size(catalog) / PASS / passes),
        }


def _documents(count: int, planted: set[frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Each tenth is an earlier one, each used once, with five words changed."""
    draw = random.Random(1)
    vocabulary = [f"w{number}" for number in range(20_000)]
    unused: list[tuple[str, list[str]]] = []
    for number in range(count):
        key = str(number)
        if number % 10 == 9:
            other, words = unused.pop(draw.randrange(len(unused)))
            words = list(words)
            for place in draw.sample(range(len(words)), 5):
                words[place] = draw.choice(vocabulary)
            planted.add(frozenset((key, other)))
        else:
            words = draw.choices(vocabulary, k=300)
            unused.append((key, words))
        yield key, " ".join(words)


def _template_pages(count: int) -> Iterator[tuple[str, str]]:
    """Any two have 278 of 300 words in common, in one piece."""
    shared = " ".join(f"t{number}" for number in range(278))
    for number in range(count):
        yield str(number), f"{shared} " + " ".join(f"{number}x{n}" for n in range(22))


def _bring(
    catalog: Catalog, name: str, threshold: float, texts: Iterable[tuple[str, str]]
) -> list[float]:
    """CPU seconds of each pass."""
    near = NearDuplicates(name, catalog=catalog, threshold=threshold)
    seconds: list[float] = []
    rows: list[tuple[str, str]] = []
    for row in texts:
        rows.append(row)
        if len(rows) == PASS:
            seconds.append(_pass(catalog, name, near, rows, number=len(seconds) + 1))
            rows = []
    if rows:
        seconds.append(_pass(catalog, name, near, rows, number=len(seconds) + 1))
    return seconds


def _pass(
    catalog: Catalog, name: str, near: NearDuplicates, rows: Sequence[tuple[str, str]], number: int
) -> float:
    batch = [
        {
            "doc_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {key}")),
            "text_hash": hashlib.sha256(text.encode()).hexdigest(),
            "text": text,
        }
        for key, text in rows
    ]
    with catalog.begin() as connection:
        connection.execute(
            sa.insert(documents),
            [
                {
                    "source": name,
                    "key": key,
                    "doc_id": row["doc_id"],
                    "seq": number * PASS + place,
                    "window": WINDOW,
                    "pass_no": number,
                    "gone": False,
                    "text_hash": row["text_hash"],
                    "empty": False,
                }
                for place, ((key, _), row) in enumerate(zip(rows, batch, strict=True))
            ],
        )
    began = time.process_time()
    near(WINDOW, number, [batch])
    return time.process_time() - began


def _pairs(catalog: Catalog, name: str) -> set[frozenset[str]]:
    copy, canonical = documents.alias(), documents.alias()
    held = near_documents
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(copy.c.key, canonical.c.key)
            .select_from(
                held.join(copy, copy.c.doc_id == held.c.doc_id).join(
                    canonical, canonical.c.doc_id == held.c.canonical
                )
            )
            .where(held.c.source == name, held.c.doc_id != held.c.canonical)
        )
        return {frozenset(row) for row in rows}


def _size(catalog: Catalog) -> int:
    """Of the database, without what waits in its log."""
    with catalog.begin() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar_one()
        return int(pages * connection.exec_driver_sql("pragma page_size").scalar_one())


@contextmanager
def _catalog() -> Iterator[Catalog]:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(f"sqlite:///{folder}/catalog.db", lock_folder=Path(folder))
        try:
            yield catalog
        finally:
            catalog.close()


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    header = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(header) + " |", "|---" * (len(header) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[column]:,}" for column in header) + " |")
    return lines


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--passes", type=int, default=4)
    arguments = parser.parse_args()
    known = articles(arguments.corpora / "neardup_articles")
    grown = {
        "drawn": growth(arguments.passes, template=False),
        "one template": growth(arguments.passes, template=True),
    }
    thresholds = {name: row for name, row in known.items() if isinstance(row, dict)}
    found = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    found |= {"articles": known, "growth": grown}
    results = HERE / "results"
    (results / "near_duplicates.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    lines = [
        heading("Near duplicates"),
        f"{known['documents']:,} articles with {known['known pairs']} known pairs, by threshold:",
        "",
        *_table(thresholds),
        "",
        "Passes of 1,000 documents of 300 words at .9, CPU seconds. Of those drawn, each tenth is "
        "an earlier one with five words changed; pages of one template are all alike to .86.",
        "",
        *_table(grown),
        "",
    ]
    (results / "near_duplicates.md").write_text("\n".join(lines), "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
