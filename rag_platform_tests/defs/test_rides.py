"""The rides pipeline as Dagster runs it: the morning's run, late files, gates, and ranges."""

import json
import os
import subprocess
import sys
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from rag_platform.defs.resources import platform_resource
from rag_platform.defs.rides import checks
from rag_platform.defs.rides.definitions import rides
from rag_platform.defs.rides.factory import DAYS_PER_RUN, KEYS, STAGES
from rag_platform.platform import Platform
from rag_platform.rides.raw import RawFigures
from rag_platform.rides.simulation import simulate
from rag_platform.settings import Settings, load
from rag_platform_tests.defs.location import Outcome
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.test_architecture import HEAVY

ROOT = Path(__file__).resolve().parents[2]
DAY = "2026-06-10"


class RidesRuns:
    """Settings with rides over a folder, their definitions, and an instance."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = home / "rides"
        self.folder.mkdir()
        self.storage = home / "storage"
        self._config = home / "platform.yaml"
        self.instance = dg.DagsterInstance.ephemeral()
        monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(self._config))
        monkeypatch.setenv("RAG_PLATFORM_HOME", str(home / "state"))
        self.configure()

    def configure(self, *, more: dict[str, Any] | None = None, **rules: Any) -> None:
        """Write platform.yaml anew and load the definitions from it."""
        settings = {"url": str(self.folder), "start": "2026-06-01", **rules}
        tree = {"rides": settings, "storage": str(self.storage), **(more or {})}
        self._config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self.settings = load()
        self.defs = definitions(self.settings)

    def simulate(self, day: str = DAY, count: int = 1_500) -> None:
        """Put a simulated day into the folder."""
        table = simulate(date.fromisoformat(day), count, 1)
        pq.write_table(table, self.folder / f"{day}.parquet")

    def run(self, *days: str, stages: tuple[str, ...] = STAGES) -> Outcome:
        """Materialize stages of one day, or of the range between two."""
        first, last = days[0], days[-1]
        ranges = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        job = self.defs.resolve_job_def("rides")
        return Outcome(
            job.execute_in_process(
                instance=self.instance,
                partition_key=first if len(days) == 1 else None,
                tags=ranges if len(days) > 1 else {},
                asset_selection=[dg.AssetKey(["rides", stage]) for stage in stages],
                raise_on_error=False,
            )
        )

    def asked(self, moment: datetime) -> list[str]:
        """The days that the schedule asks for."""
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=moment,
            resources=self.defs.resources,
            repository_def=self.defs.get_repository_def(),
        ) as context:
            schedule = self.defs.get_schedule_def("rides_schedule")
            requests = schedule.evaluate_tick(context).run_requests or ()
        return [request.partition_key or "" for request in requests]

    def sensed(self, cursor: str | None = None) -> tuple[list[str], Any]:
        """The days that the sensor asks for, and its answer."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            resources=self.defs.resources,
            repository_def=self.defs.get_repository_def(),
        ) as context:
            found = self.defs.get_sensor_def("rides_late_files").evaluate_tick(context)
        return [request.partition_key or "" for request in found.run_requests or ()], found


def definitions(settings: Settings) -> dg.Definitions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(
            rides(settings),
            dg.Definitions(
                resources={"platform": platform_resource(settings)}, executor=dg.in_process_executor
            ),
        )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None) -> RidesRuns:
    return RidesRuns(tmp_path, monkeypatch)


