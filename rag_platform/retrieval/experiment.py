"""Two index versions compared on the searches of every day.

Whoever asks (a unit) is sent to the live index or to the challenger by a hash, always to the same.
What was found is logged by ids and digests: no query, no name and no text.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.retrieval.live import live_index, with_live
from rag_platform.retrieval.search import Filters, Result, Searcher
from rag_platform.settings_indexes import ExperimentSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import search_log
from rag_platform.storage.vectors.base import CollectionMissing

logger = logging.getLogger(__name__)

Arm = Literal["live", "challenger"]
Open = Callable[[str], AbstractContextManager[Searcher]]
_DEPTH = 10


class NoSuchSearch(PlatformError):
    """A search is named that is not in the log."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and in which index. `search` is its number in the log, None if none."""

    results: list[Result]
    index: str
    arm: Arm
    search: int | None


@dataclass(frozen=True, slots=True)
class ArmReport:
    """The searches of one arm. Times in milliseconds; `chosen` of them have a result that was
    taken, `mrr` is the mean of one over its rank."""

    arm: str
    index_name: str
    searches: int
    units: int
    mean_ms: float
    p95_ms: float
    chosen: int
    mrr: float | None


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """Both arms. `overlap` is the mean share of documents among the first ten that both arms found
    for a query, over the `queries` that both were asked; None without any."""

    arms: tuple[ArmReport, ...]
    queries: int
    overlap: float | None

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def digest_of_unit(unit: str, experiment: ExperimentSettings) -> str:
    """What the log says instead of the unit; another one in each experiment."""
    return _digest(experiment.challenger, unit)


def arm_of(unit: str, experiment: ExperimentSettings) -> Arm:
    """The arm of a unit. It stays with the challenger while its share grows."""
    place = int(digest_of_unit(unit, experiment)[:8], 16) % 100
    return "challenger" if place < experiment.share else "live"


class LiveSearch:
    """Searches what is live, or for some units what challenges it."""

    def __init__(
        self,
        open_index: Open,
        *,
        catalog: Catalog,
        default: str,
        experiment: ExperimentSettings | None = None,
    ) -> None:
        """`open_index` opens an index for the length of a block; `default` is the one that is live
        before the first promotion."""
        self._open = open_index
        self._catalog = catalog
        self._default = default
        self._experiment = experiment

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        unit: str | None = None,
        filters: Filters | None = None,
        language: str = "",
    ) -> Found:
        """The k best passages, as `Searcher.search` finds them. With a `unit` (who or what asks) it
        takes part in the experiment.

        A challenger without a collection leaves its searches to the live index.
        """
        started = time.perf_counter()

        def use(index: str) -> tuple[str, list[Result]]:
            with self._open(index) as searcher:
                return index, searcher.search(query, k, filters=filters, language=language)

        rules = self._experiment
        arm: Arm = "live"
        if rules is None or unit is None or rules.challenger == self._live():
            index, results = with_live(self._live, use)
            return Found(results, index, arm, None)
        arm = arm_of(unit, rules)
        if arm == "challenger":
            try:
                index, results = use(rules.challenger)
            except CollectionMissing as error:
                logger.warning("experiment: %s; the live index answers", error)
                arm = "live"
        if arm == "live":
            index, results = with_live(self._live, use)
        took_ms = (time.perf_counter() - started) * 1_000
        return Found(results, index, arm, self._log(query, unit, arm, index, results, took_ms))

    def passage(self, text_hash: str) -> Result | None:
        """The passage with this text, of the live index or of its challenger, as either may have
        found it; None where the reader may see none."""

        def use(index: str) -> Result | None:
            with self._open(index) as searcher:
                return searcher.passage(text_hash)

        found = with_live(self._live, use)
        if found is None and self._experiment is not None:
            with contextlib.suppress(CollectionMissing):
                found = use(self._experiment.challenger)
        return found

    def _live(self) -> str:
        return live_index(self._catalog, self._default)

    def _log(
        self,
        query: str,
        unit: str,
        arm: Arm,
        index: str,
        results: Sequence[Result],
        took_ms: float,
    ) -> int | None:
        """Keep what was found. A search is answered even where that fails."""
        assert self._experiment is not None
        row = {
            "at": time.time(),
            "unit": digest_of_unit(unit, self._experiment),
            "query": _digest(" ".join(query.split())),
            "arm": arm,
            "index_name": index,
            "results": list(dict.fromkeys(result.doc_id for result in results)),
            "took_ms": took_ms,
        }
        try:
            with self._catalog.begin() as connection:
                added = connection.execute(sa.insert(search_log).returning(search_log.c.id), row)
                return int(added.scalar_one())
        except sa.exc.DBAPIError as error:
            logger.warning("experiment: a search was not logged (%s)", error.orig)
            return None


def note_choice(catalog: Catalog, search: int, rank: int) -> None:
    """A person took the result at `rank` (1 for the first). Raises `NoSuchSearch`."""
    if rank < 1:
        raise ValueError(f"rank {rank}: the first result has rank 1")
    with catalog.begin() as connection:
        done = connection.execute(
            sa.update(search_log).where(search_log.c.id == search).values(chosen=rank)
        )
    if done.rowcount == 0:
        raise NoSuchSearch(f"search {search}: not in the log; see the number that it came with.")


def forget_searches(catalog: Catalog, *, before: float) -> int:
    """Remove what was logged before a time (UTC seconds since 1970); returns how many rows."""
    with catalog.begin() as connection:
        done = connection.execute(sa.delete(search_log).where(search_log.c.at < before))
    return done.rowcount


def report(
    catalog: Catalog, challenger: str, *, since: float = 0.0, most: int | None = None
) -> ExperimentReport:
    """The searches logged while `challenger` was one of the two, from a time on.

    With `most`, the newest so many of them.
    """
    log = search_log
    began = sa.select(sa.func.min(log.c.at)).where(
        log.c.arm == "challenger", log.c.index_name == challenger, log.c.at >= since
    )
    with catalog.read() as connection:
        first = connection.scalar(began)
        if first is None:
            return ExperimentReport((), 0, None)
        newest = sa.select(log).where(log.c.at >= first).order_by(log.c.id.desc()).limit(most)
        rows = connection.execute(newest).all()[::-1]
    arms: dict[tuple[str, str], list[Any]] = {}
    by_query: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        arms.setdefault((row.arm, row.index_name), []).append(row)
        by_query.setdefault(row.query, {})[row.arm] = row.results[:_DEPTH]
    overlaps = [
        _overlap(found["live"], found["challenger"])
        for found in by_query.values()
        if len(found) == 2
    ]
    return ExperimentReport(
        tuple(_arm_report(*key, arms[key]) for key in sorted(arms)),
        len(overlaps),
        float(np.mean(overlaps)) if overlaps else None,
    )


def _arm_report(arm: str, index: str, rows: Sequence[Any]) -> ArmReport:
    times = np.array([row.took_ms for row in rows])
    ranks = [row.chosen for row in rows if row.chosen is not None]
    return ArmReport(
        arm=arm,
        index_name=index,
        searches=len(rows),
        units=len({row.unit for row in rows}),
        mean_ms=round(float(times.mean()), 3),
        p95_ms=round(float(np.percentile(times, 95)), 3),
        chosen=len(ranks),
        mrr=float(np.mean([1 / rank for rank in ranks])) if ranks else None,
    )


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Documents that both found, as a share of those that the longer list has."""
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
