"""What is compared of rides: how far, how slow for its way and hour, how contradictory.

Everything is measured in logarithms, so that units do not matter, and against what the rides of
the same table do, so that no figure of a city is built in. `Usual.of` learns it from a sample;
`Usual.features` then places any ride.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.rides.robust import SMALL_SHARE, Floats, spread, usual_range

if TYPE_CHECKING:
    import pyarrow as pa

    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Keys = np.ndarray[tuple[int], np.dtype[np.uint64]]

# Differences below one percent are rounding.
_LEAST_SPREAD = 0.01
# A speed may differ by some percent from distance through time without contradicting it.
_SPEED_SPREAD = 0.05
# A value that so many rides share is no coincidence.
_COMMON = 0.001
_BINS = 30
_PER_BIN = 50
# So many rides of its own a group needs to count half.
_HALF_WEIGHT = 30
# In spreads of the durations at one distance.
_FAR_LESS = 3.0
# Spreads from the usual; what lies farther is no more unusual, and its square must be a number.
_FARTHEST = 1e6
_HOURS_OF_WEEK = 168
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_CONTEXT = ("traffic", "weather", "news")


@dataclass(frozen=True)
class Readings:
    """The figures of rides; NaN where unknown.

    `key` is a hash of the ride; `groups` are small numbers, the same for rides at the same hour of
    the week, in the same traffic, and so on.
    """

    key: "Keys"
    distance_km: Floats
    duration_s: Floats
    speed_kmh: Floats
    groups: "tuple[Integers, ...]"

    def __len__(self) -> int:
        return len(self.distance_km)

    def take(self, rows: "Integers") -> "Readings":
        """The readings of some rows."""
        return Readings(
            self.key[rows],
            self.distance_km[rows],
            self.duration_s[rows],
            self.speed_kmh[rows],
            tuple(group[rows] for group in self.groups),
        )


def readings(rides: "pa.Table") -> Readings:
    """What is compared of each ride of a table of rides."""
    columns = [_floats(rides[name]) for name in ("distance_km", "duration_s", "speed_kmh")]
    distance, duration, speed = (_known(column) for column in columns)
    groups = [_hour_of_week(rides["started_at"])]
    groups += [_numbered(rides[name]) for name in _CONTEXT]
    return Readings(_keys(rides), distance, duration, speed, tuple(groups))


def _keys(rides: "pa.Table") -> "Keys":
    """A hash of each ride's id and figures."""
    from pandas.util import hash_array

    mixed = np.zeros(rides.num_rows, dtype=np.uint64)
    for name in ("ride_id", "distance_km", "duration_s"):
        column = hash_array(rides[name].to_numpy(), categorize=False)
        mixed = mixed * _MIXER + column
    return mixed


def _floats(column: "pa.ChunkedArray") -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _known(values: Floats) -> Floats:
    """Values below zero and infinite ones say nothing; nor do zeros, where they are common."""
    sound = np.isfinite(values) & (values >= 0.0)
    if int((values == 0.0).sum()) > SMALL_SHARE * int(sound.sum()):
        sound &= values > 0.0
    return np.where(sound, values, np.nan)


