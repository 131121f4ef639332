"""ride_report: what a person reads about a day in the morning, and its figures for dashboards."""

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from rag_platform.rides import charts, drift
from rag_platform.rides.clusters import ClusterFigures
from rag_platform.rides.days import Days
from rag_platform.rides.drift import Shift
from rag_platform.rides.pages import Report, Row, html_page, markdown_page
from rag_platform.rides.raw import RawFigures
from rag_platform.rides.tables import CLUSTERS, RAW, REPORT, SUMMARIES, DayTables, report_path
from rag_platform.rides.validation import doubtful_units
from rag_platform.storage.letters import WindowLetters

if TYPE_CHECKING:
    import pyarrow as pa

# Rides and letters that the report lists; the tables hold them all.
MAX_WORST = 50
MAX_LETTERS = 20

# Makes a PNG as a data: URI of what a function draws.
Image = Callable[[charts.Draw], str]

_MEDIANS = ("distance_km", "duration_s", "speed_kmh", "fare")


def report_schema() -> "pa.Schema":
    """The columns of `ride_report`: one row for the day.

    Medians are those of all rides; `max_psi` and `max_ks` are the largest of the day's figures
    against the days before, null without any; `drifted` names those that have drifted.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("rides", pa.int64()),
            ("bad_records", pa.int64()),
            ("unreadable_files", pa.int64()),
            ("clusters", pa.int64()),
            ("anomalies", pa.int64()),
            ("anomaly_share", pa.float64()),
            ("summarized", pa.int64()),
            ("deferred", pa.int64()),
            ("failed", pa.int64()),
            *((f"median_{name}", pa.float64()) for name in _MEDIANS),
            ("max_ks", pa.float64()),
            ("max_psi", pa.float64()),
            ("drifted", pa.list_(pa.string())),
        ]
    )


class RideReport:
    """Writes the report of a day."""

    def __init__(self, *, days: Days, tables: DayTables, letters: WindowLetters) -> None:
        self._days = days
        self._tables = tables
        self._letters = letters

    def run(self, key: str, image: Image) -> Report:
        """Put a day together and replace its pages and its row.

        Raises `DayMissing`, `UnknownDay`.
        """
        report = self.of(self._days.check(key), image)
        day = report.day
        self._tables.put(report_path(day, "html"), html_page(report).encode())
        self._tables.put(report_path(day, "md"), markdown_page(report).encode())
        self._tables.write(REPORT, day, _row(report), {})
        return report

    def of(self, day: date, image: Image) -> Report:
        """The report of a day from the tables of the stages before. Raises `DayMissing`."""
        rides = self._tables.read(CLUSTERS, day)
        shifts, compared_with = self.shifts(day)
        return Report(
            day=day,
            timezone=self._days.zone.key,
            raw=RawFigures.of(self._tables.facts(RAW, day)),
            clusters=ClusterFigures.of(self._tables.facts(CLUSTERS, day)),
            medians=_medians(rides),
            summaries=self._tables.facts(SUMMARIES, day),
            worst=self._worst(day, rides),
            zones=charts.zones(rides)[: charts.MAX_BARS],
            shifts=shifts,
            compared_with=compared_with,
            letters=self._letters.of(RAW, day.isoformat())[:MAX_LETTERS],
            images=_images(rides, image),
            doubt=doubtful_units(rides),
        )

    def shifts(self, day: date) -> tuple[list[Shift], list[date]]:
        """How a day differs from those before, and which these are. Raises `DayMissing`."""
        columns = ["started_at", "distance_km", "duration_s", "speed_kmh", "fare", drift.ZONE]
        known = [
            other
            for other in self._days.before(day, drift.LOOK_BACK)
            if (facts := self._tables.known_facts(RAW, other)) and facts["rows"]
        ]
        compared = drift.like_days(day, known)
        samples = [
            drift.sample(self._tables.read(RAW, one, columns=columns), self._days.zone.key)
            for one in [day, *compared]
        ]
        return drift.shifts(samples[0], samples[1:]), compared

    def _worst(self, day: date, rides: Any) -> list[Row]:
        import pyarrow as pa

        written = self._tables.read(SUMMARIES, day).sort_by("rank").slice(0, MAX_WORST)
        wanted = written["ride_id"]
        found = rides.filter(pa.compute.is_in(rides["ride_id"], value_set=wanted.combine_chunks()))
        by_id = {ride["ride_id"]: ride for ride in found.to_pylist()}
        return [
            by_id[row["ride_id"]]
            | {name: row[name] for name in ("status", "summary")}
            | {"no_summary": row["reason"]}
            for row in written.to_pylist()
            if row["ride_id"] in by_id
        ]


def _medians(rides: Any) -> dict[str, float | None]:
    import pyarrow.compute as pc

    return {name: pc.approximate_median(rides[name]).as_py() for name in _MEDIANS}


def _images(rides: Any, image: Image) -> dict[str, str]:
    if not rides.num_rows:
        return {}
    drawn = {"Distance against duration": charts.scatter(rides), "Pickups": charts.places(rides)}
    return {caption: image(draw) for caption, draw in drawn.items() if draw is not None}


def _row(report: Report) -> "pa.Table":
    import pyarrow as pa

    shifts = report.shifts
    row = {
        "rides": report.clusters.rides,
        "bad_records": report.raw.bad,
        "unreadable_files": report.raw.unreadable_files,
        "clusters": report.clusters.clusters,
        "anomalies": report.clusters.anomalies,
        "anomaly_share": report.clusters.anomaly_share,
        **{name: report.summaries[name] for name in ("summarized", "deferred", "failed")},
        **{f"median_{name}": value for name, value in report.medians.items()},
        "max_ks": max(
            (shift.distance for shift in shifts if shift.distance is not None), default=None
        ),
        "max_psi": max((shift.psi for shift in shifts), default=None),
        "drifted": [shift.figure for shift in shifts if shift.drifted],
    }
    return pa.Table.from_pylist([row], schema=report_schema())
