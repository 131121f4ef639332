"""Quality gates of the rides, as asset checks over all days of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from rag_platform.defs.documents.checks import Gate

if TYPE_CHECKING:
    from rag_platform.rides.clusters import ClusterFigures
    from rag_platform.rides.pages import Report
    from rag_platform.rides.raw import RawFigures
    from rag_platform.rides.summaries import SummaryFigures

GROUP = "rides"
_WARN = dg.AssetCheckSeverity.WARN

CONSERVED = Gate(
    "records_are_conserved",
    "raw_rides",
    True,
    "Every record of the files is a ride of the day, a bad one, or of another day.",
)
USABLE = Gate(
    "bad_share_is_in_bounds",
    "raw_rides",
    False,
    "Every file could be read, and no more records are bad than rides.max_bad_share.",
)
ARRIVED = Gate("day_has_rides", "raw_rides", False, "The files have rides of the day.", _WARN)
ANOMALIES = Gate(
    "anomaly_share_is_in_bounds",
    "ride_clusters",
    False,
    "No more rides are anomalous than rides.max_anomaly_share.",
)
ACCOUNTED = Gate(
    "anomalies_are_accounted_for",
    "ride_summaries",
    False,
    "Every anomalous ride within rides.max_summaries has a summary or a reason why not.",
)
DEFERRED = Gate(
    "no_summary_is_deferred", "ride_summaries", False, "No summary waits for another run.", _WARN
)
DRIFT = Gate(
    "rides_are_like_before",
    "ride_report",
    False,
    "The day's figures are distributed as in the days before.",
    _WARN,
)


def conserved(days: "Mapping[str, RawFigures]") -> dg.AssetCheckResult:
    """Records against rides as stored, bad records and those of other days."""
    problems = [
        f"{day}: {found.records:,} records, but {found.rides:,} rides, {found.bad:,} bad and "
        f"{found.other_days:,} of other days; run this day again"
        for day, found in days.items()
        if not found.conserved
    ]
    return _result(CONSERVED, problems)


def usable(days: "Mapping[str, RawFigures]", max_share: float) -> dg.AssetCheckResult:
    """The share of bad records of each day, and files that could not be read."""
    problems = []
    for day, found in days.items():
        if found.unreadable_files:
            problems.append(
                f"{day}: files that cannot be read to their end: {found.unreadable_files:,}"
            )
        if found.bad_share > max_share:
            problems.append(
                f"{day}: {found.bad:,} of {found.bad + found.rides:,} records are bad, over the "
                f"share of {max_share:.0%}"
            )
    advice = "See the dead letters in the metadata; correct the files or raise rides.max_bad_share"
    return _result(USABLE, problems, advice)


def arrived(days: "Mapping[str, RawFigures]") -> dg.AssetCheckResult:
    """Days without a single ride."""
    empty = [day for day, found in days.items() if not found.rides]
    advice = "Its files may be late: the day runs again when they come"
    return _result(ARRIVED, [f"{day}: no ride" for day in empty], advice)


def anomalies(days: "Mapping[str, ClusterFigures]", max_share: float) -> dg.AssetCheckResult:
    """The share of anomalous rides of each day."""
    problems = [
        f"{day}: {found.anomalies:,} of {found.rides:,} rides are anomalous, over the share of "
        f"{max_share:.0%}"
        for day, found in days.items()
        if found.anomaly_share > max_share
    ]
    advice = "Look at the report for what they share, or raise rides.max_anomaly_share"
    return _result(ANOMALIES, problems, advice)


def accounted(days: "Mapping[str, SummaryFigures]") -> dg.AssetCheckResult:
    """Anomalous rides against summaries, waiting ones, failures and those beyond the cap."""
    problems = [
        f"{day}: {found.anomalies:,} anomalous rides, but {told:,} accounted for; run "
        "ride_summaries of this day again"
        for day, found in days.items()
        if (told := found.summarized + found.deferred + found.failed + found.beyond_cap)
        != found.anomalies
        or found.unexplained
    ]
    return _result(ACCOUNTED, problems)


def deferred(days: "Mapping[str, SummaryFigures]") -> dg.AssetCheckResult:
    """Summaries that wait for the budget or the service."""
    problems = [
        f"{day}: {found.deferred:,} summaries wait" for day, found in days.items() if found.deferred
    ]
    advice = "The next morning's run takes them; raise llm.budget, or run again after 00:00 UTC"
    return _result(DEFERRED, problems, advice)


def drift(days: "Mapping[str, Report]") -> dg.AssetCheckResult:
    """Figures of each day that are not as before."""
    problems = []
    for day, report in days.items():
        told = [
            f"{shift.figure} (KS {shift.distance or 0:.2f}, PSI {shift.psi:.2f})"
            for shift in report.shifts
            if shift.drifted
        ]
        if told:
            problems.append(f"{day}: {', '.join(told)}")
    return _result(DRIFT, problems, "See the report for what changed")


def _result(gate: Gate, problems: list[str], advice: str = "") -> dg.AssetCheckResult:
    text = "; ".join(problems[:5])
    return gate.result(GROUP, f"{text}. {advice}".strip(" .") if problems else None)
