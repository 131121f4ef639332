"""The four assets of the rides: raw rides, clusters, summaries and the report of each day."""

import functools
from dataclasses import asdict
from typing import Any

import dagster as dg

from rag_platform.defs.documents.metadata import bars, figures, table
from rag_platform.defs.plots import png
from rag_platform.defs.rides import checks
from rag_platform.defs.shared import NETWORK_RETRIES, OWNERS, one_line
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.settings_pipelines import RidesSettings

GROUP = checks.GROUP
STAGES = ("raw_rides", "ride_clusters", "ride_summaries", "ride_report")
KEYS = tuple(dg.AssetKey([GROUP, stage]) for stage in STAGES)
# How many days one run of a backfill takes.
DAYS_PER_RUN = 7
_SHOWN = 20


def partitions(rules: RidesSettings) -> dg.DailyPartitionsDefinition:
    """The days that have ended, from midnight to midnight where the rides are."""
    return dg.DailyPartitionsDefinition(
        start_date=rules.start.strftime("%Y-%m-%d"), timezone=rules.timezone
    )


def assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All four, where the settings have rides."""
    rules = settings.rides
    if rules is None:
        return []
    common = functools.partial(_common, settings, rules)
    return [_raw(rules, common), _clusters(rules, common), _summaries(common), _report(common)]


def _raw(rules: RidesSettings, common: Any) -> dg.AssetsDefinition:
    @dg.asset(
        **common("raw_rides", kinds={"pandas", "parquet"}),
        code_version="1",
        check_specs=[
            gate.spec(GROUP) for gate in (checks.CONSERVED, checks.USABLE, checks.ARRIVED)
        ],
        description=(
            f"The rides of a day from the files at {rules.url}, in one form and checked. Records "
            "that are no plausible ride stand in the dead letters with their reason."
        ),
    )
    def raw_rides(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        found = {}
        for day in context.partition_keys:
            with one_line():
                found[day] = platform.parts.rides.run_raw(day)
            context.add_asset_metadata(_raw_metadata(platform.parts, day), partition_key=day)
        return dg.MaterializeResult(
            check_results=[
                checks.conserved(found),
                checks.usable(found, rules.max_bad_share),
                checks.arrived(found),
            ]
        )

    return raw_rides


def _raw_metadata(parts: Platform, day: str) -> dict[str, Any]:
    rides = parts.rides
    date = rides.days.check(day)
    found = rides.raw.figures(date)
    letters = rides.letters.of("raw_rides", day)
    told: dict[str, Any] = {
        "rides": found.rides,
        "files": found.files,
        "unreadable files": found.unreadable_files,
        "bad records": found.bad,
        "records of other days": found.other_days,
        "bad records by reason": bars(found.reasons, "reason"),
    }
    if letters:
        rows = [[letter.item, letter.reason, letter.detail] for letter in letters[:_SHOWN]]
        told["dead letters"] = table(["file and record", "reason", "detail"], rows)
    return told


def _clusters(rules: RidesSettings, common: Any) -> dg.AssetsDefinition:
    @dg.asset(
        **common("ride_clusters", deps=["raw_rides"], kinds={"scikitlearn", "parquet"}),
        code_version="1",
        check_specs=[checks.ANOMALIES.spec(GROUP)],
        description=(
            "The rides of a day with their cluster. What belongs to none is anomalous, with a "
            "score and the reasons why."
        ),
    )
    def ride_clusters(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        found = {}
        for day in context.partition_keys:
            with one_line():
                found[day] = platform.parts.rides.run_clusters(day)
            told = found[day]
            context.add_asset_metadata(
                {
                    "rides": told.rides,
                    "clusters": told.clusters,
                    "anomalous rides": told.anomalies,
                    "anomaly share": told.anomaly_share,
                    "why": bars(told.why, "label"),
                },
                partition_key=day,
            )
        return dg.MaterializeResult(
            check_results=[checks.anomalies(found, rules.max_anomaly_share)]
        )

    return ride_clusters


def _summaries(common: Any) -> dg.AssetsDefinition:
    @dg.asset(
        **common("ride_summaries", deps=["ride_clusters"], kinds={"openai", "parquet"}),
        code_version="1",
        pool="llm_api",
        check_specs=[checks.ACCOUNTED.spec(GROUP), checks.DEFERRED.spec(GROUP)],
        description=(
            "A few sentences on each of the worst anomalous rides. What was written once is not "
            "paid for again; without a key a template stands in, and says so."
        ),
    )
    def ride_summaries(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        found = {}
        for day in context.partition_keys:
            with one_line():
                found[day] = platform.parts.rides.run_summaries(day)
            told = figures(asdict(found[day]))
            cost = told.pop("microusd") / 1_000_000
            context.add_asset_metadata(told | {"cost in USD": cost}, partition_key=day)
        return dg.MaterializeResult(check_results=[checks.accounted(found), checks.deferred(found)])

    return ride_summaries


def _report(common: Any) -> dg.AssetsDefinition:
    @dg.asset(
        **common("ride_report", deps=["ride_summaries"], kinds={"html", "parquet"}),
        code_version="1",
        check_specs=[checks.DRIFT.spec(GROUP)],
        description=(
            "What a person reads about a day in the morning: figures, charts, the worst rides "
            "with their summaries, what could not be used, and whether the day is like others."
        ),
    )
    def ride_report(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        rides = platform.parts.rides
        found = {}
        for day in context.partition_keys:
            with one_line():
                found[day] = rides.run_report(day, _uri)
            context.add_asset_metadata(
                _report_metadata(found[day], platform.parts), partition_key=day
            )
        return dg.MaterializeResult(check_results=[checks.drift(found)])

    return ride_report


def _report_metadata(report: Any, parts: Platform) -> dict[str, Any]:
    from rag_platform.rides.pages import markdown_page

    url = parts.rides.report_url(report.day)
    return {
        "report": dg.MetadataValue.md(markdown_page(report)),
        "page": dg.MetadataValue.path(url) if url.startswith("/") else dg.MetadataValue.url(url),
        "rides": report.clusters.rides,
        "anomalous rides": report.clusters.anomalies,
        "summaries": report.method,
        "drifted": ", ".join(shift.figure for shift in report.shifts if shift.drifted) or "nothing",
    }


def _uri(draw: Any) -> str:
    """A chart as a data: URI, from the Markdown image that the UI shows."""
    return str(png(draw, height=4.5).value).removeprefix("![plot](").removesuffix(")")


def _common(
    settings: Settings,
    rules: RidesSettings,
    stage: str,
    *,
    kinds: set[str],
    deps: tuple[str, ...] | list[str] = (),
) -> dict[str, Any]:
    places = (settings.storage, settings.catalog_url, rules.url)
    is_remote = any(place.startswith(("s3:", "postgres")) for place in places)
    return {
        "key": dg.AssetKey([GROUP, stage]),
        "deps": [dg.AssetKey([GROUP, dep]) for dep in deps],
        "partitions_def": partitions(rules),
        "backfill_policy": dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        "retry_policy": NETWORK_RETRIES if is_remote else None,
        "group_name": GROUP,
        "owners": OWNERS,
        "kinds": kinds,
    }
