"""Metrics as collectors give them, before they are written in a format of Prometheus.

Names follow its conventions: base units, counters end in `_total`. Every name begins with
`rag_platform_`, which is added here. Labels have few distinct values: names of the settings, words
of the code, and of anything else a limited number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self

PREFIX: Final = "rag_platform_"
OTHER: Final = "other"
_MOST = 50

Kind = Literal["gauge", "counter", "histogram", "gaugehistogram"]
Labels = tuple[str, ...]


@dataclass(slots=True)
class Buckets:
    """What a histogram counted under one set of labels.

    `counts` has (upper bound, observations not above it), the bounds rising and the last `+Inf`;
    `total` is the sum of what was observed.
    """

    counts: Sequence[tuple[str, int]]
    total: float

    def __add__(self, other: "Buckets") -> "Buckets":
        """Both together; they have the same bounds."""
        pairs = zip(self.counts, other.counts, strict=True)
        sums = [(bound, count + more) for (bound, count), (_, more) in pairs]
        return Buckets(sums, self.total + other.total)


@dataclass(slots=True)
class Family:
    """A metric with its samples, by the values of its labels."""

    kind: Kind
    name: str
    help: str
    labels: Labels
    samples: dict[Labels, float] = field(default_factory=dict)
    buckets: dict[Labels, Buckets] = field(default_factory=dict)

    def add(self, value: float, *values: str) -> Self:
        """A sample; of two with the same labels, the sum."""
        assert len(values) == len(self.labels), f"{self.name} has labels {self.labels}"
        self.samples[values] = self.samples.get(values, 0) + value
        return self

    def add_buckets(self, buckets: Buckets, *values: str) -> Self:
        """A histogram's; of two with the same labels, the sum."""
        assert len(values) == len(self.labels), f"{self.name} has labels {self.labels}"
        known = self.buckets.get(values)
        self.buckets[values] = buckets if known is None else known + buckets
        return self


def gauge(name: str, help: str, *labels: str) -> Family:
    """A figure that rises and falls."""
    return Family("gauge", PREFIX + name, help, labels)


def counter(name: str, help: str, *labels: str) -> Family:
    """A figure that only grows; its name ends in `_total`."""
    assert name.endswith("_total"), f"{name}: counters end in _total"
    return Family("counter", PREFIX + name, help, labels)


def histogram(name: str, help: str, *labels: str) -> Family:
    """Counts of observations by upper bound, which only grow."""
    return Family("histogram", PREFIX + name, help, labels)


def gauge_histogram(name: str, help: str, *labels: str) -> Family:
    """How something is distributed now: its counts fall, so their `rate` says nothing."""
    return Family("gaugehistogram", PREFIX + name, help, labels)


class Names:
    """Values of a label: those that are known, and of others only the first that are met.

    What is beyond the limit is called `other`, so that no label grows without bound. A value that
    is missing is called `none`.
    """

    def __init__(self, known: Iterable[str] = (), *, most: int = _MOST) -> None:
        self._shown = set(known)
        self._most = max(most, len(self._shown))

    def __call__(self, name: str | None) -> str:
        """The value that stands for a name."""
        shown = name or "none"
        if shown in self._shown:
            return shown
        if len(self._shown) >= self._most:
            return OTHER
        self._shown.add(shown)
        return shown
