"""The exporter: everything that collectors know at a moment, in bounded time whatever they meet.

Each collector has a thread of its own. A scrape waits for those that are quick, and takes for the
others what they knew last, unless that is old. One that fails takes no other along, and what it
knew is shown a while longer: an alert that waits does not begin anew because of one lost answer.
What is dear to collect is collected between scrapes, and seldom enough that no number of scrapes is
a load.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rag_platform.operations.metrics.families import Family, gauge

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger(__name__)

# Prometheus gives a target 10 s unless told otherwise, of which some go to a busy machine.
SCRAPE_S = 3.0
# What takes longer is dear: no scrape waits for it once there is something to show, and it is kept
# so long that collecting takes about a twentieth of the time.
_DEAR_S = 0.1
_KEPT_TIMES = 20.0
_LONGEST_KEPT_S = 60.0
# How long what was known before is shown while a collector takes its time, or fails.
_OLDEST_S = 300.0


@dataclass(frozen=True, slots=True)
class Part:
    """What a collector, or a part of one, found in so many seconds; nothing where it failed."""

    name: str
    families: Sequence[Family]
    seconds: float
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Collector:
    """A source of metrics. What it finds is kept for `keep_s` seconds at least."""

    name: str
    collect: Callable[[], Sequence[Part]]
    keep_s: float = 0.0


def collector(
    name: str, collect: Callable[[], Iterable[Family]], *, keep_s: float = 0.0
) -> Collector:
    """A collector of one part, which fails as a whole."""
    return Collector(name, lambda: [part(name, collect)], keep_s)


def part(name: str, collect: Callable[[], Iterable[Family]]) -> Part:
    """What a function finds, or why it finds nothing: others go on all the same."""
    began = time.monotonic()
    try:
        found = list(collect())
    except Exception as error:
        return _failed(name, error, began)
    return Part(name, found, time.monotonic() - began)


class Exporter:
    """All metrics of some collectors, for any number of scrapes at a time."""

    def __init__(self, collectors: Sequence[Collector], *, scrape_s: float = SCRAPE_S) -> None:
        self._states = [_State(collector) for collector in collectors]
        self._scrape_s = scrape_s

    def begin(self) -> None:
        """Have everything collected, so that the first scrape finds what is dear."""
        for state in self._states:
            state.asked()

    def scrape(self) -> list[Family]:
        """What is known now. Nobody is waited for who collects for `scrape_s` seconds already: the
        rest comes with a later one."""
        for state, ended in [(state, state.asked()) for state in self._states]:
            deadline = (state.began or 0.0) + self._scrape_s
            ended.wait(max(0.0, deadline - time.monotonic()))
        success = gauge(
            "collector_success",
            "1 where this part of the metrics was there when last asked.",
            _LABEL,
        )
        seconds = gauge(
            "collector_duration_seconds", "What it took to collect this part last.", _LABEL
        )
        age = gauge(
            "collector_age_seconds",
            "How long ago what is shown of this part was collected.",
            _LABEL,
        )
        running = gauge(
            "collector_running_seconds", "For how long it collects; 0 where it does not.", _LABEL
        )
        families: list[Family] = []
        now = time.monotonic()
        for state in self._states:
            name, found, began = state.collector.name, state.found, state.began
            running.add(0.0 if began is None else now - began, name)
            # One that hangs is as good as one that fails.
            is_late = now - found.at > state.oldest_s
            for part_name, is_there in found.success(name).items():
                success.add(is_there and not is_late, part_name)
            for part, at in found.known.values():
                if now - at <= state.oldest_s:
                    families += part.families
                    seconds.add(part.seconds, part.name)
                    age.add(now - at, part.name)
        clock = gauge("clock_seconds", "What the clock says here, in UTC seconds since 1970.")
        return [*families, success, seconds, age, running, clock.add(time.time())]


_LABEL = "collector"
_NOW = threading.Event()
_NOW.set()


@dataclass(frozen=True, slots=True)
class _Found:
    """What there was at `at`, by the monotonic clock; it is asked for again after `until`.

    `known` has the parts as they were last there, and when.
    """

    parts: Sequence[Part] = ()
    known: Mapping[str, tuple[Part, float]] = field(default_factory=dict)
    at: float = float("-inf")
    until: float = float("-inf")
    is_dear: bool = False

    def success(self, collector: str) -> dict[str, bool]:
        """Whether the collector and each of its parts was there: the same names at all times."""
        problems = {each.name: each.problem for each in self.parts}
        is_whole = bool(problems) and problems.get(collector) is None
        parts = dict.fromkeys(self.known, is_whole)
        return {collector: is_whole, **parts, **{name: not each for name, each in problems.items()}}


@dataclass(slots=True)
class _State:
    """A collector with what it found last. `ended` is set while it is not collecting, `began` is
    when it began to."""

    collector: Collector
    found: _Found = _Found()
    began: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ended.set()

    @property
    def oldest_s(self) -> float:
        """How long what was found is shown."""
        return _OLDEST_S + self.collector.keep_s

    def asked(self) -> threading.Event:
        """Set once there is something to show; collecting is begun where it is due."""
        with self.lock:
            if time.monotonic() >= self.found.until and self.ended.is_set():
                self.ended.clear()
                self.began = time.monotonic()
                # As a daemon, one that never ends does not keep the process.
                threading.Thread(target=self._collect, args=(self.began,), daemon=True).start()
            return _NOW if self.found.is_dear else self.ended

    def _collect(self, began: float) -> None:
        try:
            parts = self.collector.collect()
        except Exception as error:
            parts = [_failed(self.collector.name, error, began)]
        at = time.monotonic()
        is_dear = at - began > _DEAR_S
        kept = min(_KEPT_TIMES * (at - began), _LONGEST_KEPT_S) if is_dear else 0.0
        good = {each.name: (each, at) for each in parts if each.problem is None}
        if len(good) == len(parts):
            kept = max(kept, self.collector.keep_s)
        self._tell(parts)
        self.found = _Found(parts, {**self.found.known, **good}, at, at + kept, is_dear)
        self.began = None
        self.ended.set()

    def _tell(self, parts: Sequence[Part]) -> None:
        """Log what fails that did not fail before: not the same at each scrape."""
        before = {each.name: each.problem for each in self.found.parts}
        for each in parts:
            if each.problem and each.problem != before.get(each.name):
                logger.warning("metrics of %s: %s", each.name, each.problem)


def _failed(name: str, error: Exception, began: float) -> Part:
    logger.debug("metrics of %s", name, exc_info=error)
    # A database's own words, without the statement.
    cause = getattr(error, "orig", None) or error
    problem = " ".join(f"{type(cause).__name__}: {cause}".split())[:500]
    return Part(name, (), time.monotonic() - began, problem)


def text(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """The metrics in the format of Prometheus that a client accepts, and its media type."""
    from prometheus_client.exposition import choose_encoder

    encode, media_type = choose_encoder(accept)
    registry: Any = _Registry([_metric(family) for family in families])
    return encode(registry), media_type


@dataclass(frozen=True, slots=True)
class _Registry:
    metrics: "Sequence[Metric]"

    def collect(self) -> "Sequence[Metric]":
        return self.metrics


def _metric(family: Family) -> "Metric":
    from prometheus_client import Metric

    # Of a counter the samples end in _total; the formats differ in what they call it as a whole.
    metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
    for values, value in family.samples.items():
        metric.add_sample(family.name, dict(zip(family.labels, values, strict=True)), value)
    # Of a histogram that may fall the names are others, so that nobody asks for its rate.
    sort = "g" if family.kind == "gaugehistogram" else ""
    for values, buckets in family.buckets.items():
        labels = dict(zip(family.labels, values, strict=True))
        for bound, count in buckets.counts:
            metric.add_sample(f"{family.name}_bucket", labels | {"le": bound}, count)
        metric.add_sample(f"{family.name}_{sort}count", labels, buckets.counts[-1][1])
        metric.add_sample(f"{family.name}_{sort}sum", labels, buckets.total)
    return metric
