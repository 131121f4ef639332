"""The exporter of a whole platform, and the verb that serves it."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from rag_platform.cli import main
from rag_platform.commands.collectors import exporter, is_ready
from rag_platform.operations.metrics.families import Family
from rag_platform.platform import Platform
from rag_platform.storage.measures import RECONCILED_AT, Measures
from rag_platform.storage.schema import documents, index_promotions
from rag_platform.storage.vectors.base import VectorStoreError
from rag_platform_tests.console.library import Place
from rag_platform_tests.operations.metrics.reading import put, samples, scraped
from rag_platform_tests.training.tiny import NAME

TOKEN = "a-token-of-many-letters"


def _scrape(platform: Platform) -> list[Family]:
    return exporter(platform, scrape_s=60.0).scrape()


def test_a_platform_is_seen_as_a_whole(platform: Platform) -> None:
    found = _scrape(platform)
    names = [family.name for family in found]
    assert len(set(names)) == len(names), "Prometheus takes each name once"
    assert all(family.help.endswith(".") for family in found)
    success = next(each for each in found if each.name.endswith("collector_success"))
    assert [name for (name,), ok in success.samples.items() if not ok and name != "dagster"] == []

    seen = samples(found)
    assert seen["documents"]["wiki", "live"] == 1
    with platform.catalog.read() as connection:
        notes = documents.c.source == "notes"
        all_notes = connection.scalar(
            sa.select(sa.func.count()).select_from(documents).where(notes)
        )
    assert sum(n for (source, _), n in seen["documents"].items() if source == "notes") == all_notes
    assert seen["dead_letters"]["notes", "parsed_docs", "corrupt"] == 2
    # An archive, and the file that says who may read what.
    assert seen["dead_letters"]["notes", "parsed_docs", "unsupported"] == 2
    assert seen["pages"] == {("notes", "settled"): 1, ("wiki", "settled"): 1}
    assert seen["safety_findings"]["notes", "masked"] >= 1
    assert seen["near_duplicates"]["notes",] >= 1
    assert seen["reviews_overdue"] == {("notes",): 1}
    assert seen["llm_cost_usd_total"] == {("large", "notes/document_summary", "sum@v001"): 0.25}
    assert seen["llm_requests_in_flight"] == {("embedder",): 1}
    assert seen["budget_spent_usd"] == {("day",): 0.25}
    assert seen["budget_reserved_usd"] == {("day",): pytest.approx(0.1)}
    assert set(seen["index_documents"]) == {("v1",), ("v2",)}
    assert seen["index_info"]["v1", "live", "true"] == 1
    assert seen["index_behind_documents"] == {}
    assert {golden for _, golden, _ in seen["index_evaluation"]} == {"questions"}
    assert seen["embedded_texts_total"]
    assert seen["model_info"] == {(NAME, "champion", "1"): 1, (NAME, "challenger", "2"): 1}


def test_the_vectors_of_another_process_are_left_alone(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        pytest.fail("the engine belongs to the process that writes")

    for name in ("open", "open_existing"):
        monkeypatch.setattr(type(platform.vectors), name, opened)
    seen = samples(_scrape(platform))
    assert seen["index_points"] == seen["chunks"]
    assert seen["chunks"]["v1",] > 3


def test_a_retired_index_is_not_waited_for(place: Place) -> None:
    """Nobody compares it with the catalog any more: its last time only gets older."""
    platform = place.platform()
    for index in ("v1", "v2"):
        Measures(platform.catalog).keep(RECONCILED_AT, 1.0, index=index)
    put(platform.catalog, index_promotions, {"index_name": "v2", "action": "retired"})
    seen = samples(_scrape(platform))
    assert seen["reconcile_last_timestamp_seconds"] == {("v1",): 1}
    platform.close()


def test_a_server_of_vectors_is_asked_apart(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the catalog knows of an index is there when the server is not."""
    place.write(vector_store="http://127.0.0.1:9")
    platform = place.platform()

    def away(*_: object) -> None:
        raise VectorStoreError("the server is away")

    monkeypatch.setattr(type(platform.vectors), "open_existing", away)
    seen = samples(_scrape(platform))
    platform.close()
    assert "index_points" not in seen
    assert ("vector_store",) not in seen["collector_success"]
    assert seen["collector_success"]["indexes",] == 1
    assert seen["chunks"]["v1",] > 3


