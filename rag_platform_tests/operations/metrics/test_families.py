"""Families: labels that are added up, names that are limited, and the text format."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from rag_platform.operations.metrics.exporter import text
from rag_platform.operations.metrics.families import (
    Buckets,
    Names,
    counter,
    gauge,
    gauge_histogram,
    histogram,
)


def test_samples_with_the_same_labels_are_added() -> None:
    found = gauge("pages", "Pages.", "source")
    found.add(1, "notes").add(2, "wiki").add(3, "notes")
    assert found.samples == {("notes",): 4, ("wiki",): 2}
    times = histogram("seconds", "Seconds.")
    times.add_buckets(Buckets([("1.0", 2), ("+Inf", 3)], 9.0))
    times.add_buckets(Buckets([("1.0", 1), ("+Inf", 1)], 0.5))
    assert times.buckets[()].counts == [("1.0", 3), ("+Inf", 4)]
    assert times.buckets[()].total == 9.5


def test_labels_have_a_limit() -> None:
    names = Names(["a", "b"], most=3)
    assert [names(name) for name in ("c", "d", "a", "c", "b", None)] == [
        *("c", "other", "a", "c", "b"),
        "other",
    ]
    assert Names()(None) == "none"
    # What is in the settings is always shown, however much that is.
    many = Names(map(str, range(100)))
    assert {many(str(number)) for number in range(200)} == {*map(str, range(100)), "other"}


def test_a_counter_says_so_in_its_name() -> None:
    with pytest.raises(AssertionError, match="_total"):
        counter("requests", "Requests.")


def test_the_text_is_what_prometheus_reads() -> None:
    families = [
        gauge("pages", 'Pages, "all" of them.', "source").add(4, 'a"b\\c\nd'),
        counter("requests_total", "Requests.", "model").add(7, "m"),
        histogram("seconds", "Seconds.", "model").add_buckets(
            Buckets([("0.5", 1), ("+Inf", 3)], 9.5), "m"
        ),
    ]
    content, media_type = text(families)
    assert media_type.startswith("text/plain; version=")
    read = {family.name: family for family in text_string_to_metric_families(content.decode())}
    pages, requests, seconds = (
        read[f"rag_platform_{name}"] for name in ("pages", "requests", "seconds")
    )
    assert (pages.type, pages.samples[0].labels, pages.samples[0].value) == (
        *("gauge", {"source": 'a"b\\c\nd'}),
        4,
    )
    assert requests.type == "counter"
    assert requests.samples[0].name == "rag_platform_requests_total"
    assert seconds.type == "histogram"
    assert {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value
        for sample in seconds.samples
    } == {("bucket", "0.5"): 1, ("bucket", "+Inf"): 3, ("count", None): 3, ("sum", None): 9.5}
    assert "# TYPE rag_platform_requests_total counter" in content.decode().splitlines()
    newer, media_type = text(families, "application/openmetrics-text; version=1.0.0")
    assert "openmetrics" in media_type
    assert "# TYPE rag_platform_requests counter" in newer.decode().splitlines()
    assert 'rag_platform_requests_total{model="m"} 7.0' in newer.decode().splitlines()


def test_a_histogram_that_may_fall_says_so() -> None:
    """Nobody finds a `_count` whose rate could be asked for."""
    now = gauge_histogram("score", "Scores.").add_buckets(Buckets([("0.5", 1), ("+Inf", 3)], 1.5))
    content, _ = text([now], "application/openmetrics-text; version=1.0.0")
    (family,) = openmetrics(content.decode())
    assert family.type == "gaugehistogram"
    named = {sample.name.removeprefix("rag_platform_score_") for sample in family.samples}
    assert named == {"bucket", "gcount", "gsum"}
    older, _ = text([now])
    assert "rag_platform_score_gcount 3.0" in older.decode().splitlines()
    assert "rag_platform_score_count" not in older.decode()
