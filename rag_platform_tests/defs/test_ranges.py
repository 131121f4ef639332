"""Runs over several windows leave what single runs leave; locations of several sources load."""

import io
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from rag_platform.defs.operations.launch import INDEX_STAGES, STAGES
from rag_platform.defs.shared import WINDOWS_PER_RUN
from rag_platform_tests.defs.location import INDEX, SMALL_CHUNKS, SOURCE, Location

DAYS = [f"2026-06-{day:02}" for day in range(1, 6)]
# Each day's folder: what is dated into its window, so that one listing fills five pages.
HISTORY = {
    "2026-06-01": ["# One\n\nThe first text.\n", "# Two\n\nThe second text.\n"],
    "2026-06-02": ["# Three\n\nA third text, longer than the others.\n"],
    "2026-06-04": ["# Four\n\nThe first text.\n", "# Two\n\nThe second text.\n"],
    "2026-06-05": ["# Five\n\nThe last text.\n"],
}


def make(home: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Location:
    """A location over a history that is dated by its paths."""
    location = Location(home, monkeypatch)
    location.folder = folder
    location.configure(source={"dated_by": "path"})
    return location


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "dated"
    for day, texts in HISTORY.items():
        (root / day).mkdir(parents=True)
        for number, text in enumerate(texts):
            path = root / day / f"{number}.md"
            path.write_text(text, encoding="utf-8")
            os.utime(path, (1_780_000_000, 1_780_000_000))
    return root


def pages(location: Location) -> dict[str, list[dict[str, Any]]]:
    """The rows of every part by window and stage, without what tells one run from another."""
    found: dict[str, list[dict[str, Any]]] = {}
    with location.platform() as platform:
        for batch in platform.objects.list(prefix="pages"):
            for meta in batch:
                content = bytes(platform.objects.get(meta["path"]).bytes())
                name = meta["path"].rsplit("-", 1)[0]
                found[name] = pq.read_table(io.BytesIO(content)).to_pylist()
    return found


def test_range_run_leaves_what_single_runs_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    ranged = make(tmp_path / "ranged", monkeypatch, folder)
    of_range = ranged.run(DAYS[0], DAYS[-1])
    assert of_range.success
    left = ranged.contents(), pages(ranged)

    single = make(tmp_path / "single", monkeypatch, folder)
    of_day = {day: single.run(day) for day in DAYS}
    assert all(outcome.success for outcome in of_day.values())
    assert (single.contents(), pages(single)) == left
    texts = sorted(text.strip() for day in HISTORY.values() for text in day)
    assert sorted(point["text"] for point in left[0].values()) == texts

    for day in DAYS:
        for stage in STAGES:
            assert of_range.metadata(stage, day) == of_day[day].metadata(stage, day)
    cleaned = [of_range.metadata("clean_docs", day)["cleaned"] for day in DAYS]
    assert cleaned == [2, 1, 0, 2, 1]
    inserted = [of_range.metadata("vector_index", day, INDEX)["documents"] for day in DAYS]
    assert inserted == [2, 1, 0, 2, 1]
    chunks = [of_range.metadata("chunks", day, INDEX)["chunks"] for day in DAYS]
    assert chunks == [2, 1, 0, 2, 1]


def test_outcome_bars_and_dead_letters_stand_in_the_metadata(location: Location) -> None:
    for number in range(6):
        location.write(f"{number}.md", f"# Number {number}\n\nSome text.\n")
    location.write("evil|<img src=x>.pdf", "no PDF at all")
    found = location.run(DAYS[0]).metadata("clean_docs", DAYS[0])
    assert found["outcomes"].splitlines() == [
        "| outcome | count |  |",
        "| --- | --- | --- |",
        "| inserted | 6 | " + 24 * "█" + " |",
        "| dead&#95;lettered | 1 | ████ |",
    ]
    assert found["documents"] == 7
    row = found["dead letter list"].splitlines()[2]
    assert row.startswith("| evil&#124;&#60;img src=x&#62;.pdf | parsed&#95;docs | ")


def test_backfills_run_in_batches(location: Location) -> None:
    location.configure(source={"cadence": "hourly"})
    hourly = {asset.backfill_policy for asset in location.defs.assets}
    location.configure()
    daily = {asset.backfill_policy for asset in location.defs.assets}
    assert hourly == {dg.BackfillPolicy.multi_run(24)}
    assert daily == {dg.BackfillPolicy.multi_run(7)}
    assert WINDOWS_PER_RUN == {"daily": 7, "hourly": 24}


def test_several_sources_and_indexes_share_a_location(location: Location, tmp_path: Path) -> None:
    tree = yaml.safe_load((location.home / "platform.yaml").read_text(encoding="utf-8"))
    tree["sources"]["news"] = {
        "url": str(location.folder),
        "cadence": "hourly",
        "start": "2026-06-01T05:00:00Z",
    }
    second = {"chunker": {"max_tokens": 40, "overlap": 0}, "embedder": "wordllama"}
    location.configure(indexes={INDEX: SMALL_CHUNKS, "docs_v2": second}, sources=tree["sources"])
    graph = location.defs.resolve_asset_graph()
    expected = {
        dg.AssetKey(path)
        for source in (SOURCE, "news")
        for path in (
            *([source, stage] for stage in STAGES),
            *([source, i, stage] for i in (INDEX, "docs_v2") for stage in INDEX_STAGES),
        )
    }
    assert graph.get_all_asset_keys() == expected
    first = {
        source: graph.get(
            dg.AssetKey([source, "raw_docs"])
        ).partitions_def.get_first_partition_key()
        for source in (SOURCE, "news")
    }
    assert first == {SOURCE: "2026-06-01", "news": "2026-06-01-05:00"}
    assert len(graph.asset_check_keys) == 2 * (4 + 2 * 4)
    names = {job.name for job in location.defs.resolve_all_job_defs()}
    assert {"manuals_documents", "news_documents", "reconcile"} <= names
    dg.Definitions.validate_loadable(location.defs)

    location.write("a.md", "# Alpha\n\nA red apple.\n")
    assert location.run(DAYS[0], indexes=[INDEX, "docs_v2"]).success
    job = location.defs.resolve_job_def("news_documents")
    result = job.execute_in_process(
        instance=location.instance, partition_key="2026-06-01-05:00", raise_on_error=False
    )
    assert result.success
    for index in (INDEX, "docs_v2"):
        sources = sorted(point["source"] for point in location.contents(index).values())
        assert sources == [SOURCE, "news"]


def test_the_running_window_is_part_of_the_calendar(location: Location) -> None:
    graph = location.defs.resolve_asset_graph()
    keys = graph.get(dg.AssetKey([SOURCE, "raw_docs"])).partitions_def.get_partition_keys()
    with location.platform() as platform:
        assert keys[-1] == platform.calendar(SOURCE).current()
    assert date.fromisoformat(keys[1]) - date.fromisoformat(keys[0]) == timedelta(days=1)
