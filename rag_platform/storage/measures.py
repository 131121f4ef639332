"""Histograms and counters in the catalog, right across processes, restarts and kills."""

import bisect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_operations import measures

INFINITE: Final = "+Inf"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured: its name, its labels, and the upper bounds of its buckets, rising.

    Without bounds it is a counter: `total` sums what was observed. What is kept by `Measures.keep`
    is a gauge: the last value.
    """

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


# Seconds that a parser took for a document, by media type.
PARSE_SECONDS = Measure("parse_seconds", ("source", "media_type"), _SECONDS)
# Seconds that an embedder took for a batch of texts, and how many texts it had in all.
EMBED_SECONDS = Measure("embed_seconds", ("index", "model"), _SECONDS)
EMBEDDED_TEXTS = Measure("embedded_texts", ("index", "model"))
# Seconds that a service took to answer a request, or to fail it.
LLM_REQUEST_SECONDS = Measure("llm_request_seconds", ("model", "outcome"), _SECONDS)
# Seconds that requests waited for a limit of the service.
RATE_LIMIT_WAIT_SECONDS = Measure("rate_limit_wait_seconds", ("model",), _SECONDS)
# Runs over an index that a vector store ended, by what they were to do.
Operation = Literal["apply", "publish", "reconcile"]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
VECTOR_STORE_FAILURES = Measure("vector_store_failures", ("index", "operation"))
# What the last reconciling of an index found: documents that had drifted, those of them that it
# left so, points of nobody that it left, and when it was (UTC seconds since 1970). Gauges.
RECONCILE_DRIFTED = Measure("reconcile_drifted_documents", ("index",))
RECONCILE_UNREPAIRED = Measure("reconcile_unrepaired_documents", ("index",))
RECONCILE_ORPHANS = Measure("reconcile_orphan_points", ("index",))
RECONCILED_AT = Measure("reconcile_last_timestamp_seconds", ("index",))


class Measures:
    """Adds observations, a transaction a call. What was not yet added dies with its process."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def observe(self, measure: Measure, values: Sequence[float], **labels: str) -> None:
        """Count some values. `labels` are those of the measure, each with few distinct values."""
        if not values:
            return
        buckets: dict[str, list[float]] = {}
        for value in values:
            buckets.setdefault(_bucket(measure.bounds, value), []).append(value)
        written = _labels(measure, labels)
        rows = [
            {
                "name": measure.name,
                "labels": written,
                "le": le,
                "count": len(observed),
                "total": float(sum(observed)),
            }
            for le, observed in sorted(
                buckets.items()
            )  # in one order, so that two processes never wait in a circle
        ]
        insert = (sqlite if self._catalog.is_sqlite else postgresql).insert(measures)
        statement = insert.on_conflict_do_update(
            index_elements=["name", "labels", "le"],
            set_={
                "count": measures.c.count + insert.excluded.count,
                "total": measures.c.total + insert.excluded.total,
            },
        )
        with self._catalog.begin() as connection:
            connection.execute(statement, rows)

    def keep(self, measure: Measure, value: float, **labels: str) -> None:
        """Put a value in the place of the one before."""
        row = {"name": measure.name, "labels": _labels(measure, labels), "le": INFINITE}
        with self._catalog.begin() as connection:
            self._catalog.upsert(connection, measures, [row | {"count": 1, "total": float(value)}])

    def read(self, measure: Measure) -> "list[Series]":
        """What was counted, a series for each set of labels."""
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(measures).where(measures.c.name == measure.name)
            ).all()
        found: dict[str, dict[str, tuple[int, float]]] = {}
        for row in rows:
            found.setdefault(row.labels, {})[row.le] = (row._mapping["count"], row.total)
        return [
            Series(json.loads(labels), measure.bounds, buckets)
            for labels, buckets in sorted(found.items())
        ]


@dataclass(frozen=True, slots=True)
class Series:
    """A measure's observations with the same labels; `buckets` has (count, sum) by bound."""

    labels: dict[str, str]
    bounds: tuple[float, ...]
    buckets: dict[str, tuple[int, float]]

    @property
    def total(self) -> float:
        """The sum of what was observed."""
        return sum(total for _, total in self.buckets.values())

    def cumulative(self) -> list[tuple[str, int]]:
        """(bound, observations not above it), the bounds rising, as Prometheus has histograms.

        Buckets of bounds that the measure no longer has are counted under the next higher one.
        """
        counts: Counter[str] = Counter()
        for le, (count, _) in self.buckets.items():
            counts[_bucket(self.bounds, float(le))] += count
        bounds = [*map(_written, self.bounds), INFINITE]
        sums, so_far = [], 0
        for le in bounds:
            so_far += counts[le]
            sums.append((le, so_far))
        return sums


def _labels(measure: Measure, labels: dict[str, str]) -> str:
    assert set(labels) == set(measure.labels), f"{measure.name} has labels {measure.labels}"
    return json.dumps(labels, sort_keys=True, ensure_ascii=False)


def _bucket(bounds: Sequence[float], value: float) -> str:
    place = bisect.bisect_left(bounds, value)
    return INFINITE if place == len(bounds) else _written(bounds[place])


def _written(bound: float) -> str:
    return repr(float(bound))
