"""What SQLite does to find a few rows among all of a source."""

from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.documents.page import standing
from rag_platform.indexing.progress import unapplied
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, enrichments, near_bands, near_documents, reviews
from rag_platform.storage.statistics import write_statistics


def first_step(catalog: Catalog, statement: sa.Select[Any]) -> str:
    """How the first table of a query is read."""
    text = statement.compile(catalog.engine, compile_kwargs={"literal_binds": True})
    with catalog.read() as connection:
        return str(connection.exec_driver_sql(f"explain query plan {text}").all()[0].detail)


@pytest.mark.parametrize(
    ("statement", "way"),
    [
        (
            unapplied("docs_v1", "manuals").where(changes.c.seq.in_([1, 2])),
            "changes USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            standing("manuals", "2026-07-01", 1).where(changes.c.seq.in_([1, 2])),
            "changes USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            sa.select(near_bands).where(
                near_bands.c.source == "manuals", near_bands.c.text_hash.in_(["a", "b"])
            ),
            "near_bands USING INDEX ix_near_bands_text (source=? AND text_hash=?)",
        ),
        (
            sa.select(near_documents).where(
                near_documents.c.source == "manuals", near_documents.c.canonical.in_(["a", "b"])
            ),
            "near_documents USING INDEX ix_near_documents_canonical (canonical=?)",
        ),
        (
            sa.select(enrichments).where(
                enrichments.c.source == "manuals", enrichments.c.text_hash == "a"
            ),
            "enrichments USING INDEX ix_enrichments_text (source=? AND text_hash=?)",
        ),
        (
            sa.select(reviews).where(reviews.c.status == "open").order_by(reviews.c.id),
            "reviews USING INDEX ix_reviews_status (status=?)",
        ),
        (
            sa.select(changes).where(changes.c.source == "manuals", changes.c.window == "w"),
            "changes USING INDEX ix_changes_page (source=? AND window=?)",
        ),
    ],
)
def test_a_few_rows_are_found_without_reading_a_source(
    catalog: Catalog, statement: sa.Select[Any], way: str
) -> None:
    assert first_step(catalog, statement) == f"SEARCH {way}"


def test_every_index_has_figures_that_fall(catalog: Catalog) -> None:
    with catalog.begin() as connection:
        write_statistics(connection)  # again: nothing is there twice
        run = connection.exec_driver_sql
        figures = {row.idx: row.stat for row in run("select idx, stat from sqlite_stat1")}
        names = run("select name from sqlite_master where type = 'index'").scalars().all()
    assert sorted(names) == sorted(figures)
    assert figures["ix_changes_page"] == "1000000 100000 1000 1000"
    assert figures["sqlite_autoindex_near_bands_1"] == "1000000 100000 50000 10 1"
    for stat in figures.values():
        rows = [int(word) for word in stat.split()]
        assert rows == sorted(rows, reverse=True)
