"""The enrichment in Dagster: its assets, gates, jobs, what it does by itself, and what it shows."""

import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from rag_platform.defs.enrichment import automation
from rag_platform.defs.enrichment.automation import job_name
from rag_platform.defs.enrichment.definitions import enrichment
from rag_platform.defs.enrichment.factory import MODEL_STAGES, STAGES, keys_of
from rag_platform.defs.enrichment.reviews import JOB
from rag_platform.defs.operations.launch import STAGES as DOCUMENT_STAGES
from rag_platform.defs.shared import FOLLOW, asset_key
from rag_platform.platform_llm import LlmParts
from rag_platform.settings import Settings
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema import enrichments, reviews
from rag_platform_tests.defs.location import INDEX, SOURCE, Location, Outcome
from rag_platform_tests.enrichment.conftest import LABELS, MODEL, Model, text
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer, failing

WINDOW, NEXT = "2026-06-01", "2026-06-02"
PRICE = {MODEL: {"input_per_million": 1, "output_per_million": 1}}
RULES = {"sources": [SOURCE], "labels": LABELS}
GOOD = {
    "every_document_has_one_status",
    "page_quality_holds",
    "no_enrichment_is_deferred",
    "half_is_published",
}


class Enriched:
    """A code location whose one source is enriched."""

    def __init__(self, location: Location, **llm: Any) -> None:
        self.location = location
        self.llm = llm
        self.configure()

    def configure(self, **rules: Any) -> None:
        """Write platform.yaml anew; `rules` of the enrichment."""
        self.location.configure(enrichment={**RULES, **rules}, llm=self.llm)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            own = enrichment(self.location.settings)
        self.defs = dg.Definitions.merge(self.location.defs, own)

    def documents(self, window: str = WINDOW) -> None:
        """Up to clean_docs."""
        assert self.location.run(window, stages=DOCUMENT_STAGES).success

    def run(
        self,
        window: str = WINDOW,
        *,
        config: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> Outcome:
        """The job of the enrichment over one window."""
        job = self.defs.resolve_job_def(job_name(SOURCE))
        return Outcome(
            job.execute_in_process(
                instance=self.location.instance,
                partition_key=window,
                run_config={"ops": config} if config else None,
                tags=tags,
                raise_on_error=False,
            )
        )

    def apply(self) -> dg.ExecuteInProcessResult:
        """The job that takes decisions over."""
        return self.defs.resolve_job_def(JOB).execute_in_process(instance=self.location.instance)

    def statuses(self) -> set[str]:
        with self.location.platform() as platform, platform.catalog.read() as connection:
            return set(connection.execute(sa.select(enrichments.c.status)).scalars())


@pytest.fixture
def enriched(location: Location) -> Enriched:
    """Without a service."""
    return Enriched(location)


@pytest.fixture
def paid(location: Location, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Enriched, Model]]:
    """With a service that answers."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        model = Model(server)
        llm = {"base_url": server.base_url, "tiers": {"small": MODEL}, "prices": PRICE}
        yield Enriched(location, **llm), model


def fill(location: Location) -> None:
    location.write("a.md", text("loans", "He asks for a mortgage and its interest rates."))
    location.write("b.md", text("cards", "Her debit card was stolen, and a credit card lost."))


def test_nothing_without_sources(location: Location) -> None:
    assert list(enrichment(location.settings).assets or ()) == []


def test_the_shape_of_the_assets(enriched: Enriched) -> None:
    specs = {spec.key: spec for spec in enriched.defs.resolve_all_asset_specs()}
    above = ["clean_docs", *STAGES]
    for number, key in enumerate(keys_of(SOURCE)):
        spec = specs[key]
        assert [dep.asset_key for dep in spec.deps] == [asset_key(SOURCE, above[number])]
        assert spec.automation_condition == FOLLOW
        assert spec.partitions_def == specs[asset_key(SOURCE, "clean_docs")].partitions_def
        assert spec.group_name == SOURCE
        assert spec.kinds >= {"python"}
    assert asset_key(SOURCE, "published_fields", INDEX) in specs
    checks = [spec for asset in enriched.defs.assets or () for spec in asset.check_specs]
    ours = {spec.name: spec.blocking for spec in checks if spec.name in GOOD}
    assert ours == {
        "every_document_has_one_status": True,
        "page_quality_holds": True,
        "no_enrichment_is_deferred": False,
        "half_is_published": False,
    }


def test_a_service_is_shown_and_pooled(paid: tuple[Enriched, Model]) -> None:
    assets = {asset.key: asset for asset in paid[0].defs.assets or () if asset.key}
    for stage in MODEL_STAGES:
        asset = assets[asset_key(SOURCE, stage)]
        assert asset.op.pool == "llm_api"
        assert {spec.kinds >= {"openai"} for spec in asset.specs} == {True}
    assert assets[asset_key(SOURCE, "enriched_docs")].op.pool is None


def test_a_page_is_enriched_and_shown(enriched: Enriched) -> None:
    fill(enriched.location)
    enriched.documents()
    outcome = enriched.run()
    assert outcome.success
    assert outcome.stages == [*STAGES, "published_fields"]
    assert {name: passed for name, (passed, _) in outcome.checks.items()} == dict.fromkeys(
        GOOD, True
    )
    assert enriched.statuses() == {"published"}
    entities = outcome.metadata("entities", WINDOW)
    assert (entities["ok"], entities["answers asked for"], entities["cost in USD"]) == (2, 2, 0.0)
    assert entities["models"] == "extractive"
    classification = outcome.metadata("classification", WINDOW)
    assert "| extractive | extractive | 2 |" in classification["routes"]
    page = outcome.metadata("enriched_docs", WINDOW)
    assert (page["documents"], page["published share"]) == (2, 1.0)
    assert "| published | 2 |" in page["statuses"]
    assert "| loans | 1 |" in page["labels"]
    assert "raw confidence is used: 0 of 20 reviewed" in page["calibration"]
    assert "a.md" in page["sample"]


def test_markup_in_documents_stays_text(enriched: Enriched) -> None:
    hostile = "<script>alert(1)</script> ![x](http://evil.example) | loans"
    enriched.location.write("a.md", text("loans", hostile))
    enriched.documents()
    page = enriched.run().metadata("enriched_docs", WINDOW)
    assert "<script>" not in page["sample"]
    assert "![x]" not in page["sample"]


def test_a_bad_page_stops(enriched: Enriched) -> None:
    for number in range(3):
        enriched.location.write(f"{number}.txt", f"{number} 12 34")  # no language, no summary
    enriched.documents()
    outcome = enriched.run()
    assert not outcome.success
    problem = outcome.failed()["page_quality_holds"]
    assert problem.startswith(f"{WINDOW}: ")
    assert "of the required fields of 3 documents are missing (language 3" in problem
    assert problem.endswith("set its reaction to review; then run the window again")
    assert enriched.statuses() == {"held"}
    page = outcome.metadata("enriched_docs", WINDOW)
    assert "| 0.txt | language |" in page["odd documents"]


@pytest.mark.parametrize(("reaction", "status"), [("review", "in_review"), ("warn", "in_review")])
def test_other_reactions_warn(enriched: Enriched, reaction: str, status: str) -> None:
    enriched.configure(quality={"reaction": reaction}, gate=1.0)
    for number in range(3):
        enriched.location.write(f"{number}.txt", f"{number} 12 34")
    enriched.documents()
    outcome = enriched.run()
    assert outcome.success
    assert set(outcome.failed()) == {"page_quality_holds", "half_is_published"}
    assert enriched.statuses() == {status}


def test_over_the_budget_is_a_warning(paid: tuple[Enriched, Model]) -> None:
    enriched, _ = paid
    enriched.llm |= {"budget": {"daily_usd": 0.000001, "run_usd": 0.000001}}
    enriched.configure()
    fill(enriched.location)
    enriched.documents()
    outcome = enriched.run()
    assert outcome.success
    assert outcome.failed() == {
        "no_enrichment_is_deferred": "2 documents wait for the budget or the service; the next run "
        "takes them. Raise llm.budget, also for a document that is dearer than a run may be, or "
        "run again after 00:00 UTC"
    }
    assert outcome.metadata("entities", WINDOW)["deferred"] == 2
    enriched.llm |= {"budget": {"daily_usd": 5, "run_usd": 5}}
    enriched.configure()
    assert enriched.run().failed() == {}
    assert enriched.statuses() == {"published"}


def test_costs_and_routes_are_shown(paid: tuple[Enriched, Model]) -> None:
    enriched, model = paid
    fill(enriched.location)
    enriched.documents()
    outcome = enriched.run()
    # A dollar a million tokens, read or written.
    charged = [
        c for c, asked in zip(model.server.charged, model.asked, strict=True) if asked == "people"
    ]
    tokens = sum(charge.input_tokens + charge.output_tokens for charge in charged)
    entities = outcome.metadata("entities", WINDOW)
    assert entities["cost in USD"] == pytest.approx(tokens / 1e6)
    assert (entities["models"], entities["answers asked for"]) == (MODEL, 2)
    again = enriched.run().metadata("entities", WINDOW)
    assert (again["cost in USD"], again["reused passes"]) == (0.0, 1)


def test_failed_documents_are_asked_about_again_on_request(paid: tuple[Enriched, Model]) -> None:
    enriched, model = paid
    fill(enriched.location)
    enriched.documents()
    model.server.refuse = lambda _body: failing(400, "bad_request")
    outcome = enriched.run()
    assert "dead letters" in outcome.metadata("entities", WINDOW)
    model.server.refuse = None
    retry = {f"{SOURCE}__{stage}": {"config": {"retry_failed": True}} for stage in MODEL_STAGES}
    outcome = enriched.run(config=retry)
    assert outcome.failed() == {}
    assert "dead letters" not in outcome.metadata("entities", WINDOW)


def test_only_backfills_are_asked_in_batches(
    paid: tuple[Enriched, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    enriched, _ = paid
    enriched.llm |= {"batch_backfills": True}
    enriched.configure()
    fill(enriched.location)
    enriched.documents()
    batches: list[tuple[str, int]] = []

    def opened(_parts: LlmParts, purpose: str, _tenant: str) -> Any:
        prefetch = lambda asks: batches.append((purpose, len(list(asks))))  # noqa: E731
        return SimpleNamespace(prefetch=prefetch)

    monkeypatch.setattr(LlmParts, "batches", opened)
    enriched.run(tags={"dagster/backfill": "b"})
    assert batches == [(f"{SOURCE}/{stage}", 2) for stage in MODEL_STAGES]
    batches.clear()
    enriched.run()
    assert batches == []


# By itself


def tick(enriched: Enriched) -> list[str]:
    """The windows that the schedule of the enrichment asks for."""
    schedule = enriched.defs.get_schedule_def(f"{SOURCE}_enrichment_schedule")
    with dg.build_schedule_context(
        instance=enriched.location.instance,
        scheduled_execution_time=datetime.now(UTC),
        resources=enriched.defs.resources,
        repository_def=enriched.defs.get_repository_def(),
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or ()
    return [request.partition_key or "" for request in requests]


def test_the_schedule_asks_for_what_waits(
    enriched: Enriched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A schedule finds its instance by reference, and one in memory has none.
    home = tmp_path / "dagster"
    home.mkdir()
    enriched.location.instance = dg.DagsterInstance.local_temp(str(home))
    assert tick(enriched) == []
    fill(enriched.location)
    enriched.documents(WINDOW)
    enriched.location.write("c.md", text("billing"))
    enriched.documents(NEXT)
    # The newest page was never enriched; the one before it is a backfill.
    assert tick(enriched) == [NEXT]
    enriched.run(NEXT)
    assert tick(enriched) == []
    with enriched.location.platform() as platform:
        platform.enrichment(SOURCE).entities.run(WINDOW)  # a run that broke off
    assert tick(enriched) == [WINDOW]
    job = enriched.defs.resolve_job_def(job_name(SOURCE))
    run = enriched.location.instance.create_run_for_job(
        job, tags={"dagster/partition": WINDOW}, status=dg.DagsterRunStatus.STARTED
    )
    assert tick(enriched) == []
    # One that has been under way for too long was killed.
    monkeypatch.setattr(automation, "_LONGEST_RUN", timedelta())
    assert tick(enriched) == [WINDOW]
    enriched.location.instance.delete_run(run.run_id)
    enriched.run(WINDOW)
    assert tick(enriched) == []


def sensor_tick(enriched: Enriched) -> Any:
    sensor = enriched.defs.get_sensor_def("review_decisions")
    with dg.build_sensor_context(
        instance=enriched.location.instance,
        resources=enriched.defs.resources,
        repository_def=enriched.defs.get_repository_def(),
    ) as context:
        return sensor.evaluate_tick(context)


def test_decisions_take_effect_through_the_sensor(enriched: Enriched) -> None:
    enriched.configure(gate=1.0)
    fill(enriched.location)
    enriched.documents()
    assert set(enriched.run().failed()) == {"half_is_published"}
    assert sensor_tick(enriched).run_requests == []
    with enriched.location.platform() as platform:
        first, second = platform.reviews.queue()
        platform.reviews.approve(first.id, by="ann")
        platform.reviews.correct(second.id, by="ann", label="billing")
    [request] = sensor_tick(enriched).run_requests
    assert request.run_key.startswith("reviews-")
    done = enriched.apply()
    events = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in done.get_asset_materialization_events()
    }
    assert events["review_decisions"]["taken over"].value == 2
    assert f"| {SOURCE} | {WINDOW} |" in str(events["review_decisions"]["pages"].value)
    assert events["review_evaluation_set"]["documents"].value == 2
    assert events["review_evaluation_set"]["without their text"].value == 0
    assert enriched.statuses() == {"published"}
    assert sensor_tick(enriched).run_requests == []


def test_overdue_reviews_are_told_once(enriched: Enriched) -> None:
    enriched.configure(gate=1.0)
    fill(enriched.location)
    enriched.documents()
    enriched.run()
    with enriched.location.platform() as platform, platform.catalog.begin() as connection:
        connection.execute(sa.update(reviews).values(due_at=time.time() - 1))
    assert sensor_tick(enriched).skip_message == "nothing decided; 2 reviews newly overdue"
    assert sensor_tick(enriched).skip_message == "nothing decided; 0 reviews newly overdue"
    with enriched.location.platform() as platform:
        assert len(Outbox(platform.catalog).pending()) == 2


def test_the_reliability_diagram_is_shown(enriched: Enriched) -> None:
    enriched.configure(gate=1.0)
    for number in range(24):
        enriched.location.write(f"{number}.md", text("loans", f"Letter number {number}."))
    enriched.documents()
    enriched.run()
    with enriched.location.platform() as platform:
        for number, review in enumerate(platform.reviews.queue()):
            if number % 3:
                platform.reviews.approve(review.id, by="ann")
            else:
                platform.reviews.reject(review.id, by="ann")
    enriched.apply()
    page = enriched.run().metadata("enriched_docs", WINDOW)
    assert page["reliability"].startswith("![plot](data:image/png;base64,")
    assert "| extractive | 24 | sigmoid(" in page["calibration"]


def test_settings_without_automation_start_nothing(location: Location) -> None:
    location.configure(enrichment=RULES, automation=False)
    settings: Settings = location.settings
    found = enrichment(settings)
    assert {s.default_status.value for s in found.schedules or ()} == {"STOPPED"}
    assert {s.default_status.value for s in found.sensors or ()} == {"STOPPED"}
