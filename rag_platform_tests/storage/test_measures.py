"""Measures: right across processes and after a change of the buckets."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import (
    EMBED_SECONDS,
    EMBEDDED_TEXTS,
    INFINITE,
    Measure,
    Measures,
    Series,
)
from rag_platform_tests.catalogs import Place

TIMES = Measure("times", ("source",), (0.5, 1.0, 2.0))


def test_observations_are_counted_in_their_bucket(shared: Catalog) -> None:
    measures = Measures(shared)
    assert measures.read(TIMES) == []
    measures.observe(TIMES, [0.5, 0.6, 7.0], source="notes")
    measures.observe(TIMES, [0.1], source="notes")
    measures.observe(TIMES, [], source="notes")
    measures.observe(TIMES, [1.5], source="other")
    notes, other = measures.read(TIMES)
    assert notes.labels == {"source": "notes"}
    # 0.5 stands under its own bound, as Prometheus has it.
    assert notes.cumulative() == [("0.5", 2), ("1.0", 3), ("2.0", 3), ("+Inf", 4)]
    assert notes.total == pytest.approx(8.2)
    assert other.cumulative() == [("0.5", 0), ("1.0", 0), ("2.0", 1), ("+Inf", 1)]


def test_a_counter_sums(shared: Catalog) -> None:
    measures = Measures(shared)
    for texts in (3.0, 4.0):
        measures.observe(EMBEDDED_TEXTS, [texts], index="v1", model="m")
    (series,) = measures.read(EMBEDDED_TEXTS)
    assert series.total == 7
    assert series.cumulative() == [(INFINITE, 2)]


def test_a_gauge_has_its_last_value(shared: Catalog) -> None:
    measures = Measures(shared)
    level = Measure("level", ("index",))
    for value in (3.0, 9.0, 0.5):
        measures.keep(level, value, index="v1")
    measures.keep(level, 2, index="v2")
    assert [(series.labels["index"], series.total) for series in measures.read(level)] == [
        ("v1", 0.5),
        ("v2", 2),
    ]


def test_labels_are_those_of_the_measure(shared: Catalog) -> None:
    with pytest.raises(AssertionError, match="embed_seconds"):
        Measures(shared).observe(EMBED_SECONDS, [1.0], index="v1")


def test_nothing_is_lost_between_writers(place: Place, shared: Catalog) -> None:
    def add() -> None:
        catalog = place.open()
        for number in range(10):
            Measures(catalog).observe(TIMES, [0.1 * number, 1.5, 9.0], source="notes")
        catalog.close()

    writers = [threading.Thread(target=add) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (series,) = Measures(shared).read(TIMES)
    # Of ten numbers 0.0 to 0.9 six are at most 0.5 (0.1 * 5 == 0.5).
    assert series.cumulative() == [("0.5", 24), ("1.0", 40), ("2.0", 80), ("+Inf", 120)]


@given(
    st.dictionaries(
        st.sampled_from(["0.5", "1.0", "1.5", "2.0", "8.0", INFINITE]),
        st.tuples(st.integers(1, 50), st.floats(0, 100)),
    ),
    st.sets(st.sampled_from([0.5, 1.0, 2.0, 4.0])),
)
def test_other_buckets_lose_no_observation(
    kept: dict[str, tuple[int, float]], bounds: set[float]
) -> None:
    series = Series({}, tuple(sorted(bounds)), kept)
    sums = series.cumulative()
    counts = [count for _, count in sums]
    assert counts == sorted(counts)
    assert sums[-1] == (INFINITE, sum(count for count, _ in kept.values()))
    # A bound that was always there counts exactly what it did.
    exact: Counter[float] = Counter()
    for le, (count, _) in kept.items():
        exact[float(le)] += count
    for le, count in sums[:-1]:
        below = sum(exact[bound] for bound in exact if bound <= float(le))
        assert count == below
