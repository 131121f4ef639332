"""The exporter of a whole platform, and the verb that serves it."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from rag_platform.cli import main
from rag_platform.commands.collectors import exporter, is_ready
from rag_platform.operations.metrics.families import Family
from rag_platform.platform import Platform
from rag_platform.storage.schema import documents
from rag_platform.storage.vectors.base import VectorStoreError
from rag_platform_tests.console.library import Place
from rag_platform_tests.operations.metrics.reading import samples, scraped
from rag_platform_tests.training.tiny import NAME

TOKEN = "a-token-of-many-letters"
ROOT = Path(__file__).parents[3]


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


@contextmanager
def _serving(*arguments: str, **variables: str) -> Iterator[str]:
    """The verb in a process of its own; its address."""
    served = subprocess.Popen(
        [sys.executable, "-c", "from rag_platform.cli import main; main()", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stderr is not None
        line = next(line for line in served.stderr if "Metrics at " in line)
        yield line.split("Metrics at ")[1].strip()
    finally:
        served.terminate()
        served.wait(20)


def _get(url: str, **headers: str) -> Any:
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=60)


@pytest.mark.slow
def test_the_process_serves_what_changes(place: Place) -> None:
    place.write(models={})  # the tiny one is known to the tests only
    arguments = ("metrics", "--host", "0.0.0.0", "--port", "0")
    with _serving(*arguments, RAG_PLATFORM_METRICS_TOKEN=TOKEN) as address:
        url = address.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _get(url)
        with _get(url, Authorization=f"Bearer {TOKEN}") as answer:
            first = answer.read().decode()
        assert 'rag_platform_documents{source="wiki",state="live"} 1.0' in first
        platform = place.platform()
        with platform.catalog.begin() as connection:
            connection.execute(sa.update(documents).values(gone=True))
        platform.close()
        deadline = time.monotonic() + 60
        while True:
            with _get(url, Authorization=f"Bearer {TOKEN}") as answer:
                later = answer.read().decode()
            if 'rag_platform_documents{source="wiki",state="gone"} 1.0' in later:
                break
            assert time.monotonic() < deadline
        with _get(url.replace("/metrics", "/readyz")) as ready:
            assert ready.read() == b"ready\n"
