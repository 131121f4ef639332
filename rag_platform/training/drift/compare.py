"""Whether rows and scores differ from those that a model knows: by much, and not by accident.

A column has drifted when the difference is large - the Kolmogorov-Smirnov distance or the
population stability index (PSI) over the bins of the profile, for categories the PSI, for missing
values the difference of their shares - and the p value of its test, adjusted for the number of all
tests (Benjamini and Hochberg 1995), is below `difference.MAX_P`. With a million rows everything is
significant; with fifty nothing is small.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.drift.columns import (
    Categories,
    Floats,
    Numbers,
    as_kind,
    binned,
    rounded,
)
from rag_platform.training.drift.difference import MISSING, VALUES, ColumnDrift
from rag_platform.training.drift.measures import (
    Counts,
    chi_square_p,
    excess_psi,
    ks_distance,
    ks_p,
    psi,
)
from rag_platform.training.drift.plots import plots
from rag_platform.training.drift.profile import SCORES, ColumnProfile, Profile, parts
from rag_platform.training.drift.texts import Texts
from rag_platform.training.snapshots import plain
from rag_platform.training.task import Draw

if TYPE_CHECKING:
    import pandas as pd

MIN_DISTANCE = 0.15
MIN_PSI = 0.2
MIN_MISSING = 0.05
# With fewer values nothing can be said.
MIN_ROWS = 30
_NAMED = 5


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All columns that could be compared, the drifted ones first; `new` are columns that the model
    does not know, and that do not count."""

    columns: list[ColumnDrift]
    drifted: bool
    told: str
    rows: int
    new: tuple[str, ...] = ()

    @property
    def score_drifted(self) -> bool:
        """Whether a column of the scores has drifted."""
        return any(column.drifted for column in self.columns if column.part == SCORES)

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
        return plots(self.columns)


def compare(
    profile: Profile, rows: "pd.DataFrame", predictions: "pd.DataFrame | None" = None
) -> DriftReport:
    """Rows, and where there are any their targets and the answers to them, against a profile.

    A column that is gone counts as missing in all rows, and so does a value that is not of the
    column's kind. Without `predictions` the scores of the profile are left out, and so is the
    target where the rows have none.
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
        rows_before=int(before.counts.sum()),
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


def _adjusted(found: list[ColumnDrift]) -> list[ColumnDrift]:
    from scipy.stats import false_discovery_control

    if not found:
        return []
    adjusted = false_discovery_control([each.p for each in found])
    return [replace(each, p=float(p)) for each, p in zip(found, adjusted, strict=True)]
