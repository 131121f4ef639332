"""How differently the favourable answer is given to the groups of an audited column.

The disparate impact is the lowest selection rate of a group over the highest, 1 where all are
treated alike; the rates are fairlearn's. Groups with fewer than `MIN_GROUP` members have no part in
it, unless fewer than two groups have so many: then those with at least `LEAST_GROUP` have. Members
whose group is not known have none either; they are listed.

Intervals are at 95 %: of a rate Wilson's, of the ratio the log interval of a relative risk (Katz et
al. 1978, Biometrics 34), with half a member added to both cells of each group where a rate is 0
(Walter 1975). It takes the two groups as given. Chosen as the extremes of several groups they lie
further apart than the truth does, so a fair model too is found somewhat below 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.training.grouping import UNKNOWN, groups, interval_names
from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

MIN_GROUP = 30
LEAST_GROUP = 5
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class GroupRate:
    """A group of a column: its members, how many got the favourable answer, and the rate."""

    column: str
    group: str
    size: int
    selected: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Impact:
    """The disparate impact between the groups of a column, None where it cannot be told."""

    column: str
    value: float | None
    low: float | None
    high: float | None
    groups: list[GroupRate]
    told: str


def impacts(
    spec: ModelSpec, rows: "pd.DataFrame", predictions: "pd.DataFrame", *, selected: str
) -> list[Impact]:
    """Of each audited column; `selected` is the favourable prediction.

    Predictions are in the order of the rows. Groups are in the order of their edges or names.
    """
    given = (predictions["prediction"] == selected).to_numpy()
    found = []
    for column, edges in spec.audited.items():
        if column in rows and len(rows):
            rates = _rates(column, groups(rows[column], edges), given)
            if edges:
                order = [*interval_names(edges), UNKNOWN]
                rates.sort(key=lambda rate: order.index(rate.group))
            found.append(_impact(column, rates))
        else:
            found.append(Impact(column, None, None, None, [], f"{column}: not in these rows"))
    return found


def _rates(column: str, named: "pd.Series[str]", given: object) -> list[GroupRate]:
    from fairlearn.metrics import MetricFrame, count, selection_rate

    frame = MetricFrame(
        metrics={"size": count, "rate": selection_rate},
        y_true=given,
        y_pred=given,
        sensitive_features=named.to_numpy(),
    )
    rates = []
    for group, row in frame.by_group.iterrows():
        size = int(row["size"])
        number = round(float(row["rate"]) * size)
        rates.append(GroupRate(column, str(group), size, number, *_wilson(number, size)))
    return rates


def _wilson(selected: int, size: int) -> tuple[float, float, float]:
    """The rate and its interval."""
    rate, weight = selected / size, _Z**2 / size
    middle = (rate + weight / 2) / (1 + weight)
    reach = math.sqrt(rate * (1 - rate) * weight + weight**2 / 4) / (1 + weight)
    # At both ends the formula gives the rate itself, but for rounding.
    return rate, min(rate, middle - reach), max(rate, middle + reach)


def _impact(column: str, rates: list[GroupRate]) -> Impact:
    known = [rate for rate in rates if rate.group != UNKNOWN]
    large = [rate for rate in known if rate.size >= MIN_GROUP]
    if len(large) < 2:
        large = [rate for rate in known if rate.size >= LEAST_GROUP]
    if len(large) < 2:
        told = f"{column}: fewer than two groups with {LEAST_GROUP} members"
        return Impact(column, None, None, None, rates, told)
    lowest, highest = min(large, key=_rate), max(large, key=_rate)
    if highest.selected == 0:
        return Impact(column, None, None, None, rates, f"{column}: nobody was selected")
    value = lowest.rate / highest.rate
    low, high = _ratio_interval(lowest, highest)
    told = (
        f"{column}: {_shown(lowest)} against {_shown(highest)}, ratio {value:.3f} "
        f"({low:.3f} to {high:.3f})" + _left_out(rates, large)
    )
    return Impact(column, value, low, high, rates, told)


def _rate(rate: GroupRate) -> float:
    return rate.rate


def _ratio_interval(lowest: GroupRate, highest: GroupRate) -> tuple[float, float]:
    """Around the ratio of the rates, between 0 and 1."""
    added = 0.5 if lowest.selected == 0 else 0.0
    variance = 0.0
    ratio = 1.0
    for one, power in ((lowest, 1), (highest, -1)):
        selected, size = one.selected + added, one.size + 2 * added
        ratio *= (selected / size) ** power
        variance += 1 / selected - 1 / size
    reach = _Z * math.sqrt(variance)
    low = 0.0 if added else ratio * math.exp(-reach)
    return low, min(1.0, ratio * math.exp(reach))


def _shown(rate: GroupRate) -> str:
    return f"{rate.group[:40]} {rate.rate:.1%} of {rate.size}"


def _left_out(rates: Sequence[GroupRate], large: Sequence[GroupRate]) -> str:
    small = [f"{rate.group[:40]} ({rate.size})" for rate in rates if rate not in large]
    return f"; not compared: {', '.join(small[:5])}" if small else ""
