"""ride_report: the row for dashboards and the pages, whatever the files and models say."""

import re
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

from rag_platform.defs.plots import png
from rag_platform.rides.pages import Report, html_page, markdown_page
from rag_platform.rides.pipeline import Rides
from rag_platform.rides.report import report_schema
from rag_platform.rides.tables import REPORT, DayMissing
from rag_platform_tests.rides.location import DAY, RidesLocation, ride

HOSTILE = (
    "<script>alert(1)</script> | `x` [link](http://evil.test) ![i](http://evil.test/i.png) "
    "www.evil.test *b* _i_ \"q\" 'q'"
)


def run(rides: Rides, location: RidesLocation, day: str = DAY) -> Report:
    rides.run_raw(day)
    rides.run_clusters(day)
    rides.run_summaries(day)
    return rides.run_report(day, location.image)


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(location: RidesLocation) -> Report:
    """Five hundred usual rides, one that stands still, and hostile texts everywhere."""
    usual = [
        ride(n, f"{DAY}T{n % 24:02}:00:00Z", distance_km=5 + n % 7, duration_s=900 + 60 * (n % 11))
        for n in range(500)
    ]
    texts = dict.fromkeys(["pickup_zone", "dropoff_zone", "weather", "traffic", "news"], HOSTILE)
    odd = [
        ride(900 + n, duration_s=40_000 + n, ride_id=HOSTILE + str(n), **texts) for n in range(2)
    ]
    bad = [ride(950, distance_km=-1)]
    location.write_lines("<b>x</b>.jsonl", [*usual, *odd, *bad])
    return run(location.rides(), location)


