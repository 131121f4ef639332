"""Charts as shapes: computed here, drawn as SVG by `templates/charts.html`, without any script.

All lengths are in units of the drawing, which is as wide as its page; y grows downwards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 28
_COLOURS = 8  # as in static/charts.css
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis; `anchor` is how its text lies to it."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar in the colour of a series; `told` is shown when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    told: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a line, with its interval where it has one."""

    x: float
    y: float
    told: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """The values of a series, joined."""

    colour: int
    points: list[Point]

    @property
    def path(self) -> str:
        """For `points` of a polyline."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title; `rule` is a bound across it, as a tick on the vertical axis."""

    title: str
    across: list[Tick]
    up: list[Tick]
    names: list[str]
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rule: Tick | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a series at a place, such as a day; `low` and `high` are its interval."""

    place: str
    value: float
    low: float | None = None
    high: float | None = None


def stacked(
    title: str,
    places: Sequence[str],
    values: Mapping[str, Mapping[str, float]],
    *,
    unit: str = "",
    rule: float | None = None,
) -> Chart:
    """A bar for each place, a part for each series: `values` are by place and series.

    The largest series come first; those beyond the colours are one series, `others`. A rule that
    would make the bars too low to be read is left out.
    """
    sums: dict[str, float] = {}
    for parts in values.values():
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
    ranked = sorted(sums, key=lambda name: -sums[name])
    named, rest = ranked[: _COLOURS - 1], ranked[_COLOURS - 1 :]
    series = [(name, [name]) for name in named] + ([("others", rest)] if rest else [])
    most = max((sum(parts.values()) for parts in values.values()), default=0.0)
    shown = rule is not None and (most == 0 or rule <= 8 * most)
    axis = _Axis.over(0.0, max(most, rule or 0.0) if shown else most)
    room = (WIDTH - _RIGHT - _LEFT) / max(1, len(places))
    bars = []
    for number, place in enumerate(places):
        below = 0.0
        for colour, (name, members) in enumerate(series):
            height = sum(values.get(place, {}).get(member, 0.0) for member in members)
            if height <= 0:
                continue
            y = axis.y(below + height)
            told = f"{place}, {name}: {unit}{height:,.4g}"
            x = _LEFT + number * room + room * 0.1
            bars.append(Bar(x, y, room * 0.8, axis.y(below) - y, colour, told))
            below += height
    return Chart(
        title=title,
        across=_places(places),
        up=axis.ticks(unit),
        names=[name for name, _ in series],
        bars=bars,
        rule=Tick(axis.y(rule), f"{unit}{rule:,.4g}") if shown and rule is not None else None,
    )


def lines(title: str, series: Mapping[str, Sequence[Value]], *, rule: float | None = None) -> Chart:
    """A line for each series over places, which lie beside each other in their order."""
    kept = dict(list(series.items())[:_COLOURS])
    places = sorted({value.place for values in kept.values() for value in values})
    seen = [
        number
        for values in kept.values()
        for value in values
        for number in (value.value, value.low, value.high)
        if number is not None
    ]
    seen += [rule] if rule is not None else []
    axis = _Axis.over(min(seen, default=0.0), max(seen, default=1.0))
    x_of = {place: _x(number, len(places)) for number, place in enumerate(places)}
    drawn = [
        Line(
            colour,
            [
                Point(
                    x_of[value.place],
                    axis.y(value.value),
                    f"{value.place}, {name}: {value.value:.4g}",
                    None if value.low is None else axis.y(value.low),
                    None if value.high is None else axis.y(value.high),
                )
                for value in sorted(values, key=lambda value: value.place)
            ],
        )
        for colour, (name, values) in enumerate(kept.items())
    ]
    return Chart(
        title=title,
        across=_places(places),
        up=axis.ticks(""),
        names=list(kept),
        lines=drawn,
        rule=Tick(axis.y(rule), f"{rule:.4g}") if rule is not None else None,
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, its interval and its bound on a line 100 long; None where there is none."""

    value: float
    low: float
    high: float
    bound: float | None


def interval(
    value: float | None, low: float | None, high: float | None, bound: float | None
) -> Interval | None:
    """The places on the line; None without a value."""
    if value is None:
        return None
    low, high = value if low is None else low, value if high is None else high
    seen = [number for number in (value, low, high, bound) if number is not None]
    least, most = min(seen), max(seen)
    span = (most - least) or 1.0

    def place(number: float) -> float:
        return round(6 + 88 * (number - least) / span, 1)

    return Interval(place(value), place(low), place(high), None if bound is None else place(bound))


@dataclass(frozen=True, slots=True)
class _Axis:
    """The vertical axis from `least` to `most`, which are multiples of `step`."""

    least: float
    most: float
    step: float

    @classmethod
    def over(cls, least: float, most: float) -> "_Axis":
        """Round values around what is shown: steps of 1, 2 or 5 times a power of ten."""
        span = (most - least) or abs(most) or 1.0
        power = 10.0 ** math.floor(math.log10(span / _TICKS))
        step = next(n * power for n in (1, 2, 5, 10) if n * power * _TICKS >= span * (1 - 1e-9))
        bottom = math.floor(least / step + 1e-9) * step
        top = max(math.ceil(most / step - 1e-9) * step, bottom + step)
        return cls(bottom, top, step)

    def y(self, value: float) -> float:
        """Where a value lies."""
        room = HEIGHT - _BOTTOM - _TOP
        return round(_TOP + room * (self.most - value) / (self.most - self.least), 2)

    def ticks(self, unit: str) -> list[Tick]:
        """At every step."""
        count = round((self.most - self.least) / self.step)
        values = [self.least + number * self.step for number in range(count + 1)]
        return [Tick(self.y(value), f"{unit}{round(value, 10):,.6g}", "end") for value in values]


def _x(number: int, count: int) -> float:
    room = (WIDTH - _RIGHT - _LEFT) / max(1, count)
    return round(_LEFT + room * (number + 0.5), 2)


def _places(places: Sequence[str]) -> list[Tick]:
    """The first, the middle and the last place, or as many as there are."""
    count = len(places)
    shown = sorted({0, (count - 1) // 2, count - 1}) if count else []
    ticks = [Tick(_x(number, count), places[number]) for number in shown]
    if len(ticks) > 1:
        ticks[0] = Tick(_LEFT, ticks[0].text, "start")
        ticks[-1] = Tick(WIDTH - _RIGHT, ticks[-1].text, "end")
    return _apart(ticks)


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Without the middle one where the texts would touch."""
    if len(ticks) == 3 and any(b.at - a.at < 11 * len(a.text) for a, b in pairwise(ticks)):
        return [ticks[0], ticks[2]]
    return ticks
