"""The report as pages: Markdown and HTML. Whatever comes from files or models is escaped."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from rag_platform.rides.clusters import ClusterFigures
from rag_platform.rides.drift import Shift
from rag_platform.rides.raw import RawFigures
from rag_platform.storage.letters import Letter, shown

_CELL = 1_000
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;"
    "color:#222}table{border-collapse:collapse;margin:.6rem 0 1.6rem}td,th{border-bottom:1px solid "
    "#ddd;padding:.3rem .7rem;text-align:left;vertical-align:top}th{color:#555;font-weight:600}"
    "th.n,td.n{text-align:right}figure{margin:1rem 0}img{max-width:100%}"
    ".warn{background:#fdecea;padding:.6rem 1rem}"
)
# The page loads nothing and runs nothing, whatever it says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_INERT = str.maketrans({character: f"&#{ord(character)};" for character in "&\\`*_[]<>|!#~@"})

Row = dict[str, Any]

# A column of such cells is set to the right.
_NUMBER = re.compile(r"-?[\d,]*(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the pages say.

    `images` are data: URIs by their caption; `doubt` is what is to be said of the rides' units.
    """

    day: date
    timezone: str
    raw: RawFigures
    clusters: ClusterFigures
    medians: dict[str, float | None]
    summaries: Row
    worst: list[Row]
    zones: list[tuple[str, int, int]]
    shifts: list[Shift]
    compared_with: list[date]
    letters: list[Letter]
    images: dict[str, str]
    doubt: str | None = None

    @property
    def method(self) -> str:
        """Who wrote the summaries."""
        if self.summaries["method"] == "extractive":
            return "extractive: put together from the figures by a template, no model was asked"
        return "written by a language model from the figures of the ride, not checked by a person"


class _Section(NamedTuple):
    """A heading, the header and the rows of a table, and what is to be known of it."""

    heading: str
    header: list[str]
    rows: list[list[Any]]
    note: str = ""


def markdown_page(report: Report) -> str:
    """The report as Markdown; images are data: URIs."""
    lines = [f"# {_title(report)}", "", _md(_lead(report)), ""]
    lines += [line for warning in _warnings(report) for line in (f"> **{_md(warning)}**", "")]
    for caption, uri in report.images.items():
        lines += [f"![{_md(caption)}]({uri})", ""]
    for section in _sections(report):
        lines += [f"## {_md(section.heading)}", ""]
        if section.note:
            lines += [_md(section.note), ""]
        lines += [*_md_table(section.header, section.rows), ""]
    return "\n".join([*lines, _footer(report), ""])


def html_page(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{_html(_title(report))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_html(_title(report))}</h1>",
        f"<p>{_html(_lead(report))}</p>",
        *(f'<p class="warn">{_html(warning)}</p>' for warning in _warnings(report)),
        *(
            f'<figure><img src="{html.escape(uri)}" alt="{_html(caption)}">'
            f"<figcaption>{_html(caption)}</figcaption></figure>"
            for caption, uri in report.images.items()
        ),
    ]
    for section in _sections(report):
        parts.append(f"<h2>{_html(section.heading)}</h2>")
        if section.note:
            parts.append(f"<p>{_html(section.note)}</p>")
        parts += _html_table(section.header, section.rows)
    return "\n".join([*parts, f"<p>{_html(_footer(report))}</p>", "</body></html>", ""])


# What the report says


def _title(report: Report) -> str:
    return f"Rides of {report.day:%A}, {report.day.isoformat()}"


def _lead(report: Report) -> str:
    found = report.clusters
    told = f"{found.rides:,} rides, {found.anomalies:,} of them anomalous"
    if not found.why:
        return f"{told}."
    labels = ", ".join(f"{count:,} {label}" for label, count in found.why.items())
    return f"{told} ({found.anomaly_share:.2%}): {labels}. A ride may have several labels."


def _warnings(report: Report) -> Iterator[str]:
    if not report.clusters.rides:
        yield "No file has a usable ride of this day."
    if report.doubt:
        yield f"{report.doubt[:1].upper()}{report.doubt[1:]}"
    if broken := report.raw.unreadable_files:
        yield f"Files that could not be read to their end: {broken:,}; see below."
    if drifted := [shift.figure for shift in report.shifts if shift.drifted]:
        yield f"Unlike the days before: {', '.join(drifted)}."
    if waiting := report.summaries["deferred"]:
        yield f"Summaries that wait for budget or service: {waiting:,}; a later run writes them."


