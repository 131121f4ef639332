"""The report as pages: Markdown and HTML. Whatever comes from files or models is escaped."""

import html
from collections.abc import Iterator, Sequence
from typing import Any

from rag_platform.rides.letters import shown
from rag_platform.rides.report import Report

_CELL = 1_000
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;"
    "color:#222}table{border-collapse:collapse;margin:.6rem 0 1.6rem}td,th{border-bottom:1px solid "
    "#ddd;padding:.3rem .7rem;text-align:left;vertical-align:top}th{color:#555;font-weight:600}"
    "img{max-width:100%}.warn{background:#fdecea;padding:.6rem 1rem}"
)
# The page loads nothing and runs nothing, whatever it says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_INERT = str.maketrans({character: f"&#{ord(character)};" for character in "&\\`*_[]<>|!#~@"})

Section = tuple[str, list[str], list[list[Any]]]


def markdown_page(report: Report) -> str:
    """The report as Markdown; images are data: URIs."""
    lines = [f"# {_title(report)}", ""]
    lines += [line for warning in _warnings(report) for line in (f"> **{_md(warning)}**", "")]
    for caption, uri in report.images.items():
        lines += [f"![{_md(caption)}]({uri})", ""]
    for heading, header, rows in _sections(report):
        lines += [f"## {_md(heading)}", "", *_md_table(header, rows), ""]
    return "\n".join([*lines, _footer(report), ""])


def html_page(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{_html(_title(report))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_html(_title(report))}</h1>",
        *(f'<p class="warn">{_html(warning)}</p>' for warning in _warnings(report)),
        *(
            f'<figure><img src="{html.escape(uri)}" alt="{_html(caption)}">'
            f"<figcaption>{_html(caption)}</figcaption></figure>"
            for caption, uri in report.images.items()
        ),
    ]
    for heading, header, rows in _sections(report):
        parts += [f"<h2>{_html(heading)}</h2>", *_html_table(header, rows)]
    return "\n".join([*parts, f"<p>{_html(_footer(report))}</p>", "</body></html>", ""])


# What the report says


def _title(report: Report) -> str:
    return f"Rides of {report.day:%A}, {report.day.isoformat()}"


def _warnings(report: Report) -> Iterator[str]:
    if not report.clusters.rides:
        yield "No file has a usable ride of this day."
    if report.raw.unreadable_files:
        yield f"{report.raw.unreadable_files:,} files could not be read to their end; see below."
    if drifted := [shift.figure for shift in report.shifts if shift.drifted]:
        yield f"Unlike the days before: {', '.join(drifted)}."
    if waiting := report.summaries["deferred"]:
        yield f"{waiting:,} summaries wait for budget or service; a later run writes them."


def _sections(report: Report) -> Iterator[Section]:
    yield "Figures", ["", ""], list(_figures(report))
    why = [[label, f"{count:,}"] for label, count in report.clusters.why.items()]
    yield "Why rides are anomalous", ["label", "rides"], why
    yield (
        f"Worst anomalous rides (summaries {report.method})",
        ["score", "started", "km", "min", "km/h", "from", "to", "why", "summary"],
        [_ride(ride, report) for ride in report.worst],
    )
    yield "Busiest zones", ["pickup", "rides", "anomalous"], [list(row) for row in report.zones]
    yield (
        _compared(report),
        ["figure", "before (median)", "this day", "KS distance", "PSI", "p", "drifted"],
        [_shift(shift) for shift in report.shifts],
    )
    reasons = [[reason, f"{count:,}"] for reason, count in report.raw.reasons.items()]
    yield "Unusable records by reason", ["reason", "records"], reasons
    yield (
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


def _ride(ride: dict[str, Any], report: Report) -> list[Any]:
    from zoneinfo import ZoneInfo

    started = ride["started_at"].astimezone(ZoneInfo(report.timezone))
    return [
        f"{ride['score']:.3f}",
        f"{started:%H:%M}",
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


def _shift(shift: Any) -> list[str]:
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
    yield "<table><tr>" + "".join(f"<th>{_html(name)}</th>" for name in header) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>"
    yield "</table>"


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
