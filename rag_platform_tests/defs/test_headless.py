"""`dagster-daemon run` alone, from an empty DAGSTER_HOME: documents become searchable."""

from pathlib import Path

import dagster as dg
import pytest

from rag_platform.errors import PlatformError
from rag_platform.platform import Platform
from rag_platform.settings import Settings
from rag_platform_tests.servers.dagster_processes import until, workplace


def found_keys(settings: Settings) -> set[str]:
    """The keys of the documents in the live index; empty before there is one."""
    platform = Platform(settings)
    try:
        with platform.vectors.open_existing(settings.live) as collection:
            return {payload["key"] for payload in collection.payloads({})}
    except PlatformError:
        return set()
    finally:
        platform.close()


@pytest.mark.slow
def test_new_documents_are_indexed_without_a_webserver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = workplace(tmp_path, monkeypatch)
    home = tmp_path / "dagster"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
    (place.source / "a.md").write_text("# Alpha\n\nA red apple.\n", encoding="utf-8")
    with place.daemon() as log:
        until(lambda: found_keys(place.settings) == {"a.md"}, seconds=120, log=log)
        with dg.DagsterInstance.get() as instance:
            [run] = until(
                lambda: instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])),
                seconds=60,
                log=log,
            )
            states = {state.name: state.status.value for state in instance.all_instigator_state()}
    assert run.tags["dagster/sensor_name"] == "manuals_new_objects"
    assert states == dict.fromkeys(
        [
            "failed_runs",
            "manuals_new_objects",
            "manuals_schedule",
            "notifications",
            "prompts_daily",
            "reconcile_weekly",
            "stages_follow_their_inputs",
            "weekly_digest",
        ],
        "DECLARED_IN_CODE",
    )
