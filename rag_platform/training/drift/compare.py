"""Whether rows and scores differ from those that a model knows: by much, and not by accident.

A column has drifted when the difference is large - the Kolmogorov-Smirnov distance or the
population stability index (PSI) over the bins of the profile, for categories the PSI, for missing
values the difference of their shares - and the p value of its test, adjusted for the number of all
tests (Benjamini and Hochberg 1995), is below `MAX_P`. With a million rows everything is
significant; with fifty nothing is small.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.drift.columns import (
    Categories,
    Floats,
    Numbers,
    as_kind,
    binned,
    rounded,
)
from rag_platform.training.drift.profile import ColumnProfile, Profile, parts
from rag_platform.training.drift.texts import Texts
from rag_platform.training.snapshots import plain
from rag_platform.training.task import Draw

if TYPE_CHECKING:
    import pandas as pd

MIN_DISTANCE = 0.15
MIN_PSI = 0.2
MIN_MISSING = 0.05
MAX_P = 0.01
# With fewer values nothing can be said.
MIN_ROWS = 30
VALUES, MISSING = "values", "missing"

# Fewer are expected in a cell, and the chi-square distribution does not hold: the tables that
# chance makes of the same rows take its place.
_MIN_EXPECTED = 5.0
_TABLES = 20_000
_SEED = 1
_NAMED = 5
_MAX_NAME = 60

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How one column differs from before, in its `values` or in how many are `missing`.

    `effect` is how many times the bound it is, from 1 on large. `p` is adjusted for the number of
    tests. `before` and `now` are shares of the bins (of a text, along its axis `along`).
    """

    part: str
    column: str
    kind: str | None
    aspect: str
    test: str
    rows_before: int
    rows_now: int
    effect: float
    p: float
    psi: float | None = None
    distance: float | None = None
    along: str | None = None
    bins: tuple[str, ...] = ()
    before: tuple[float, ...] = ()
    now: tuple[float, ...] = ()

    @property
    def drifted(self) -> bool:
        """By much, and not by accident."""
        return self.effect >= 1 and self.p < MAX_P

    @property
    def told(self) -> str:
        """In a few words."""
        name = f"{self.column[:_MAX_NAME]!r}" + (" of the scores" if self.part == "scores" else "")
        if self.aspect == MISSING:
            return f"{name} missing {self.before[0]:.1%} → {self.now[0]:.1%} (p {self.p:.2g})"
        distance = "" if self.distance is None else f", distance {self.distance:.2f}"
        along = f" along {self.along}" if self.along else ""
        return f"{name}{along} PSI {self.psi or 0.0:.2f}{distance} (p {self.p:.2g})"


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All columns that could be compared, the drifted ones first; `new` are columns that the model
    does not know, and that do not count."""

    columns: list[ColumnDrift]
    drifted: bool
    told: str
    rows: int
    new: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        columns = [
            asdict(column) | {"drifted": column.drifted, "told": column.told}
            for column in self.columns
        ]
        return {
            "drifted": self.drifted,
            "told": self.told,
            "rows": self.rows,
            "new": list(self.new),
            "columns": columns,
        }

    def plots(self) -> Mapping[str, Draw]:
        """What a person looks at, by title."""
        from rag_platform.training.drift.plots import plots

        return plots(self)


def compare(
    profile: Profile, rows: "pd.DataFrame", predictions: "pd.DataFrame | None" = None
) -> DriftReport:
    """Rows, and where there are any the answers to them, against a profile.

    A column that is gone counts as missing in all rows, and so does a value that is not of the
    column's kind. Without `predictions` the scores of the profile are left out.
    """
    frames = {part: plain(frame) for part, frame in parts(rows, predictions)}
    known = {(column.part, column.name) for column in profile.columns}
    new = tuple(
        sorted(n for part, (frame, _) in frames.items() for n in frame if (part, n) not in known)
    )
    if len(rows) < MIN_ROWS:
        told = f"too few rows to tell: {len(rows)}, at least {MIN_ROWS}"
        return DriftReport([], False, told, len(rows), new)
    found = [
        drift
        for column in profile.columns
        if column.part in frames
        for drift in _drifts(column, *frames[column.part])
    ]
    ordered = sorted(_adjusted(found), key=lambda each: (not each.drifted, each.p, -each.effect))
    drifted = [column.told for column in ordered if column.drifted]
    told = f"no drift in {len(rows):,} rows"
    if drifted:
        more = f" and {len(drifted) - _NAMED} more" if len(drifted) > _NAMED else ""
        told = f"drift in {len(rows):,} rows: {'; '.join(drifted[:_NAMED])}{more}"
    return DriftReport(ordered, bool(drifted), told, len(rows), new)


def _drifts(
    profile: ColumnProfile, frame: "pd.DataFrame", plain_kinds: dict[str, str]
) -> Iterator[ColumnDrift]:
    import pandas as pd

    column = frame.get(profile.name, pd.Series(np.nan, frame.index))
    plain_kind = plain_kinds.get(profile.name, "nothing")
    if profile.kind is not None:
        column = as_kind(column, plain_kind, profile.kind)
    missing = int(column.isna().sum())
    if missing or profile.missing:
        yield _missing(profile, len(column), missing)
    told = column.dropna()
    if min(len(told), profile.size - profile.missing) < MIN_ROWS:
        return
    base = ColumnDrift(
        part=profile.part,
        column=profile.name,
        kind=profile.kind,
        aspect=VALUES,
        test="",
        rows_before=profile.size - profile.missing,
        rows_now=len(told),
        effect=0.0,
        p=1.0,
    )
    if isinstance(profile.shape, Numbers):
        yield _of_numbers(base, profile.shape, told.to_numpy(np.float64))
    elif isinstance(profile.shape, Categories):
        yield _of_categories(base, profile.shape, told)
    elif isinstance(profile.shape, Texts):
        yield _of_texts(base, profile.shape, told)


def _missing(profile: ColumnProfile, size: int, missing: int) -> ColumnDrift:
    from scipy.stats import fisher_exact

    table = [[profile.missing, profile.size - profile.missing], [missing, size - missing]]
    before, now = profile.missing / max(profile.size, 1), missing / max(size, 1)
    return ColumnDrift(
        part=profile.part,
        column=profile.name,
        kind=profile.kind,
        aspect=MISSING,
        test="Fisher",
        rows_before=profile.size,
        rows_now=size,
        effect=abs(now - before) / MIN_MISSING,
        p=float(fisher_exact(table).pvalue),
        bins=("missing", "there"),
        before=(before, 1 - before),
        now=(now, 1 - now),
    )


def _of_numbers(base: ColumnDrift, before: Numbers, values: Floats) -> ColumnDrift:
    values = rounded(values)
    counts = binned(values, before.edges)
    distance = ks_distance(before.points, values)
    return replace(
        base,
        **_histograms(before.counts, counts, _intervals(before.edges)),
        test="Kolmogorov-Smirnov",
        distance=distance,
        effect=max(distance / MIN_DISTANCE, excess_psi(before.counts, counts) / MIN_PSI),
        p=ks_p(max(distance - before.hidden, 0.0), before.size, len(values)),
    )


def _of_categories(base: ColumnDrift, before: Categories, values: "pd.Series[str]") -> ColumnDrift:
    counts = before.count(values)
    return replace(
        base,
        **_histograms(before.counts, counts, (*before.values, "others")),
        test="chi-square",
        effect=excess_psi(before.counts, counts) / MIN_PSI,
        p=chi_square_p(before.counts, counts),
    )


def _of_texts(base: ColumnDrift, before: Texts, texts: "pd.Series[str]") -> ColumnDrift:
    """By the axis along which they differ most clearly, with p adjusted for their number."""
    measured = before.measured(texts)
    found = [
        replace(_of_numbers(base, numbers, measured[name]), along=name, rows_before=numbers.size)
        for name, numbers in before.measures.items()
    ]
    clearest = min(found, key=lambda each: (each.p, -each.effect))
    return replace(clearest, p=min(1.0, clearest.p * len(found)))


def _histograms(before: Counts, now: Counts, bins: tuple[str, ...]) -> dict[str, Any]:
    shares = (counts / max(counts.sum(), 1) for counts in (before, now))
    told = [tuple(np.round(share, 6).tolist()) for share in shares]
    return {"psi": psi(before, now), "bins": bins, "before": told[0], "now": told[1]}


def _intervals(edges: Floats) -> tuple[str, ...]:
    between = [f"to {edge:.4g}" for edge in edges]
    return (*between, f"over {edges[-1]:.4g}" if len(edges) else "all")


def psi(before: Counts, now: Counts) -> float:
    """The population stability index of two histograms over the same bins; 0: they agree."""
    # Half a row in every bin, so that an empty one does not make the index infinite.
    one, two = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, now))
    return float(np.sum((two - one) * np.log(two / one)))


def excess_psi(before: Counts, now: Counts) -> float:
    """PSI less what it is on average by chance alone: the fewer rows, the more."""
    bins = int(((before + now) > 0).sum())
    chance = (bins - 1) * (1 / max(before.sum(), 1) + 1 / max(now.sum(), 1))
    return psi(before, now) - float(chance)


def ks_distance(points: Floats, values: Floats) -> float:
    """The greatest difference of two distributions' shares below any value."""
    everything = np.concatenate([points, values])
    shares = (
        np.searchsorted(np.sort(each), everything, side="right") / len(each)
        for each in (points, values)
    )
    one, two = shares
    return float(np.max(np.abs(one - two)))


