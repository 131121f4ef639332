"""Statistics that a few odd values do not move: spread, and where what is usual ends."""

from typing import NamedTuple

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

# A pattern is what more than one ride in twenty does. What fewer do is odd, however alike they are.
SMALL_SHARE = 0.05
# So many values make a pattern of their own, where they are that share.
_LEAST_PATTERN = 20
_LEAST_SPREAD = 0.1
# The share of usual values that may lie beyond each end of the usual range. A smaller one costs
# recall where the tails of real rides are heavy.
_BEYOND = 0.001
# Nothing within so many spreads is unusual, however few values there are.
_LEAST_RANGE = 3.0
_HALF_OF_NORMAL = 1.349  # the middle half of a normal distribution, in standard deviations
_ROUNDS = 6


class Range(NamedTuple):
    """Where usual values lie."""

    low: float
    high: float

    def holds(self, values: Floats) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Whether each value is usual."""
        return np.asarray((values >= self.low) & (values <= self.high))


def spread(values: Floats) -> float:
    """The width of the shortest interval that holds half of the values, as a standard deviation.

    Up to half of the values may be odd, and all of them on one side. 0.0 without values.
    """
    if not len(values):
        return 0.0
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float((ordered[half:] - ordered[: len(ordered) - half]).min() / _HALF_OF_NORMAL)


def usual_range(values: Floats) -> Range:
    """Where values end that follow the pattern of most; values are in spreads from their middle.

    Each end is extrapolated from the values inside, in two ways, and the nearer one counts: a
    Weibull tail through the quantiles 0.5, 0.7 and 0.9, which a few percent of odd values hardly
    move; and an exponential tail through the quantiles 0.9 and 0.98 of what the last round kept.
    Where more than `SMALL_SHARE` of the values lie beyond an end, they are a pattern of their own,
    and the far end of that counts.
    """
    found = _range_of_most(values)
    return Range(
        min(found.low, -_end_of_pattern(-values[values < found.low], len(values))),
        max(found.high, _end_of_pattern(values[values > found.high], len(values))),
    )


def _end_of_pattern(beyond: Floats, among: int) -> float:
    if len(beyond) <= max(SMALL_SHARE * among, _LEAST_PATTERN):
        return -np.inf
    middle, width = float(np.median(beyond)), max(spread(beyond), _LEAST_SPREAD)
    return middle + width * usual_range((beyond - middle) / width).high


def _range_of_most(values: Floats) -> Range:
    kept = values
    found = Range(-np.inf, np.inf)
    for round_ in range(_ROUNDS):
        if not len(kept):
            break
        ends = [_far_end(side, trimmed=round_ > 0) for side in (-kept, kept)]
        found = Range(-max(ends[0], _LEAST_RANGE), max(ends[1], _LEAST_RANGE))
        kept = values[found.holds(values)]
    return found


def _far_end(values: Floats, *, trimmed: bool) -> float:
    middle, inner, outer, last = np.quantile(values, (0.5, 0.7, 0.9, 0.98))
    ends = [_weibull_end(middle, inner, outer)]
    if trimmed:
        ends.append(last + (last - outer) * np.log(0.02 / _BEYOND) / np.log(0.1 / 0.02))
    return float(min(ends))


def _weibull_end(middle: float, inner: float, outer: float) -> float:
    """Beyond the middle v(e) = a * e**b, with e = -log(2 * share beyond): 1 is exponential."""
    if outer <= middle:
        return float(outer)
    to_inner, to_outer = -np.log(2 * 0.3), -np.log(2 * 0.1)
    rise = np.log((outer - middle) / max(inner - middle, 1e-9)) / np.log(to_outer / to_inner)
    shape = np.clip(rise, 0.5, 1.25)
    return float(middle + (outer - middle) * (-np.log(2 * _BEYOND) / to_outer) ** shape)
