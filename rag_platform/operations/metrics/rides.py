"""The newest day of rides that has a report."""

from collections.abc import Iterator, Mapping
from typing import Any

from rag_platform.operations.metrics.families import Family, gauge


def newest_day(figures: Mapping[str, Any], age_s: float) -> Iterator[Family]:
    """`figures` are the row of the day's report, `age_s` are the seconds since the day ended."""
    rides = gauge("rides_newest_day", "Rides of the newest day with a report.", "verdict")
    anomalies = int(figures["anomalies"])
    yield (
        rides.add(int(figures["rides"]) - anomalies, "ordinary")
        .add(anomalies, "anomalous")
        .add(int(figures["bad_records"]), "refused")
    )
    yield gauge("rides_newest_day_clusters", "Clusters of that day.").add(figures["clusters"])
    summaries = gauge("rides_newest_day_summaries", "Summaries of that day.", "status")
    for status in ("summarized", "deferred", "failed"):
        summaries.add(figures[status], status)
    yield summaries
    yield gauge("rides_newest_day_unreadable_files", "Files that could not be read.").add(
        figures["unreadable_files"]
    )
    yield gauge(
        "rides_newest_day_drifted", "Figures of that day that differ from the days before."
    ).add(len(figures["drifted"]))
    yield gauge(
        "rides_report_age_seconds", "Since the end of the newest day that has a report."
    ).add(max(0.0, age_s))
