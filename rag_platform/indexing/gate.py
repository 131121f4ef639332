"""What an index version has to show before it may answer in place of the live one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.indexing.reconcile import ReconcileReport
from rag_platform.indexing.versions import behind
from rag_platform.retrieval.evaluation import Evaluation, latest
from rag_platform.retrieval.golden import BadGolden
from rag_platform.retrieval.statistics import LEAST_QUERIES, compare
from rag_platform.settings_indexes import PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, index_documents
from rag_platform.storage.vectors.base import CollectionMissing, VectorStore

# An evaluation counts as long as the index has about as many points as it had then.
_SAME_SIZE = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one gate: what was found, in words and in figures."""

    gate: str
    passed: bool
    told: str
    figures: dict[str, Any]


class Gate:
    """The gates of the settings. `reconcile` compares an index with the catalog; `golden` gives
    the digest of each golden set as it is now."""

    def __init__(
        self,
        catalog: Catalog,
        vectors: VectorStore,
        *,
        sources: Sequence[str],
        golden: Mapping[str, Callable[[], str]],
        rules: PromotionSettings,
        reconcile: Callable[[str], ReconcileReport],
    ) -> None:
        self._catalog = catalog
        self._vectors = vectors
        self._sources = sources
        self._golden = golden
        self._rules = rules
        self._reconcile = reconcile

    def verdicts(self, index: str, live: str) -> list[Verdict]:
        """Of every gate, in a set order; only the first where there is no collection."""
        built = self.built(index)
        if not built.passed:
            return [built]
        found = [built, self._complete(index), self._agrees(index)]
        if self._golden and index != live:
            sizes = {index: built.figures["points"], live: self._points(live) or 0}
            found += [self._not_worse(index, live, golden, sizes) for golden in self._golden]
        return found

    def built(self, index: str) -> Verdict:
        """Whether there is anything to search in."""
        points = self._points(index)
        told = "has no collection" if points is None else f"has {points:,} points"
        return Verdict("built", points is not None, told, {"points": points})

    def behind(self, index: str) -> dict[str, int]:
        """How many documents of each source the index does not hold as they are now."""
        return behind(self._catalog, index, self._sources)

    def _complete(self, index: str) -> Verdict:
        held = index_documents
        begun = sa.select(sa.func.count()).where(
            held.c.index_name == index, held.c.claimed != held.c.seq
        )
        waiting = sa.select(sa.func.count()).where(changes.c.deferred_by == index)
        with self._catalog.read() as connection:
            figures = {
                "behind": sum(self.behind(index).values()),
                "begun": int(connection.scalar(begun) or 0),
                "deferred": int(connection.scalar(waiting) or 0),
            }
        passed = not any(figures.values())
        told = (
            "holds every document"
            if passed
            else f"lacks {figures['behind']:,} documents as they are now ({figures['begun']:,} "
            f"begun, {figures['deferred']:,} deferred): rag-platform plan says what to replay"
        )
        return Verdict("complete", passed, told, figures)

    def _agrees(self, index: str) -> Verdict:
        report = self._reconcile(index)
        told = (
            "agrees with the catalog"
            if report.agrees
            else f"{report.drifted:,} documents and {report.orphan_points:,} points differ from "
            "the catalog: rag-platform reconcile --repair"
        )
        return Verdict("agrees", report.agrees, told, asdict(report))

    def _not_worse(self, index: str, live: str, golden: str, sizes: Mapping[str, int]) -> Verdict:
        gate = f"not_worse_on_{golden}"
        mine, other = (latest(self._catalog, name, golden) for name in (index, live))
        try:
            digest = self._golden[golden]()
        except BadGolden as error:
            return Verdict(gate, not self._rules.require_evaluation, str(error), {})
        problem = next(_problems({index: mine, live: other}, sizes, digest), None)
        if problem is not None or mine is None or other is None:
            said = f"not compared on {golden}: {problem}"
            return Verdict(gate, not self._rules.require_evaluation, said, {})
        found = compare(mine, other, self._rules.metric)
        metric, margin = found.metric, self._rules.margin
        figures = asdict(found) | {"index": mine.mean(metric), "live": other.mean(metric)}
        means = f"{metric} on {golden} {figures['index']:.4f}, live {figures['live']:.4f}"
        if found.low is None:
            said = f"{means}: {found.queries} queries are too few to tell, {LEAST_QUERIES} needed"
            return Verdict(gate, not self._rules.require_evaluation, said, figures)
        interval = f"difference {found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        passed = found.low >= -margin
        said = f"{means}: {interval}" + ("" if passed else f", may be worse by more than {margin}")
        return Verdict(gate, passed, said, figures)

    def _points(self, index: str) -> int | None:
        try:
            with self._vectors.open_existing(index) as collection:
                return collection.count()
        except CollectionMissing:
            return None


def _problems(
    found: Mapping[str, Evaluation | None], sizes: Mapping[str, int], digest: str
) -> Iterator[str]:
    """Why an evaluation cannot be relied on; `sizes` are points, and `digest` is of the queries, as
    they are now."""
    for index, evaluation in found.items():
        advice = f"rag-platform evaluate --index {index}"
        if evaluation is None:
            yield f"{index} has no evaluation: {advice}"
        elif evaluation.digest != digest:
            yield f"{index} was evaluated on different queries than there are now: {advice}"
        elif abs(sizes[index] - evaluation.points) > _SAME_SIZE * evaluation.points:
            yield (
                f"{index} has {sizes[index]:,} points and had {evaluation.points:,} when it was "
                f"evaluated: {advice}"
            )