def _sections(report: Report) -> Iterator[_Section]:
    yield _Section("Figures", ["", ""], list(_figures(report)))
    yield _Section(
        "Worst anomalous rides",
        ["score", "started", "km", "min", "km/h", "from", "to", "why", "summary"],
        [_ride(ride, report) for ride in report.worst],
        f"Summaries are {report.method}." if report.worst else "",
    )
    zones = [[zone, f"{rides:,}", f"{odd:,}"] for zone, rides, odd in report.zones]
    yield _Section("Busiest zones", ["pickup", "rides", "anomalous"], zones)
    yield _Section(
        _compared(report),
        ["figure", "before (median)", "this day", "KS distance", "PSI", "p", "drifted"],
        [_shift(shift) for shift in report.shifts],
    )
    reasons = [[reason, f"{count:,}"] for reason, count in report.raw.reasons.items()]
    yield _Section("Unusable records by reason", ["reason", "records"], reasons)
    yield _Section(
        "First dead letters",
        ["file and record", "reason", "detail"],
        [[letter.item, letter.reason, letter.detail] for letter in report.letters],
    )


def _figures(report: Report) -> Iterator[list[str]]:
    raw, found, medians = report.raw, report.clusters, report.medians
    yield ["rides", f"{found.rides:,}"]
    yield ["anomalous", f"{found.anomalies:,} ({found.anomaly_share:.2%})"]
    yield ["clusters", f"{found.clusters:,}"]
    yield ["files looked at", f"{raw.files:,}"]
    yield ["unusable records", f"{raw.bad:,} ({raw.bad_share:.2%})"]
    yield ["records of other days", f"{raw.other_days:,}"]
    yield ["median distance", _with(medians["distance_km"], "km")]
    seconds = medians["duration_s"]
    yield ["median duration", _with(None if seconds is None else seconds / 60, "min")]
    yield ["median speed", _with(medians["speed_kmh"], "km/h")]
    yield ["median fare", _with(medians["fare"], "")]
    told = report.summaries
    yield [
        "summaries",
        f"{told['summarized']:,} written, {told['deferred']:,} waiting, {told['failed']:,} failed, "
        f"{told['beyond_cap']:,} rides beyond the cap",
    ]


def _ride(ride: Row, report: Report) -> list[Any]:
    from zoneinfo import ZoneInfo

    started = ride["started_at"]
    return [
        f"{ride['score']:.3f}",
        f"{started.astimezone(ZoneInfo(report.timezone)):%H:%M}" if started else "",
        f"{ride['distance_km']:.2f}",
        f"{ride['duration_s'] / 60:.1f}",
        f"{ride['speed_kmh']:.1f}",
        ride["pickup_zone"],
        ride["dropoff_zone"],
        ", ".join(ride["why"] or []),
        ride["summary"] or f"none ({ride['status']}: {ride['no_summary']})",
    ]


def _compared(report: Report) -> str:
    days = [day.isoformat() for day in report.compared_with]
    return f"Against {', '.join(days)}" if days else "No days before to compare with"


def _shift(shift: Shift) -> list[str]:
    return [
        shift.figure,
        _with(shift.before, ""),
        _with(shift.now, ""),
        "" if shift.distance is None else f"{shift.distance:.3f}",
        f"{shift.psi:.3f}",
        f"{shift.p:.2g}",
        "yes" if shift.drifted else "no",
    ]


def _footer(report: Report) -> str:
    return (
        f"Times in {report.timezone}. Anomalous rides belong to no cluster; their score runs from "
        "0.5 to 1. All rows: rides/ride_clusters and rides/ride_summaries, "
        f"date={report.day.isoformat()}."
    )


def _with(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.2f} {unit}".strip()


# How it is written


def _cell(value: Any) -> str:
    return shown("" if value is None else str(value), _CELL)


def _html(value: Any) -> str:
    return html.escape(_cell(value))


def _html_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if not rows:
        yield "<p>None.</p>"
        return
    columns = zip(*([_cell(cell) for cell in row] for row in rows), strict=True)
    kinds = [' class="n"' if all(map(_NUMBER.fullmatch, cells)) else "" for cells in columns]
    yield f"<table>{_html_row('th', header, kinds)}"
    for row in rows:
        yield _html_row("td", row, kinds)
    yield "</table>"


def _html_row(tag: str, cells: Sequence[Any], kinds: Sequence[str]) -> str:
    pairs = zip(cells, kinds, strict=True)
    return "<tr>" + "".join(f"<{tag}{kind}>{_html(cell)}</{tag}>" for cell, kind in pairs) + "</tr>"


def _md(value: Any) -> str:
    # Nothing may become markup, nor an address a link by itself.
    return _cell(value).translate(_INERT).replace("://", "&#58;//").replace("www.", "www&#46;")


def _md_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if not rows:
        yield "None."
        return
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield "| " + " | ".join(_md(cell) for cell in row) + " |"