def test_models_have_the_figures_of_their_evaluations(platform: Platform) -> None:
    from rag_platform.training.snapshots import Weeks

    champion = platform.models.promotions.champion(NAME)
    assert champion is not None
    report = {"metrics": {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}}
    platform.models.registry.log_evaluation(champion.run_id, {}, {}, report)
    verdict = {"gate": "accuracy", "value": 0.5, "bound": 0.8, "passed": False, "told": ""}
    weeks = Weeks(platform.objects)
    for week, at in (("2026-11-16", 100.0), ("2026-11-23", 200.0)):
        told = {"verdicts": [verdict], "impacts": [{"column": "age", "value": at / 1_000}]}
        weeks.put(NAME, week, "evaluation", {"report": told, "at": at})
    weeks.put(NAME, "2026-11-30", "training_data", {"at": 300.0})
    found = _scrape(platform)
    seen = samples(found)
    assert seen["model_metric"] == {(NAME, "accuracy", "champion"): 0.75}
    assert seen["model_last_training_timestamp_seconds"] == {(NAME,): 200}
    assert seen["model_fairness"] == {(NAME, "age"): 0.2}
    passed = next(each for each in found if each.name.endswith("model_gate_passed"))
    assert passed.samples == {(NAME, "accuracy"): 0}


def test_rides_have_their_newest_day(place: Place) -> None:
    import pyarrow as pa

    from rag_platform.rides.report import report_schema
    from rag_platform.rides.tables import REPORT, DayTables

    place.write(rides={"url": place.root.as_uri(), "timezone": "America/New_York"})
    platform = place.platform()
    assert "rides_newest_day" not in samples(_scrape(platform))
    figures = dict.fromkeys(report_schema().names, 0) | {"rides": 9, "drifted": ["fare"]}
    table = pa.Table.from_pylist([figures], report_schema())
    yesterday = datetime.now(UTC).date() - timedelta(days=2)
    DayTables(platform.objects).write(REPORT, yesterday, table, {})
    seen = samples(_scrape(platform))
    assert seen["rides_newest_day"] == {("ordinary",): 9}
    # Its day ended in New York 4 or 5 hours after it did in UTC.
    ended = datetime.combine(yesterday + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    hours = (time.time() - ended - seen["rides_report_age_seconds"][()]) / 3600
    assert 3.9 < hours < 5.1
    platform.close()


def test_a_catalog_that_is_gone_is_told(place: Place) -> None:
    platform = place.platform()
    assert is_ready(platform)
    with platform.catalog.begin() as connection:
        connection.execute(sa.text("drop table reviews"))
    seen = scraped(exporter(platform, scrape_s=60.0))
    assert "reviews" not in seen
    assert ("reviews",) not in seen["collector_success"]
    assert seen["documents"]
    platform.catalog.engine.dispose()
    platform.catalog.engine = sa.create_engine(f"sqlite:///{place.root}/no/where.db")
    assert not is_ready(platform)
    left = scraped(exporter(platform, scrape_s=60.0))
    assert ("catalog",) not in left["collector_success"]
    # A full disk may be why.
    assert left["disk_free_bytes"]
    assert left["settings_info"]
    platform.close()


# The verb


def test_once_prints_the_metrics(place: Place) -> None:
    done = CliRunner().invoke(main, ["metrics", "--once"])
    assert done.exit_code == 0, done.output
    families = {f.name: f for f in text_string_to_metric_families(done.stdout)}
    (version,) = families["rag_platform_build_info"].samples
    assert version.value == 1
    assert "rag_platform_documents" in families


@pytest.mark.parametrize(
    ("arguments", "token", "problem"),
    [
        (["--host", "0.0.0.0"], "", "other machines reach it"),
        (["--host", "0.0.0.0"], "short", "fewer than 16"),
        (["--host", "metrics.example"], TOKEN, "give an IP address"),
    ],
)
def test_it_does_not_start_open_by_mistake(
    place: Place, arguments: list[str], token: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_PLATFORM_METRICS_TOKEN", token)
    done = CliRunner().invoke(main, ["metrics", *arguments])
    assert done.exit_code != 0
    assert problem in done.output
