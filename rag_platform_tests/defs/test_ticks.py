"""Schedules and sensors that ticked while a clock was fast go on when it is right again."""

import logging
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from rag_platform.defs.operations import launch
from rag_platform.defs.operations.ticks import bring_back_ticks
from rag_platform.settings import Settings
from rag_platform_tests.copies import new_instance

HOURS = 3600.0


def origin(name: str) -> RemoteInstigatorOrigin:
    target = LoadableTargetOrigin(executable_path="python", module_name="m")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "rag_platform")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)


def running(opened: dg.DagsterInstance, name: str, at: float) -> InstigatorState:
    """A schedule or sensor that was started three days ago and last looked at then."""
    data: ScheduleInstigatorData | SensorInstigatorData
    if name.endswith("schedule"):
        kind = InstigatorType.SCHEDULE
        data = ScheduleInstigatorData("0 * * * *", time.time() - 72 * HOURS, at)
    else:
        kind = InstigatorType.SENSOR
        data = SensorInstigatorData(at, cursor="so far", last_tick_start_timestamp=at)
    state = InstigatorState(origin(name), kind, InstigatorStatus.RUNNING, data)
    return opened.add_instigator_state(state)


def tick(opened: dg.DagsterInstance, state: InstigatorState, at: float) -> InstigatorTick:
    return opened.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=state.name,
            instigator_type=state.instigator_type,
            status=TickStatus.SKIPPED,
            timestamp=at,
            selector_id=state.selector_id,
        )
    )


def times(opened: dg.DagsterInstance, state: InstigatorState) -> list[float]:
    ticks = opened.get_ticks(state.instigator_origin_id, state.selector_id)
    return [one.timestamp for one in ticks]


def test_ticks_to_come_are_brought_to_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = new_instance(tmp_path / "dagster")
    with dg.DagsterInstance.local_temp(str(home)) as opened:
        now = time.time()
        fast, right, sensor = (
            running(opened, name, at)
            for name, at in (
                ("fast_schedule", now + 3 * HOURS),
                ("right_schedule", now - 60.0),
                ("fast_sensor", now + 3 * HOURS),
            )
        )
        for state, ats in (
            (fast, (now - HOURS, now + 2 * HOURS, now + 3 * HOURS)),
            (right, (now - HOURS, now + 60.0)),  # clocks of machines may differ a little
            (sensor, (now + 3 * HOURS,)),
        ):
            for at in ats:
                tick(opened, state, at)
        with caplog.at_level(logging.WARNING):
            assert sorted(bring_back_ticks(opened)) == ["fast_schedule", "fast_sensor"]
        assert "a clock was fast" in caplog.text
        newest, second, oldest = times(opened, fast)
        assert oldest == pytest.approx(now - HOURS, abs=0.01)
        assert now - 1 < second == newest < time.time() + 1
        assert times(opened, right) == pytest.approx([now + 60.0, now - HOURS], abs=0.01)
        assert now - 1 < times(opened, sensor)[0] < time.time() + 1
        states = {state.name: state.instigator_data for state in opened.all_instigator_state()}
        schedule = states["fast_schedule"]
        assert isinstance(schedule, ScheduleInstigatorData)
        assert schedule.start_timestamp == pytest.approx(now - 72 * HOURS, abs=1)
        assert schedule.last_iteration_timestamp == pytest.approx(now, abs=5)
        data = states["fast_sensor"]
        assert isinstance(data, SensorInstigatorData)
        assert data.cursor == "so far"
        assert (data.last_tick_timestamp, data.last_tick_start_timestamp) == pytest.approx(
            (now, now), abs=5
        )
        assert bring_back_ticks(opened) == []


def test_every_command_does_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = Settings(home=tmp_path / "home")
    with launch.instance(settings) as opened:
        state = running(opened, "fast_schedule", time.time() + 3 * HOURS)
        tick(opened, state, time.time() + 3 * HOURS)
    with launch.instance(settings) as opened:
        assert times(opened, state)[0] < time.time() + 1
