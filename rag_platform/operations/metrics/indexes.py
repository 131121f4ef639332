"""Index versions: what they hold, which answers, how well, and whether they agree."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import sqlalchemy as sa

from rag_platform.operations.metrics.families import Family, Names, gauge
from rag_platform.operations.metrics.snapshot import Snapshot
from rag_platform.retrieval.evaluation import ALL
from rag_platform.retrieval.live import CROWNING
from rag_platform.storage.schema import index_evaluations, index_promotions


class Version(Protocol):
    """An index version as it stands."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def documents(self) -> int: ...

    @property
    def chunks(self) -> int: ...

    @property
    def behind(self) -> int: ...


def versions(found: Iterable[Version]) -> Iterator[Family]:
    """What the versions that are not retired hold, as the catalog has it."""
    chunks = gauge("chunks", "Chunks of an index version as the catalog has them.", "index")
    documents = gauge("index_documents", "Documents with something to search for.", "index")
    behind = gauge(
        "index_behind_documents", "Documents that are not held as they are now.", "index"
    )
    info = gauge("index_info", "1: which version answers, and what the others are.", *_INFO)
    names = Names()
    for version in found:
        name = names(version.name)
        info.add(1, name, version.state, str(version.state == "live").lower())
        if version.state != "retired":
            chunks.add(version.chunks, name)
            documents.add(version.documents, name)
            behind.add(version.behind, name)
    yield from (chunks, documents, behind, info)


def points(found: Mapping[str, int]) -> Iterator[Family]:
    """Points of index versions in a vector server. The embedded engine belongs to the process
    that writes, so there the chunks of the catalog stand for them."""
    held = gauge(
        "index_points",
        "Points in the vector server; of the embedded engine, those that the catalog expects.",
        "index",
    )
    for name, count in found.items():
        held.add(count, name)
    yield held


_INFO = ("index", "state", "live")


def quality(seen: Snapshot) -> Iterator[Family]:
    """The newest evaluation of each version on each golden set, and the last promotion."""
    table = index_evaluations
    value = gauge(
        "index_evaluation",
        "Mean over all queries of a golden set, in the newest evaluation.",
        *("index", "golden", "metric"),
    )
    at = gauge(
        "index_evaluation_timestamp_seconds",
        "When a version was last evaluated on a golden set, in UTC seconds since 1970.",
        *("index", "golden"),
    )
    newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.index_name, table.c.golden)
    columns = [table.c[name] for name in ("index_name", "golden", "at", "metrics")]
    known = (
        table.c.index_name.in_(list(seen.settings.indexes)),
        table.c.golden.in_(list(seen.settings.golden)),
    )
    rows = sa.select(*columns).where(table.c.id.in_(newest), *known)
    for row in seen.rows(rows):
        at.add(row.at, row.index_name, row.golden)
        for metric, mean in row.metrics[ALL]["means"].items():
            value.add(mean, row.index_name, row.golden, metric)
    promoted = gauge(
        "index_last_promotion_timestamp_seconds",
        "When another version last became live, in UTC seconds since 1970.",
    )
    crowned = index_promotions.c.action.in_(CROWNING)
    last = sa.select(sa.func.max(index_promotions.c.at).label("at")).where(crowned)
    (row,) = seen.rows(last)
    if row.at is not None:
        promoted.add(row.at)
    yield from (value, at, promoted)
