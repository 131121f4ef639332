"""Every index version there is or was, as it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from rag_platform.indexing.progress import count_unapplied
from rag_platform.indexing.retirement import retired
from rag_platform.retrieval.live import live_index
from rag_platform.settings import Settings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_documents, index_versions

State = Literal["live", "challenger", "kept", "beside", "retired", "unbuilt"]


@dataclass(frozen=True, slots=True)
class VersionState:
    """An index version. `state` is `live`, `challenger` (of the experiment), `kept` (was live, and
    may be again), `beside` (never was), `retired` or `unbuilt`.

    `documents` have something to search for, in `chunks`; `behind` are not held as they are now.
    Times are UTC seconds since 1970.
    """

    name: str
    state: State
    in_settings: bool
    documents: int
    chunks: int
    behind: int
    created_at: float | None
    keep_until: float | None
    retired_at: float | None
    recipe: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def versions_of(settings: Settings, catalog: Catalog) -> list[VersionState]:
    """Every index version of a platform; see `versions`."""
    experiment = settings.search.experiment
    return versions(
        catalog,
        indexes=list(settings.indexes),
        sources=list(settings.sources),
        default=settings.live,
        challenger=experiment.challenger if experiment else None,
    )


def names_of(settings: Settings, catalog: Catalog) -> list[str]:
    """The names of all versions, as `versions` has them."""
    rows = index_versions
    with catalog.read() as connection:
        built = connection.scalars(sa.select(rows.c.name).order_by(rows.c.created_at)).all()
    return list(dict.fromkeys([*settings.indexes, *built]))


def versions(
    catalog: Catalog,
    *,
    indexes: Sequence[str],
    sources: Sequence[str],
    default: str,
    challenger: str | None = None,
) -> list[VersionState]:
    """Those of the settings (`indexes`) first, in their order, then the others by age."""
    live, gone = live_index(catalog, default), retired(catalog)
    with catalog.read() as connection:
        rows = {
            row.name: row
            for row in connection.execute(
                sa.select(index_versions).order_by(index_versions.c.created_at)
            )
        }
    found = []
    for name in dict.fromkeys([*indexes, *rows]):
        row = rows.get(name)
        state = _state(name, row, live=live, challenger=challenger, gone=gone)
        documents, chunks = _held(catalog, name)
        found.append(
            VersionState(
                name=name,
                state=state,
                in_settings=name in indexes,
                documents=documents,
                chunks=chunks,
                behind=0 if state == "retired" else sum(behind(catalog, name, sources).values()),
                created_at=row.created_at if row else None,
                keep_until=row.keep_until if row else None,
                retired_at=row.retired_at if row else None,
                recipe=row.recipe if row else {},
            )
        )
    return found


def behind(catalog: Catalog, index: str, sources: Sequence[str]) -> dict[str, int]:
    """How many documents of each source an index does not hold as they are now."""
    found = {}
    with catalog.read() as connection:
        for source in sources:
            found[source] = int(connection.scalar(count_unapplied(index, source)) or 0)
    return found


def _state(name: str, row: Any, *, live: str, challenger: str | None, gone: set[str]) -> State:
    if name in gone:
        return "retired"
    if name == live:
        return "live"
    if name == challenger:
        return "challenger"
    if row is None:
        return "unbuilt"
    return "kept" if row.keep_until is not None else "beside"


def _held(catalog: Catalog, index: str) -> tuple[int, int]:
    """Documents with chunks, and their chunks."""
    held = index_documents
    statement = sa.select(sa.func.count(), sa.func.sum(held.c.chunks)).where(
        held.c.index_name == index, held.c.chunks > 0
    )
    with catalog.read() as connection:
        documents, chunks = connection.execute(statement).one()
    return int(documents), int(chunks or 0)
