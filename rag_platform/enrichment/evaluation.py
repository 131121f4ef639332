"""The evaluation set: every decided review with its text, as one Parquet object."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from rag_platform.enrichment.gate import DECISIONS
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import reviews

PATH = "evaluation/reviews.parquet"

# The texts of some documents of one page: source, window and documents with their text's hash.
TextsOf = Callable[[str, str, Mapping[str, str]], Mapping[str, str]]


@dataclass(slots=True)
class EvaluationFigures:
    """What the set holds: documents by decision and by label, and those whose text is gone."""

    decisions: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    without_text: int = 0


def write_evaluation_set(catalog: Catalog, store: Any, texts_of: TextsOf) -> EvaluationFigures:
    """Write the set of all sources to `PATH` of the object store."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = evaluation_schema()
    figures = EvaluationFigures()
    written = io.BytesIO()
    with pq.ParquetWriter(written, schema, compression="zstd") as writer:
        for rows in _pages(catalog, texts_of):
            figures.decisions.update(row["decision"] for row in rows)
            figures.labels.update(row["label"] for row in rows if row["label"])
            figures.without_text += sum(row["text"] is None for row in rows)
            writer.write_table(pa.Table.from_pylist(rows, schema))
    store.put(PATH, written.getvalue())
    return figures


def _pages(catalog: Catalog, texts_of: TextsOf) -> Iterator[list[dict[str, Any]]]:
    """The decided reviews, page by page: each page is read once."""
    order = (reviews.c.source, reviews.c.window, reviews.c.id)
    statement = sa.select(reviews).where(reviews.c.status.in_(DECISIONS)).order_by(*order)
    with catalog.read() as connection:
        found = connection.execute(statement).all()
    for (source, window), group in groupby(found, key=lambda row: (row.source, row.window)):
        decided = list(group)
        texts = texts_of(source, window, {row.doc_id: row.text_hash for row in decided})
        yield [_row(review, texts.get(review.doc_id)) for review in decided]


def _row(review: Any, text: str | None) -> dict[str, Any]:
    fields = {**review.fields, **(review.decision or {})}
    rejected = review.status == "rejected"
    return {
        "review": review.id,
        "source": review.source,
        "doc_id": review.doc_id,
        "key": review.key,
        "title": review.title,
        "window": review.window,
        "text_hash": review.text_hash,
        "text": text,
        "decision": review.status,
        "proposed_label": review.label,
        "label": None if rejected else fields.get("label"),
        "fields": json.dumps(fields, ensure_ascii=False, sort_keys=True),
        "raw_confidence": review.raw_confidence,
        "model": review.model,
        "prompt": review.prompt,
        "decided_at": review.decided_at,
        "decided_by": review.decided_by,
        "note": review.note,
    }


def evaluation_schema() -> Any:
    """The columns of the set: one row per decided review.

    `label` is what a person says, null where the proposal was rejected without another one;
    `fields` is a JSON object, as decided; `text` is null where the page has it no more.
    """
    import pyarrow as pa

    names = ("source", "doc_id", "key", "title", "window", "text_hash", "text", "decision")
    labels = ("proposed_label", "label", "fields")
    return pa.schema(
        [
            ("review", pa.int64()),
            *((name, pa.string()) for name in (*names, *labels)),
            ("raw_confidence", pa.float64()),
            ("model", pa.string()),
            ("prompt", pa.string()),
            ("decided_at", pa.float64()),
            ("decided_by", pa.string()),
            ("note", pa.string()),
        ]
    )