def metadata(outcome: Outcome, stage: str, day: str = DAY) -> dict[str, Any]:
    [event] = [
        event
        for event in outcome.result.get_asset_materialization_events()
        if event.asset_key.path == ["rides", stage] and event.partition == day
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


# What there is


def test_without_rides_there_is_nothing(runs: RidesRuns) -> None:
    settings = runs.settings.model_copy(update={"rides": None})
    assert list(definitions(settings).assets or ()) == []
    assert list(rides(settings).sensors or ()) == []


def test_four_assets_by_local_days(runs: RidesRuns) -> None:
    runs.configure(timezone="America/New_York")
    dg.Definitions.validate_loadable(runs.defs)
    graph = runs.defs.resolve_asset_graph()
    assert graph.get_all_asset_keys() == set(KEYS)
    assert len(graph.asset_check_keys) == 7
    for key in KEYS:
        node = graph.get(key)
        assert node.group_name == "rides"
        assert node.backfill_policy == dg.BackfillPolicy.multi_run(DAYS_PER_RUN)
        window = node.partitions_def.time_window_for_partition_key(DAY)
        assert window.start.astimezone(UTC) == datetime(2026, 6, 10, 4, tzinfo=UTC)
        keys = node.partitions_def.get_partition_keys()
        with_platform = Platform(runs.settings)
        assert keys[0] == "2026-06-01"
        assert keys[-1] == with_platform.rides.days.yesterday().isoformat()
        with_platform.close()


def test_loading_imports_nothing_heavy(runs: RidesRuns) -> None:
    code = (
        "from rag_platform.defs.rides.definitions import rides\n"
        "from rag_platform.settings import load\n"
        "assert len(rides(load()).assets) == 4\n"
        "import json, sys\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert not set(json.loads(done.stdout.splitlines()[-1])) & (HEAVY | {"numpy"})


# A day


@pytest.mark.usefixtures("rendered")
def test_the_day_from_files_to_report(runs: RidesRuns) -> None:
    runs.simulate()
    (runs.folder / "bad|<img src=x>.jsonl").write_text(
        json.dumps({"started_at": DAY, "distance": -1, "duration": 60}), encoding="utf-8"
    )
    outcome = runs.run(DAY)
    assert outcome.success
    assert outcome.stages == list(STAGES)
    assert outcome.failed() == {}
    assert len(outcome.checks) == 7

    raw = metadata(outcome, "raw_rides")
    assert (raw["rides"], raw["files"], raw["bad records"]) == (1_500, 2, 1)
    row = raw["dead letters"].splitlines()[2]
    assert row.startswith("| bad&#124;&#60;img src=x&#62;.jsonl#1 | range&#95;distance&#95;km |")
    odd = metadata(outcome, "ride_clusters")["anomalous rides"]
    assert metadata(outcome, "ride_summaries")["summarized"] == min(odd, 50) > 0
    assert metadata(outcome, "ride_summaries")["method"] == "extractive"

    report = metadata(outcome, "ride_report")
    assert report["report"].startswith(f"# Rides of Wednesday, {DAY}\n")
    assert report["report"].count("](data:image/png;base64,iVBOR") == 2
    page = Path(report["page"])
    assert page == runs.storage / f"rides/reports/{DAY}.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "no model was asked" in report["summaries"]
    for stage, rows in {"raw_rides": 1_500, "ride_clusters": 1_500, "ride_report": 1}.items():
        assert len(pd.read_parquet(runs.storage / "rides" / stage)) == rows


def test_a_failed_second_half_does_not_cost_the_first(
    runs: RidesRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_platform.rides.pipeline import Rides

    runs.simulate()
    with monkeypatch.context() as patch:
        patch.setattr(Rides, "run_summaries", lambda *_: 1 / 0)
        broken = runs.run(DAY)
    assert not broken.success
    assert broken.stages == ["raw_rides", "ride_clusters"]
    for file in runs.folder.iterdir():
        file.unlink()
    rest = runs.run(DAY, stages=("ride_summaries", "ride_report"))
    assert rest.success
    assert metadata(rest, "ride_report")["rides"] == 1_500


def test_a_range_leaves_what_single_runs_leave(runs: RidesRuns) -> None:
    days = ["2026-06-08", "2026-06-09", DAY]
    for day in (days[0], days[2]):
        runs.simulate(day, 600)
    together = runs.run(days[0], days[-1])
    assert together.success
    left = {path: path.read_bytes() for path in runs.storage.rglob("*") if path.is_file()}
    told = {day: metadata(together, "ride_clusters", day) for day in days}
    assert [found["rides"] for found in told.values()] == [600, 0, 600]
    for day in days:
        single = runs.run(day)
        assert metadata(single, "ride_clusters", day) == told[day]
    assert {path: path.read_bytes() for path in runs.storage.rglob("*") if path.is_file()} == left


# Gates


def test_a_day_without_rides_is_a_warning(runs: RidesRuns) -> None:
    outcome = runs.run(DAY)
    assert outcome.success
    assert outcome.failed() == {
        "day_has_rides": f"{DAY}: no ride. Its files may be late: the day runs again when they come"
    }
    assert "No file has a usable ride of this day" in metadata(outcome, "ride_report")["report"]


def test_records_that_went_missing_fail_their_check() -> None:
    result = checks.conserved({DAY: RawFigures(1, 0, 6, 3, 1, 1, {"bad_record": 1})})
    assert not result.passed
    assert result.description == (
        f"{DAY}: 6 records, but 3 rides, 1 bad and 1 of other days; run this day again"
    )
    assert checks.conserved({DAY: RawFigures(1, 0, 5, 3, 1, 1, {})}).passed


def test_too_many_bad_records_fail_their_check(runs: RidesRuns) -> None:
    lines = [
        {"started_at": DAY, "distance": -1 if n < 3 else 5, "duration": 900} for n in range(10)
    ]
    (runs.folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (runs.folder / "b.parquet").write_bytes(b"nothing")
    outcome = runs.run(DAY)
    assert outcome.stages == list(STAGES)
    assert outcome.failed() == {
        "bad_share_is_in_bounds": f"{DAY}: files that cannot be read to their end: 1; {DAY}: 3 "
        "of 10 records are bad, over the share of 10%. See the dead letters in the metadata; "
        "correct the files or raise rides.max_bad_share"
    }
    runs.configure(max_bad_share=0.3)
    (runs.folder / "b.parquet").unlink()
    assert runs.run(DAY).failed() == {}


def test_too_many_anomalous_rides_fail_their_check(runs: RidesRuns) -> None:
    runs.simulate()
    runs.configure(max_anomaly_share=0.0)
    failed = runs.run(DAY).failed()
    assert list(failed) == ["anomaly_share_is_in_bounds"]
    assert (
        "of 1,500 rides are anomalous, over the share of 0%" in failed["anomaly_share_is_in_bounds"]
    )


def test_a_day_unlike_those_before_is_a_warning(runs: RidesRuns) -> None:
    runs.simulate("2026-06-09")
    runs.run("2026-06-09", stages=("raw_rides",))
    lines = [
        {"started_at": f"{DAY}T{n % 24:02}:00:00Z", "distance": 4 + n % 5, "duration": 5_000 + n}
        for n in range(300)
    ]
    (runs.folder / f"{DAY}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    outcome = runs.run(DAY)
    assert outcome.success
    failed = outcome.failed()
    assert list(failed) == ["rides_are_like_before"]
    assert "duration_s (KS 1.00, PSI" in failed["rides_are_like_before"]


def test_summaries_that_wait_are_a_warning(
    runs: RidesRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        server.chat.answer = lambda body: {"summary": "It stood still."}
        llm = {"base_url": server.base_url, "budget": {"run_usd": 0.0}}
        models = ("gpt-4o-mini", "gpt-4.1")
        prices = {name: {"input_per_million": 1, "output_per_million": 1} for name in models}
        runs.configure(more={"llm": llm | {"prices": prices}}, max_summaries=3)
        runs.simulate()
        outcome = runs.run(DAY)
        assert outcome.success
        assert outcome.failed() == {
            "no_summary_is_deferred": f"{DAY}: 3 summaries wait. The next morning's run takes "
            "them; raise llm.budget, or run again after 00:00 UTC"
        }
        assert server.requests == []
        runs.configure(more={"llm": llm | {"prices": prices, "budget": {}}}, max_summaries=3)
        again = runs.run(DAY, stages=("ride_summaries", "ride_report"))
        assert again.failed() == {}
        assert len(server.requests) == 3
        assert metadata(again, "ride_summaries")["cost in USD"] > 0


# When


def test_the_morning_asks_for_yesterday_where_the_rides_are(runs: RidesRuns) -> None:
    # 11:00 UTC is 6:00 in New York in winter, where 25 November has just ended.
    runs.configure(timezone="America/New_York", schedule="0 6 * * *")
    schedule = runs.defs.get_schedule_def("rides_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == (
        "0 6 * * *",
        "America/New_York",
    )
    assert runs.asked(datetime(2026, 6, 20, 10, tzinfo=UTC)) == ["2026-06-19"]
    assert runs.asked(datetime(2026, 6, 20, 3, tzinfo=UTC)) == ["2026-06-18"]
    assert runs.asked(datetime(2026, 6, 1, 12, tzinfo=UTC)) == []  # before the first day ended


def test_the_morning_asks_again_for_what_was_left_undone(runs: RidesRuns) -> None:
    now = datetime.now(UTC)
    days = [(now.date() - timedelta(days=back)).isoformat() for back in (3, 2, 1)]
    runs.run(days[0], stages=("raw_rides",))
    runs.run(days[1])
    assert runs.asked(now) == [days[0], days[2]]


def test_late_files_ask_once_for_their_day(runs: RidesRuns) -> None:
    days = [(datetime.now(UTC).date() - timedelta(days=back)).isoformat() for back in (2, 1)]
    assert runs.sensed()[0] == []
    for day in days:
        runs.run(day)
    asked, answer = runs.sensed()
    assert asked == []
    assert answer.skip_message == f"{runs.folder.as_uri()}: no late files"

    runs.simulate(days[0], 400)  # within a day of the other, too
    asked, answer = runs.sensed()
    assert asked == days
    assert answer.run_requests[0].run_key is None
    assert runs.sensed(answer.cursor)[0] == []  # the runs are under way
    assert all(runs.run(day).success for day in days)
    assert runs.sensed(answer.cursor)[0] == []
    runs.simulate(days[0], 500)
    assert runs.sensed(answer.cursor)[0] == days


def test_a_folder_that_cannot_be_listed_is_no_news(runs: RidesRuns) -> None:
    runs.folder.rmdir()
    asked, answer = runs.sensed()
    assert asked == []
    assert "no such folder" in answer.skip_message


@pytest.mark.parametrize("automation", [True, False])
def test_the_switch_sets_what_runs_from_the_start(runs: RidesRuns, automation: bool) -> None:
    runs.configure(more={"automation": automation})
    both: list[Any] = [*(runs.defs.sensors or ()), *(runs.defs.schedules or ())]
    expected = "RUNNING" if automation else "STOPPED"
    assert {each.name: each.default_status.value for each in both} == {
        "rides_late_files": expected,
        "rides_schedule": expected,
    }
