"""Rows of a catalog without what does not matter, and the samples that are read of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rag_platform.operations.metrics.exporter import Exporter, Part
from rag_platform.operations.metrics.families import PREFIX, Family
from rag_platform.operations.metrics.snapshot import Query, queries_collector
from rag_platform.settings import Settings
from rag_platform.storage.catalog import Catalog

Samples = Mapping[str, Mapping[tuple[str, ...], float]]

_PLAIN: dict[type[Any], Any] = {str: "x", int: 1, float: 1.0, bool: False, bytes: b"x"}


def put(catalog: Catalog, table: sa.Table, *rows: Mapping[str, Any], **common: Any) -> None:
    """Rows with these values, and anything in the other columns that must not be null."""
    needed = {
        column.name: {} if isinstance(column.type, sa.JSON) else _PLAIN[column.type.python_type]
        for column in table.columns
        if not column.nullable and column.default is None and column.autoincrement is not True
    }
    with catalog.begin() as connection:
        for row in rows:
            connection.execute(table.insert().values({**needed, **common, **row}))


def settings_of(tmp_path: Path, **more: Any) -> Settings:
    """Two daily sources, notes and wiki, of which notes are enriched."""
    source = {"url": tmp_path.as_uri(), "cadence": "daily", "start": "2026-06-01"}
    return Settings.model_validate(
        {
            "home": tmp_path,
            "sources": {"notes": source, "wiki": source},
            "enrichment": {"sources": ["notes"], "labels": ["a", "b"]},
            **more,
        }
    )


def parts(catalog: Catalog, settings: Settings, **queries: Query) -> dict[str, Part]:
    """What a scrape finds by these queries, by their names."""
    found = queries_collector("test", catalog, settings, queries).collect()
    return {part.name: part for part in found}


def read(catalog: Catalog, settings: Settings, query: Query) -> Samples:
    """What one query finds, which must not fail."""
    (part,) = parts(catalog, settings, query=query).values()
    assert part.problem is None
    return samples(part.families)


def samples(families: Iterable[Family]) -> Samples:
    """Values by name, without the prefix, and labels; those of 0 are left out."""
    return {
        family.name.removeprefix(PREFIX): {
            labels: value for labels, value in family.samples.items() if value
        }
        for family in families
    }


def scraped(exporter: Exporter) -> Samples:
    """What a scrape of an exporter shows."""
    return samples(exporter.scrape())
