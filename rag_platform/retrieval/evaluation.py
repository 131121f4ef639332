"""Evaluation: how well an index version answers golden queries."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from rag_platform.retrieval.golden import Golden, GoldenQuery
from rag_platform.retrieval.metrics import DEEPEST, METRICS, measure
from rag_platform.retrieval.search import Result, Searcher
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, index_evaluations

ALL = "all"
# Passages asked for: several may be of one document.
_PASSAGES = 2 * DEEPEST
# Evaluations kept of an index and a set, each with the scores of every query.
_KEPT = 50


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the queries, with the mean of each metric over them."""

    queries: int
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an index version got on a golden set when it had so many points, at `at` (UTC seconds).

    `scores` are by metric, in the order of `queries` (their ids); `slices` has `all` first.
    """

    index: str
    golden: str
    digest: str
    points: int
    at: float
    slices: Mapping[str, Slice]
    queries: Sequence[str]
    scores: Mapping[str, Sequence[float]]

    def mean(self, metric: str) -> float:
        """Over all queries."""
        return self.slices[ALL].means[metric]

    def as_json(self) -> dict[str, object]:
        """Without the scores of every query."""
        return {
            "index": self.index,
            "golden": self.golden,
            "points": self.points,
            "at": self.at,
            "slices": {name: asdict(part) for name, part in self.slices.items()},
        }


def evaluate(searcher: Searcher, golden: Golden) -> Evaluation:
    """Ask every query of the set, among the documents of its source.

    Passages count once for their document, at the place of the best of them.
    """
    points = searcher.points()
    filters = {"source": golden.source}
    measured = []
    for query in golden.queries:
        found = searcher.search(query.text, _PASSAGES, filters=filters)
        # Rounded: what is kept is what was compared.
        scores = measure(ranking(query, found), query.grades)
        measured.append({metric: round(value, 6) for metric, value in scores.items()})
    return Evaluation(
        index=searcher.index,
        golden=golden.name,
        digest=golden.digest,
        points=points,
        at=time.time(),
        slices=_slices([query.slice for query in golden.queries], measured),
        queries=[query.id for query in golden.queries],
        scores={metric: [row[metric] for row in measured] for metric in METRICS},
    )


def ranking(query: GoldenQuery, results: Iterable[Result]) -> list[str]:
    """The documents, or pages, of some passages: each once.

    A passage that stands in several documents counts as those of them that are asked for.
    """
    found: dict[str, None] = {}
    for result in results:
        units = [query.unit(key, page) for key, page in result.places]
        found |= dict.fromkeys([unit for unit in units if unit in query.grades] or units[:1])
    return list(found)


def record(catalog: Catalog, evaluation: Evaluation) -> None:
    """Write an evaluation down; the oldest of its index and set make room."""
    table = index_evaluations
    own = (table.c.index_name == evaluation.index) & (table.c.golden == evaluation.golden)
    newest = sa.select(table.c.id).where(own).order_by(table.c.id.desc()).limit(_KEPT)
    with catalog.begin() as connection:
        connection.execute(
            table.insert().values(
                index_name=evaluation.index,
                golden=evaluation.golden,
                at=evaluation.at,
                digest=evaluation.digest,
                points=evaluation.points,
                metrics={name: asdict(part) for name, part in evaluation.slices.items()},
                scores={"queries": list(evaluation.queries), **evaluation.scores},
            )
        )
        kept = connection.scalars(newest).all()
        connection.execute(table.delete().where(own, table.c.id.not_in(kept)))


def latest(catalog: Catalog, index: str, golden: str) -> Evaluation | None:
    """The newest evaluation of an index version on a golden set; None before the first."""
    table = index_evaluations
    statement = (
        sa.select(table)
        .where(table.c.index_name == index, table.c.golden == golden)
        .order_by(table.c.id.desc())
        .limit(1)
    )
    with catalog.read() as connection:
        row = connection.execute(statement).first()
    if row is None:
        return None
    scores = dict(row.scores)
    return Evaluation(
        index=row.index_name,
        golden=row.golden,
        digest=row.digest,
        points=row.points,
        at=row.at,
        slices={name: Slice(**part) for name, part in row.metrics.items()},
        queries=scores.pop("queries"),
        scores=scores,
    )


@dataclass(frozen=True, slots=True)
class Means:
    """An evaluation without the scores of every query; `at` is in UTC seconds since 1970."""

    at: float
    points: int
    slices: Mapping[str, Slice]

    def mean(self, metric: str) -> float:
        """Over all queries."""
        return self.slices[ALL].means[metric]


def recent(catalog: Catalog, index: str, golden: str, *, limit: int = _KEPT) -> list[Means]:
    """The evaluations of an index version on a golden set, the newest first."""
    table = index_evaluations
    statement = (
        sa.select(table.c.at, table.c.points, table.c.metrics)
        .where(table.c.index_name == index, table.c.golden == golden)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    with catalog.read() as connection:
        rows = connection.execute(statement).all()
    return [
        Means(row.at, row.points, {name: Slice(**part) for name, part in row.metrics.items()})
        for row in rows
    ]


def missing_documents(catalog: Catalog, golden: Golden) -> list[str]:
    """The documents that the set asks for and that its source does not have, sorted."""
    statement = sa.select(documents.c.key).where(
        documents.c.source == golden.source, documents.c.gone.is_(False)
    )
    with catalog.read() as connection:
        return golden.missing(connection.scalars(statement))


def _slices(names: Sequence[str], measured: Sequence[Mapping[str, float]]) -> dict[str, Slice]:
    parts: dict[str, list[Mapping[str, float]]] = {ALL: list(measured)}
    for name, scores in sorted(zip(names, measured, strict=True), key=lambda pair: pair[0]):
        if name:
            parts.setdefault(name, []).append(scores)
    return {
        name: Slice(
            len(rows),
            {metric: sum(row[metric] for row in rows) / len(rows) for metric in METRICS},
        )
        for name, rows in parts.items()
    }