def _hour_of_week(column: "pa.ChunkedArray") -> "Integers":
    """0 to 167, or 168 where the time is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seconds = pc.divide(column.cast(pa.int64()), 1_000_000)
    known = pc.fill_null(seconds, -1).to_numpy()
    hours = known // 3600 % _HOURS_OF_WEEK
    return np.where(pc.is_null(seconds).to_numpy(), _HOURS_OF_WEEK, hours)


def _numbered(column: "pa.ChunkedArray") -> "Integers":
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = column.combine_chunks().dictionary_encode()
    indices = pc.fill_null(encoded.indices.cast(pa.int64()), len(encoded.dictionary))
    return np.asarray(indices.to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class _Curve:
    """Medians and spreads of log durations along log distances."""

    at: Floats
    middle: Floats
    spreads: Floats

    def middles(self, way: Floats) -> Floats:
        """Beyond the longest usual way the speed stays; below the shortest one, the duration."""
        further = np.maximum(way - self.at[-1], 0.0)
        return np.asarray(np.interp(way, self.at, self.middle) + further)


@dataclass(frozen=True)
class _Told:
    """How the speed that rides tell agrees with their distance and duration.

    `steps` are what distance, duration and speed are rounded to, `offset` kilometres of no account;
    `ratio` is what speed by duration gives of the distance, as in another unit.
    """

    steps: tuple[float, float, float]
    offset: float
    ratio: float
    spread: float

    @classmethod
    def of(cls, sample: Readings, steps: tuple[float, float, float], offset: float) -> "_Told":
        """Learn from some rides, most of which are usual."""
        with np.errstate(all="ignore"):
            ratios = sample.speed_kmh * sample.duration_s / 3600.0 / sample.distance_km
        ratios = ratios[np.isfinite(ratios) & (ratios > 0.0)]
        ratio = float(np.median(ratios)) if len(ratios) else 1.0
        away = cls(steps, offset, ratio, 1.0).features(sample)
        width = max(spread(away[~np.isnan(away)]), _SPEED_SPREAD)
        return cls(steps, offset, ratio, width)

    def features(self, rides: Readings) -> Floats:
        """In spreads, above 0 where the speed is too high; NaN where a figure is unknown."""
        km_step, s_step, kmh_step = self.steps
        unit = 3600.0 * self.ratio
        way = rides.distance_km + self.offset
        with np.errstate(all="ignore"):  # figures may be absurd
            told = rides.speed_kmh * rides.duration_s / unit + self.offset
            away = np.log(told) - np.log(way)
            # What half a step of the rounding explains is no contradiction.
            rounded = (rides.speed_kmh * s_step + rides.duration_s * kmh_step) / unit
            slack = (km_step / way + rounded / told) / 2.0
            found = np.sign(away) * np.maximum(np.abs(away) - slack, 0.0) / self.spread
        return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True)
class Usual:
    """What most rides of a table do, learned from a sample of it."""

    distance_step: float
    duration_step: float
    way_offset: float
    least_duration: float
    way_middle: float
    way_spread: float
    time_middle: float
    time_spread: float
    told: "_Told"
    curve: _Curve | None
    effects: tuple[Floats, ...]

    @classmethod
    def of(cls, sample: Readings) -> "Usual":
        """Learn from some rides, most of which are usual."""
        distance_step, duration_step = _step(sample.distance_km), _step(sample.duration_s)
        distance = _unrounded(sample.distance_km, distance_step, sample.key * _MIXER)
        duration = _unrounded(sample.duration_s, duration_step, sample.key)
        moved, lasted = distance > 0.0, duration > 0.0
        offset = float(np.quantile(distance[moved], 0.05)) if moved.any() else 1.0
        least = float(np.quantile(duration[lasted], 0.01)) / 10.0 if lasted.any() else 1.0
        both = np.flatnonzero(moved & lasted)
        if len(both) <= SMALL_SHARE * len(sample):
            both = both[:0]
        curve, effects = _expectation(
            np.log(distance[both] + offset),
            np.log(duration[both]),
            tuple(group[both] for group in sample.groups),
            duration_step,
        )
        way_middle, way_spread = _middle_and_spread(np.log(distance[moved] + offset))
        time_middle, time_spread = _middle_and_spread(np.log(duration[lasted]))
        steps = distance_step, duration_step, _step(sample.speed_kmh)
        return cls(
            distance_step=distance_step,
            duration_step=duration_step,
            way_offset=offset,
            least_duration=least,
            way_middle=way_middle,
            way_spread=way_spread,
            time_middle=time_middle,
            time_spread=time_spread,
            told=_Told.of(sample, steps, offset),
            curve=curve,
            effects=effects,
        )

    def features(self, rides: Readings) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        """Places of rides, (n, 3): way, pace and contradiction, each in spreads from the usual.

        NaN where unknown. The pace of a ride without a way is its duration among all rides.
        """
        way = self._ways(rides)
        duration = _unrounded(rides.duration_s, self.duration_step, rides.key)
        time = np.log(np.maximum(duration, self.least_duration))
        alone = (time - self.time_middle) / self.time_spread
        pace = alone
        if self.curve is not None:
            expected = self._expected(way, rides.groups)
            scale = np.interp(way, self.curve.at, self.curve.spreads)
            pace = np.where(np.isnan(way), alone, (time - expected) / scale)
        places = np.stack(
            [
                (way - self.way_middle) / self.way_spread,
                pace,
                self.told.features(rides),
            ]
        )
        return np.asarray(np.clip(places.T, -_FARTHEST, _FARTHEST), order="C")

    def expected_s(self, rides: Readings) -> Floats:
        """The duration that is usual for the way, the hour and what else is known, in seconds."""
        if self.curve is None:
            return np.full(len(rides), np.exp(self.time_middle))
        expected = self._expected(self._ways(rides), rides.groups)
        return np.exp(np.where(np.isnan(expected), self.time_middle, expected))

    def _ways(self, rides: Readings) -> Floats:
        distance = _unrounded(rides.distance_km, self.distance_step, rides.key * _MIXER)
        return np.log(distance + self.way_offset)

    def _expected(self, way: Floats, groups: "tuple[Integers, ...]") -> Floats:
        assert self.curve is not None
        expected = self.curve.middles(way)
        for group, effect in zip(groups, self.effects, strict=True):
            # A group that the sample did not hold has no effect.
            expected = expected + np.append(effect, 0.0)[np.minimum(group, len(effect))]
        return expected


def _step(values: Floats) -> float:
    """The step that values are rounded to, such as whole minutes; 0.0 where few of them repeat."""
    known = values[values > 0.0]
    distinct, counts = np.unique(known, return_counts=True)
    common = counts >= max(2, int(_COMMON * len(known)))
    if int(common.sum()) < 2 or int(counts[common].sum()) < 0.8 * len(known):
        return 0.0
    step = float(np.diff(distinct[common]).min())
    # A few values that stand far apart are values, not steps.
    return step if step < np.median(known) / 4.0 else 0.0


def _unrounded(values: Floats, step: float, key: "Keys") -> Floats:
    """Each value anywhere within the step it was rounded to, by its ride's hash; zeros stay.

    Rounded values lie on lines with nothing between them, and each line would be a cluster.
    """
    if not step:
        return values
    place = (key >> np.uint64(11)).astype(np.float64) / 2.0**53 - 0.5
    return np.where(values > 0.0, np.maximum(values + place * step, step / 4.0), values)


def _middle_and_spread(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    return float(np.median(values)), max(spread(values), _LEAST_SPREAD)


def _expectation(
    way: Floats, time: Floats, groups: "tuple[Integers, ...]", duration_step: float
) -> tuple[_Curve | None, tuple[Floats, ...]]:
    """The usual log duration along the way, and what each group adds to it (median polish).

    `duration_step` is what durations are rounded to.
    """
    effects = tuple(np.zeros(0) for _ in groups)
    if not len(way):
        return None, effects
    count = int(np.clip(len(way) // _PER_BIN, 1, _BINS))
    edges = np.unique(np.quantile(way, np.linspace(0.0, 1.0, count + 1)))[1:-1]
    bin_of = np.searchsorted(edges, way, side="left")
    bins = [np.flatnonzero(bin_of == number) for number in np.unique(bin_of)]
    at = np.array([np.median(way[rows]) for rows in bins])
    added = np.zeros(len(way))
    for _ in range(3):
        middle = _rising(time - added, bins)
        rest = time - np.interp(way, at, middle)
        found = []
        added = np.zeros(len(way))
        for group in groups:
            effect = _effects(rest - added, group)
            found.append(effect)
            added = added + effect[group]
        effects = tuple(found)
    rest = rest - added
    # What lies within half a step of the rounding is no difference.
    least = np.maximum(duration_step / 2.0 / np.exp(middle), _LEAST_SPREAD)
    spreads = np.maximum([spread(rest[rows]) for rows in bins], least)
    return _Curve(at, middle, _smooth(spreads)), effects


def _rising(time: Floats, bins: "list[Integers]") -> Floats:
    """The median of each bin, where bins that say that a longer way takes far less time are pooled.

    So a bin that odd rides fill, such as hours for a few metres, does not become what is usual.
    """
    tolerance = _FAR_LESS * float(np.median([spread(time[rows]) for rows in bins]))
    blocks: list[tuple[float, list[Integers]]] = []
    for rows in bins:
        pooled = [rows]
        median = float(np.median(time[rows]))
        while blocks and blocks[-1][0] > median + tolerance:
            pooled = [*blocks.pop()[1], *pooled]
            median = float(np.median(time[np.concatenate(pooled)]))
        blocks.append((median, pooled))
    return np.array([median for median, pooled in blocks for _ in pooled])


def _effects(rest: Floats, group: "Integers") -> Floats:
    """The median of each group, drawn to zero where it holds few rides."""
    order = np.argsort(group, kind="stable")
    numbers, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    effects = np.zeros(int(numbers[-1]) + 1)
    for number, start, count in zip(numbers, starts, counts, strict=True):
        median = float(np.median(rest[order[start : start + count]]))
        effects[number] = median * count / (count + _HALF_WEIGHT)
    return effects


def _smooth(values: Floats) -> Floats:
    """The running median over five bins, so that odd rides at one distance do not widen it."""
    padded = np.pad(values, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 5)
    return np.asarray(np.median(windows, axis=1))


def in_range(places: Any) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether all features of each ride, (n, features), are within the usual range of these rides.

    What is unknown is in range.
    """
    within = np.ones(len(places), dtype=bool)
    for column in places.T:
        known = ~np.isnan(column)
        within &= ~known | usual_range(column[known]).holds(column)
    return within