def test_hostile_texts_stay_texts_in_html(hostile: Report) -> None:
    page = Page(html_page(hostile))
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "figure", "img"}
    allowed |= {"figcaption", "table", "tr", "td", "th"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert {a["src"][:22] for tag, a in page.tags if tag == "img"} == {"data:image/png;base64,"}
    assert not any(name.startswith("on") or name == "href" for _, a in page.tags for name in a)
    policies = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "<script>alert(1)</script> | `x` [link](http://evil.test)" in page.text
    assert "<b>x</b>.jsonl#503" in page.text


def test_hostile_texts_stay_texts_in_markdown(hostile: Report) -> None:
    page = markdown_page(hostile)
    assert "<script" not in page
    assert "<b>" not in page
    assert "http://" not in page
    assert "www.evil" not in page
    assert re.findall(r"!\[[^\]]*\]\(([^)]{0,22})", page) == ["data:image/png;base64,"] * 2
    assert "&#60;script&#62;alert(1)" in page
    rows = [line for line in page.splitlines() if line.startswith("| 0.")]
    assert len(rows) == 2
    assert all(line.count("|") == 10 for line in rows)


def test_what_the_report_says(location: RidesLocation) -> None:
    location.simulate(count=3_000)
    location.write_lines("more.jsonl", [ride(1, distance_km=-1), ride(2, duration_s=0)])
    report = run(location.rides(max_summaries=3), location)
    assert report.raw.bad == 2
    assert report.clusters.rides == 3_000
    assert 3 <= report.clusters.anomalies <= 60
    assert len(report.worst) == 3
    assert [row["score"] for row in report.worst] == sorted(
        (row["score"] for row in report.worst), reverse=True
    )
    text = (location.storage / f"rides/reports/{DAY}.md").read_text(encoding="utf-8")
    assert text == markdown_page(report)
    assert text.startswith("# Rides of Wednesday, 2026-06-10\n")
    assert "| rides | 3,000 |" in text
    assert "| unusable records | 2 (0.07%) |" in text
    assert "| range&#95;distance&#95;km | 1 |" in text
    assert "no model was asked" in text
    assert "No days before to compare with" in text
    assert list(report.images) == ["Distance against duration", "Pickups"]
    assert (location.storage / f"rides/reports/{DAY}.html").read_text() == html_page(report)


def test_the_row_for_dashboards(location: RidesLocation) -> None:
    location.simulate(count=3_000)
    rides = location.rides(max_summaries=3)
    report = run(rides, location)
    table = rides.tables.read(REPORT, date.fromisoformat(DAY))
    assert table.schema.equals(report_schema())
    [row] = table.to_pylist()
    assert (row["rides"], row["bad_records"], row["summarized"]) == (3_000, 0, 3)
    assert row["anomalies"] == report.clusters.anomalies
    assert row["anomaly_share"] == report.clusters.anomalies / 3_000
    assert 500 < row["median_duration_s"] < 900
    assert (row["max_ks"], row["max_psi"], row["drifted"]) == (None, None, [])


def test_drift_against_the_days_before(location: RidesLocation) -> None:
    before = "2026-06-09"
    location.simulate(before, count=1_000)
    slow = [
        ride(n, f"{DAY}T{n % 24:02}:10:00Z", distance_km=4 + n % 3, duration_s=3_000 + n)
        for n in range(500)
    ]
    location.write_lines(f"{DAY}.jsonl", slow)
    rides = location.rides()
    rides.run_raw(before)
    report = run(rides, location)
    assert report.compared_with == [date(2026, 6, 9)]
    assert {"duration_s", "speed_kmh"} <= {s.figure for s in report.shifts if s.drifted}
    [row] = rides.tables.read(REPORT, date.fromisoformat(DAY)).to_pylist()
    assert row["max_ks"] > 0.9
    assert "duration_s" in row["drifted"]
    assert "Unlike the days before: " in markdown_page(report)


def test_a_day_without_rides(location: RidesLocation) -> None:
    rides = location.rides()
    report = run(rides, location)
    assert (report.clusters.rides, report.images, report.worst) == (0, {}, [])
    assert location.images == 0
    page = Page(html_page(report))
    assert "No file has a usable ride of this day." in page.text
    [row] = rides.tables.read(REPORT, date.fromisoformat(DAY)).to_pylist()
    assert (row["rides"], row["anomaly_share"], row["median_distance_km"]) == (0, 0.0, None)


def test_a_day_whose_rides_have_no_times(location: RidesLocation) -> None:
    usual = [f"{5 + n % 7},{900 + 60 * (n % 11)},rain\n" for n in range(300)]
    odd = "6,40000,rain\n"
    location.write(f"{DAY}.csv", "distance,duration,weather\n" + "".join(usual) + odd)
    rides = location.rides()
    for other in ("2026-06-08", "2026-06-09"):
        location.simulate(other, count=300)
        rides.run_raw(other)
    report = run(rides, location)
    assert (report.clusters.rides, report.clusters.anomalies) == (301, 1)
    assert "hour" not in {shift.figure for shift in report.shifts}
    assert {"distance_km", "duration_s"} <= {shift.figure for shift in report.shifts}
    [row] = [line for line in markdown_page(report).splitlines() if line.startswith("| 0.")]
    assert row.split(" | ")[1:4] == ["", "6.00", "666.7"]
    assert "6 km in 666.67 min (0.54 km/h). Took 11.1 h" in row


def test_figures_that_no_city_has_are_doubted(location: RidesLocation) -> None:
    records = [ride(n, duration_s=None, duration=15 + n % 9) for n in range(30)]  # minutes
    location.write_lines("a.jsonl", records)
    page = markdown_page(run(location.rides(), location))
    assert "&gt; " not in page
    assert "> **Half of the rides are faster than 1,1" in page
    assert "are the units those of the columns' names" in page


def test_labels_are_told_the_most_frequent_first(location: RidesLocation) -> None:
    location.simulate(count=3_000)
    report = run(location.rides(), location)
    counts = list(report.clusters.why.values())
    assert len(counts) > 2
    assert counts == sorted(counts, reverse=True)
    first = next(iter(report.clusters.why.items()))
    assert f": {first[1]} {first[0]}, " in Page(html_page(report)).text


def test_a_report_needs_the_stages_before(location: RidesLocation) -> None:
    rides = location.rides()
    rides.run_raw(DAY)
    with pytest.raises(DayMissing, match="run ride_clusters of that day first"):
        rides.run_report(DAY, location.image)


def test_where_the_page_is(location: RidesLocation) -> None:
    rides = location.rides()
    path = rides.report_url(date.fromisoformat(DAY))
    assert path == f"{location.storage}/rides/reports/{DAY}.html"


@pytest.mark.parametrize("kind", ["map", "bars", "nothing"])
def test_charts_are_drawn(location: RidesLocation, kind: str) -> None:
    place: dict[str, dict[str, Any]] = {
        "map": {"pickup_lon": 9.5, "pickup_lat": 48.5},
        "bars": {"pickup_zone": "$A$ <b>"},
    }
    records = [
        ride(n, f"{DAY}T{n % 24:02}:00:00Z", distance_km=n % 9, duration_s=600 + 50 * (n % 13))
        | place.get(kind, {})
        for n in range(300)
    ]
    location.write_lines("a.jsonl", records)
    rides = location.rides()
    for run_stage in (rides.run_raw, rides.run_clusters, rides.run_summaries):
        run_stage(DAY)
    report = rides.run_report(DAY, lambda draw: str(png(draw).value)[len("![plot](") : -1])
    expected = ["Distance against duration", *(["Pickups"] if kind != "nothing" else [])]
    assert list(report.images) == expected
    assert all(uri.startswith("data:image/png;base64,iVBOR") for uri in report.images.values())