def ks_p(distance: float, before: int, now: int) -> float:
    """The p value of a KS distance of samples of these sizes (as scipy's `ks_2samp`, asymptotic).

    Too large where values repeat, never too small.
    """
    from scipy.stats import kstwo

    return float(kstwo.sf(distance, round(before * now / (before + now))))


def chi_square_p(before: Counts, now: Counts) -> float:
    """The p value of the chi-square test that two histograms are of one distribution.

    Where cells are small, from tables that chance makes with the same sums.
    """
    from scipy.stats import chi2_contingency

    table = np.array([before, now])[:, (before + now) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    test = chi2_contingency(table, correction=False)
    if test.expected_freq.min() >= _MIN_EXPECTED:
        return float(test.pvalue)
    total = table.sum(axis=0)
    expected = test.expected_freq[1]
    # The other row differs from what is expected by as much, so that its cells need no table.
    weight = 1 / expected + 1 / test.expected_freq[0]
    drawn = np.random.default_rng(_SEED).multivariate_hypergeometric(
        total, int(table[1].sum()), size=_TABLES, method="marginals"
    )
    chance = ((drawn - expected) ** 2 @ weight) >= ((table[1] - expected) ** 2 @ weight) - 1e-9
    return float((1 + chance.sum()) / (1 + _TABLES))


def _adjusted(found: list[ColumnDrift]) -> list[ColumnDrift]:
    from scipy.stats import false_discovery_control

    if not found:
        return []
    adjusted = false_discovery_control([each.p for each in found])
    return [replace(each, p=float(p)) for each, p in zip(found, adjusted, strict=True)]
