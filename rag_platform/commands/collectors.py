"""The exporter of a platform: every collector there is, put together from its parts."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rag_platform.operations.metrics import (
    documents,
    enrichment,
    indexes,
    llm,
    models,
    operations,
    rides,
)
from rag_platform.operations.metrics.exporter import Collector, Exporter, collector
from rag_platform.operations.metrics.families import Family, gauge
from rag_platform.operations.metrics.measured import measured
from rag_platform.operations.metrics.snapshot import Query, queries_collector
from rag_platform.storage.measures import Measures

if TYPE_CHECKING:
    from rag_platform.platform import Platform
    from rag_platform.training.registry import Version

# Of what lies in an object store, MLflow or a vector server and changes a few times a day.
_KEPT_S = 60.0
_LOOKS = 20  # of each model, for drift: more than there are kinds of it


def exporter(platform: "Platform", *, scrape_s: float | None = None) -> Exporter:
    """Everything that is known of a platform; nothing is opened before it is scraped."""
    more = {} if scrape_s is None else {"scrape_s": scrape_s}
    return Exporter(list(_collectors(platform)), **more)


def is_ready(platform: "Platform") -> bool:
    """Whether the catalog answers."""
    try:
        with platform.catalog.read() as connection:
            connection.execute(sa.select(1))
    except sa.exc.SQLAlchemyError:
        return False
    return True


def _collectors(platform: "Platform") -> Iterator[Collector]:
    settings = platform.settings
    for name, queries in _queries(platform).items():
        yield queries_collector(name, platform.catalog, settings, queries)
    # What a database that is away must not take along.
    yield collector("disk", partial(operations.disk, settings.home))
    dialect = platform.catalog.engine.dialect.name
    yield collector("identity", partial(operations.identity, settings, dialect))
    yield collector("indexes", partial(_indexes, platform))
    if not _is_embedded(platform):
        yield collector("vector_store", partial(_vector_store, platform))
    yield collector("storage", partial(_storage, platform), keep_s=_KEPT_S / 4)
    yield collector("dagster", partial(_dagster, platform))
    if settings.rides is not None:
        yield collector("rides", partial(_rides, platform), keep_s=_KEPT_S)
    if platform.models.names:
        yield collector("models", partial(_serving, platform))
        yield collector("model_evaluations", partial(_evaluations, platform), keep_s=_KEPT_S)
        yield collector("mlflow", _metrics(platform), keep_s=_KEPT_S)


def _queries(platform: "Platform") -> dict[str, dict[str, Query]]:
    """By collector: what is dear in a large catalog does not keep what is not."""
    budget, measures = platform.llm.budget, Measures(platform.catalog)
    return {
        "catalog": {
            "pages": documents.pages,
            "dead_letters": documents.letters,
            "llm_services": llm.services,
            "budget": lambda _: llm.budget(budget.today),
            "reviews": enrichment.review_queue,
            "index_quality": indexes.quality,
            "measures": lambda _: measured(measures, _known(platform)),
            "messages": operations.messages,
            "audit": operations.audit,
            "catalog_size": operations.catalog_size,
        },
        "documents": {"documents": documents.states, "outcomes": documents.outcomes},
        "ledger": {"llm_requests": llm.requests, "llm_retries": llm.retries},
        "enrichments": {"enrichment": enrichment.statuses, "scores": enrichment.scores},
    }


def _known(platform: "Platform") -> dict[str, list[str]]:
    """Names that are shown at all times. Nobody measures a retired index any more."""
    from rag_platform.indexing.retirement import in_service

    return {
        "source": list(platform.settings.sources),
        "index": in_service(platform.catalog, platform.settings.indexes),
        "model": list(platform.settings.llm.tiers.values()),
    }


def _indexes(platform: "Platform") -> Iterator[Family]:
    from rag_platform.indexing.versions import versions_of

    found = versions_of(platform.settings, platform.catalog)
    yield from indexes.versions(found)
    if _is_embedded(platform):
        held = {version.name: version.chunks for version in found if version.state != "retired"}
        yield from indexes.points(held)


def _vector_store(platform: "Platform") -> Iterable[Family]:
    from rag_platform.storage.vectors.base import CollectionMissing

    def count(index: str) -> int:
        try:
            with platform.vectors.open_existing(index) as collection:
                return collection.count()
        except CollectionMissing:
            return 0

    return indexes.points({index: count(index) for index in platform.settings.indexes})


def _is_embedded(platform: "Platform") -> bool:
    return platform.settings.vector_store == "embedded"


def _storage(platform: "Platform") -> Iterable[Family]:
    from rag_platform.storage.objects import check_reachable

    began = time.monotonic()
    check_reachable(platform.objects, platform.settings.storage)
    seconds = gauge("storage_check_seconds", "What it took to look into the storage.")
    return [seconds.add(time.monotonic() - began)]


def _dagster(platform: "Platform") -> Iterable[Family]:
    from rag_platform.defs.operations.instance_metrics import dagster_families

    return dagster_families(platform.settings)


def _rides(platform: "Platform") -> Iterable[Family]:
    from rag_platform.rides.newest import newest_report

    found = newest_report(platform.objects)
    if found is None:
        return []
    day, figures = found
    ended = platform.rides.days.bounds(day)[1].timestamp()
    return rides.newest_day(figures, time.time() - ended)


def _serving(platform: "Platform") -> Iterable[Family]:
    from rag_platform.training.drift.log import DriftLog

    log = DriftLog(platform.catalog)

    def of(model: str) -> models.Serving:
        rollout = platform.models.promotions.rollout(model)
        roles = _roles(platform, model).items()
        return models.Serving(
            versions={role: (version.number, version.created_at) for role, version in roles},
            share=rollout.share / 100 if rollout else 0.0,
            drift=log.recent(model, limit=_LOOKS),
        )

    return models.serving({name: of(name) for name in platform.models.names}, time.time())


def _evaluations(platform: "Platform") -> Iterable[Family]:
    from rag_platform.training.snapshots import Weeks
    from rag_platform.training.stages import EVALUATION

    weeks = Weeks(platform.objects)

    def of(model: str) -> tuple[models.Report, float] | None:
        newest = reversed(weeks.weeks(model))
        facts = next((f for week in newest if (f := weeks.get(model, week, EVALUATION))), None)
        return (facts["report"], facts["at"]) if facts else None

    found = {name: of(name) for name in platform.models.names}
    return models.evaluations({name: facts for name, facts in found.items() if facts})


def _metrics(platform: "Platform") -> Callable[[], Iterable[Family]]:
    """What MLflow has of the versions that serve and are tried. An evaluation stays as it is, so
    it is asked for once."""
    report = cache(platform.models.registry.report)

    def collect() -> Iterable[Family]:
        reports = {
            (model, role): known
            for model in platform.models.names
            for role, version in _roles(platform, model).items()
            if (known := report(version.run_id))
        }
        return models.metrics(reports)

    return collect


def _roles(platform: "Platform", model: str) -> "dict[str, Version]":
    """What serves and what is tried, where there is any."""
    promotions = platform.models.promotions
    found = {"champion": promotions.champion(model), "challenger": promotions.challenger(model)}
    return {role: version for role, version in found.items() if version is not None}
