"""Every alert fires when it should and resolves, by Prometheus's own tests of rules."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_platform.settings import PROJECT_ROOT

RULES = PROJECT_ROOT / "deploy" / "prometheus" / "rag_platform.rules.yml"
DAY = 86_400
STEP = 300  # seconds between samples, and between evaluations

# Values of a series: an hour as it should be, four hours otherwise, an hour as before.
GOOD, BAD = 12, 48
QUIET, FIRING, OVER = 50, 290, 355  # minutes: before, at the end of the bad, after


def turn(good: float, bad: float) -> list[float]:
    """As it should be, otherwise, and as before."""
    return [good] * GOOD + [bad] * BAD + [good] * GOOD


def always(value: float) -> list[float]:
    return [value] * (2 * GOOD + BAD)


def grown(steps: Iterable[float]) -> list[float]:
    """A counter that grows by so much at each sample."""
    return list(itertools.accumulate(steps))


@dataclass(frozen=True)
class Case:
    """What happens, and the minutes at which the alert does and does not fire."""

    series: Mapping[str, Sequence[float | None]]
    fires: tuple[int, ...] = (FIRING,)
    quiet: tuple[int, ...] = (QUIET, OVER)


def one(series: str, good: float, bad: float, **others: float) -> Case:
    """A series that turns; `others` stay as they are."""
    same = {f"rag_platform_{name}": always(value) for name, value in others.items()}
    return Case({f"rag_platform_{series}": turn(good, bad), **same})


def never(case: Case) -> Case:
    """The same turn, at which nobody is called."""
    return Case(case.series, fires=(), quiet=(QUIET, FIRING, OVER))


def _automated(case: Case, *, off: str | None = None) -> list[Case]:
    """An alert for what runs by itself: not where nothing does, nor where `off` is switched off."""
    on = {"rag_platform_automation_enabled": always(1)}
    switched = f'rag_platform_automation_running{{name="{off}",kind="schedule"}}'
    others = [
        {**on, switched: always(1)},
        {"rag_platform_automation_enabled": always(0)},
        {**on, switched: always(0)},
    ]
    first, *quiet = [Case({**case.series, **more}) for more in others[: 3 if off else 2]]
    return [first, *map(never, quiet)]


def lost(collector: str) -> Case:
    return one(f'collector_success{{collector="{collector}"}}', 1, 0)


NOTES, V1, M, MODEL = '{source="notes"}', '{index="v1"}', '{model="m"}', '{model="credit"}'
WEEK = 7 * DAY // STEP
FAILURES = 'rag_platform_vector_store_failures_total{index="v1",operation="apply"}'
REVIEWS = 'collector_success{collector="reviews"}'
DISK = 'disk_free_bytes{place="home"}'
SCHEDULE, PAGE = "notes_schedule", ("outcome", "dead_lettered", "inserted", "deferred")


def _requests(*, settled: float, failed: float, error: str) -> Case:
    """Within five minutes; before and after, ten are answered."""
    answered, refused = turn(10, settled), turn(0, failed)
    return Case(
        {
            'rag_platform_llm_requests_total{model="m",status="settled"}': grown(answered),
            'rag_platform_llm_requests_total{model="m",status="failed"}': grown(refused),
            f'rag_platform_llm_failed_requests_total{{model="m",error="{error}"}}': grown(refused),
        }
    )


def _embedding() -> Case:
    """A day at 10 ms a text, three hours at 100 ms, two hours as before."""
    seconds = [10.0] * 288 + [100.0] * 36 + [10.0] * 24
    labels = '{index="v1",model="minilm"}'
    return Case(
        {
            f"rag_platform_embed_seconds_sum{labels}": grown(seconds),
            f"rag_platform_embedded_texts_total{labels}": grown([1_000.0] * len(seconds)),
        },
        fires=(24 * 60 + 170,),
        quiet=(24 * 60 - 10, 24 * 60 + 180 + 115),
    )


def _page(series: str, good: float, bad: float, *, window: float) -> Case:
    return one(f"{series}{NOTES}", good, bad, **{f"window_seconds{NOTES}": window})


def _not_listed() -> Case:
    """Nor is there a page, then."""
    found = _page("page_age_seconds", DAY, 3 * DAY, window=DAY)
    fresh = {f"rag_platform_source_freshness_seconds{NOTES}": turn(DAY, 3 * DAY)}
    return Case({**found.series, **fresh})


def _dead_letters(
    metric: str,
    label: str,
    refused: str,
    good_value: str,
    of_none: str,
    *,
    dead: float,
    good: float = 90,
    limit: float = 0.2,
) -> Case:
    def of(value: str) -> str:
        return f'{metric}{{source="notes",{label}="{value}"}}'

    others = {of(good_value): good, of(of_none): 900, f"dead_letter_limit_ratio{NOTES}": limit}
    return one(of(refused), 1, dead, **others)


def _confidence() -> Case:
    """A week at 0.9, three hours at 0.6, two hours at 0.9, of 100 documents."""
    means = [0.9] * WEEK + [0.6] * 36 + [0.9] * 24
    return Case(
        {
            f"rag_platform_confidence_gsum{NOTES}": [100 * mean for mean in means],
            f"rag_platform_confidence_gcount{NOTES}": [100.0] * len(means),
        },
        fires=(7 * 1_440 + 175,),
        quiet=(7 * 1_440 - 5, 7 * 1_440 + 180 + 60),
    )


def _failures() -> Case:
    """The first failure there is an hour on, the second two and a half hours later."""
    counts = [*[0.0] * 12, *[1.0] * 30, *[2.0] * 30]
    return Case({FAILURES: counts}, fires=(65, 85, 215), quiet=(QUIET, 120, 300))


def _old_failures() -> Case:
    """Of last year, for a Prometheus that begins with them."""
    return Case({FAILURES: [*[None] * 12, *[2.0] * 60]}, fires=(), quiet=(65, 85, 300))


def _first_failures() -> Case:
    """An error of which there was none before, asked for every five minutes: a service that is
    left alone in between."""
    refused = grown(turn(0, 1))
    there_from = [None] * GOOD
    return Case(
        {
            'rag_platform_llm_requests_total{model="m",status="settled"}': always(100),
            'rag_platform_llm_requests_total{model="m",status="lost"}': refused,
            'rag_platform_llm_failed_requests_total{model="m",error="timeout"}': [
                *there_from,
                *refused[GOOD:],
            ],
        }
    )


def _queue(status: str, seconds: float, *, started: float) -> Case:
    others = {'runs_now{status="started"}': started}
    return one(f'oldest_run_seconds{{status="{status}"}}', 60, seconds, **others)


def _sensors(**others: float) -> Case:
    """The first of them ticks no more; others do seldom, and schedules when it is time."""
    return one(
        'automation_tick_age_seconds{name="a",kind="sensor"}',
        *(30, 900),
        **{
            'automation_tick_age_seconds{name="b",kind="sensor"}': 9_000,
            'automation_tick_age_seconds{name="c",kind="schedule"}': 10,
            **others,
        },
    )


def _clock() -> Case:
    """An hour ahead of the time that Prometheus has."""
    ahead = turn(0, 3_600)
    return Case({"rag_platform_clock_seconds": [n * STEP + more for n, more in enumerate(ahead)]})


CASES: dict[str, list[Case]] = {
    "PageOverdue": [
        *_automated(_page("source_freshness_seconds", DAY, 3 * DAY, window=DAY), off=SCHEDULE),
        *_automated(_page("source_freshness_seconds", 60, 9_000, window=3_600)),
        # Of a source that is not even listed, another alert tells.
        never(_automated(_not_listed())[0]),
    ],
    "SourceUnavailable": _automated(_not_listed(), off=SCHEDULE),
    "DeadLetters": [
        _dead_letters("documents", "state", "dead", "live", "gone", dead=30),
        # The settings allow it; and of three documents one is no news.
        never(_dead_letters("documents", "state", "dead", "live", "gone", dead=30, limit=0.5)),
        never(_dead_letters("documents", "state", "dead", "live", "gone", dead=4, good=4)),
    ],
    "NewestPageRefused": [
        _dead_letters("newest_page_documents", *PAGE, dead=30),
        never(_dead_letters("newest_page_documents", *PAGE, dead=30, limit=0.5)),
        never(_dead_letters("newest_page_documents", *PAGE, dead=4, good=4)),
    ],
    "ErasureOverdue": [one("erasure_oldest_seconds", 3_600, 2 * DAY)],
    "ObjectStoreDown": [lost("storage")],
    "EmbeddingSlow": [_embedding()],
    "VectorStoreFailing": [_failures(), _old_failures()],
    "VectorStoreDown": [lost("vector_store")],
    "ReconcileDrift": [
        one(f"reconcile_unrepaired_documents{V1}", 0, 2),
        one(f"reconcile_orphan_points{V1}", 0, 2),
    ],
    # Time begins with the test.
    "ReconcileMissing": _automated(
        one(f"reconcile_last_timestamp_seconds{V1}", -8 * DAY, -10 * DAY), off="reconcile_weekly"
    ),
    "IndexBehind": [
        one(
            f"index_behind_documents{V1}",
            *(0, 5),
            **{
                'index_info{index="v1",state="live",live="true"}': 1,
                'index_behind_documents{index="v2"}': 9,
                'index_info{index="v2",state="building",live="false"}': 1,
            },
        )
    ],
    "BudgetNearlySpent": [
        one('budget_left_usd{scope="day"}', 9, 1, **{'budget_limit_usd{scope="day"}': 10}),
        never(one('budget_left_usd{scope="day"}', 9, 0, **{'budget_limit_usd{scope="day"}': 10})),
    ],
    "BudgetSpent": [
        one('budget_left_usd{scope="day"}', 1, 0, **{'budget_limit_usd{scope="day"}': 10})
    ],
    "RateLimited": [_requests(settled=8, failed=4, error="rate_limited")],
    "ProviderDown": [
        _requests(settled=2, failed=8, error="timeout"),
        _first_failures(),
        never(_requests(settled=2, failed=8, error="rate_limited")),
    ],
    "ConfidenceShift": [_confidence()],
    "ReviewOverdue": [one(f"reviews_overdue{NOTES}", 0, 3)],
    "RidesMissing": _automated(one("rides_report_age_seconds", DAY, 2 * DAY), off="rides_schedule"),
    "RidesUnreadable": [one("rides_newest_day_unreadable_files", 0, 1)],
    "ModelGateFailed": [one('model_gate_passed{model="credit",gate="auc"}', 1, 0)],
    "ModelDrift": [one('model_drift{model="credit",kind="training"}', 0, 1)],
    "ModelNotTrained": _automated(
        one(f"model_last_training_timestamp_seconds{MODEL}", -7 * DAY, -11 * DAY),
        off="credit_schedule",
    ),
    "ModelOld": [
        one(
            'model_version_age_seconds{model="credit",role="champion"}',
            *(80 * DAY, 91 * DAY),
            **{'model_version_age_seconds{model="credit",role="challenger"}': 99 * DAY},
        )
    ],
    "MlflowDown": [lost("mlflow")],
    "RunFailed": [one('last_run_failed{job_name="notes"}', 0, 1)],
    "GateFailing": [
        one(
            'asset_check_failed{asset="notes/clean_docs",check="few",severity="error"}',
            *(0, 1),
            **{'asset_check_failed{asset="notes/clean_docs",check="new",severity="warn"}': 1},
        )
    ],
    "QueueStuck": [
        _queue("queued", 3_600, started=0),
        _queue("starting", 3_600, started=4),
        never(_queue("started", 9_000, started=4)),
        never(_queue("queued", 3_600, started=4)),  # behind a backfill
        _queue("queued", 13 * 3_600, started=4),
    ],
    "SlotsHeld": [
        one(
            'pool_slots{pool="training",state="claimed"}',
            *(0, 1),
            **{'runs_now{status="started"}': 0, 'runs_now{status="queued"}': 4},
        )
    ],
    "DaemonDown": _automated(one('daemon_healthy{daemon="sensor"}', 1, 0)),
    "CodeLocationDown": [
        _sensors(**{'daemon_healthy{daemon="sensor"}': 1}),
        never(_sensors(**{'daemon_healthy{daemon="sensor"}': 0})),
    ],
    "AutomationFailing": [one('automation_tick_failed{name="a",kind="sensor"}', 0, 1)],
    "ClockJump": [
        _clock(),
        one('daemon_heartbeat_age_seconds{daemon="sensor"}', 10, -3_600),
    ],
    "ExporterDown": [
        Case({'up{job="rag_platform",instance="metrics:9464"}': turn(1, 0)}),
        Case({'up{job="rag_platform"}': [1] * GOOD + [None] * BAD + [1] * GOOD}),
    ],
    "CollectorFailing": [
        lost("reviews"),
        never(one(REVIEWS, 1, 0, **{'collector_success{collector="catalog"}': 0})),
    ],
    "CatalogDown": [lost("catalog"), lost("dagster")],
    "DiskNearlyFull": [
        one('disk_free_bytes{place="home"}', 50, 10, **{'disk_size_bytes{place="home"}': 100}),
        # 2 % in an hour from 50 %: at 34 %, none will be left in 24 hours.
        Case(
            {
                'rag_platform_disk_free_bytes{place="home"}': [50.0] * 72
                + [50 - n * 2 / 12 for n in range(96)],
                'rag_platform_disk_size_bytes{place="home"}': [100.0] * 168,
            },
            fires=(168 * 5 - 5,),
            quiet=(QUIET, 72 * 5),
        ),
        # As fast, with much left: an ingest that ends.
        Case(
            {
                'rag_platform_disk_free_bytes{place="home"}': [95.0] * 72
                + [95 - n * 5 / 12 for n in range(96)],
                'rag_platform_disk_size_bytes{place="home"}': [100.0] * 168,
            },
            fires=(),
            quiet=(168 * 5 - 5,),
        ),
        never(one(DISK, 50, 4, **{'disk_size_bytes{place="home"}': 100})),  # which is full
    ],
    "DiskFull": [
        one('disk_free_bytes{place="home"}', 10, 4, **{'disk_size_bytes{place="home"}': 100})
    ],
    "NotificationsStuck": [one("notification_oldest_seconds", 20, 3_600)],
    "DeliveryGivenUp": [
        Case(
            {'rag_platform_deliveries_failed{channel="slack"}': [3.0] * 12 + [4.0] * 60},
            fires=(70,),
            quiet=(QUIET, 180),
        )
    ],
}


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_every_alert_has_a_case() -> None:
    assert CASES.keys() == alerts().keys()


def test_every_alert_fires_and_resolves(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    files = [_written(tmp_path, name, rule) for name, rule in alerts().items()]
    done = subprocess.run(
        ["promtool", "test", "rules", *files], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _written(folder: Path, name: str, rule: dict[str, Any]) -> str:
    """A file of tests of one rule: with all of them, each test would evaluate every one."""
    rules, tests = folder / f"{name}.rules.yml", folder / f"{name}.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [rule]}]}), "utf-8")
    interval = f"{STEP // 60}m"
    found = {
        "rule_files": [str(rules)],
        "evaluation_interval": interval,
        "tests": [_test(name, case, interval) for case in CASES[name]],
    }
    tests.write_text(json.dumps(found), encoding="utf-8")  # which is YAML too, and quicker
    return str(tests)


def _test(name: str, case: Case, interval: str) -> dict[str, Any]:
    series = [
        {"series": series, "values": " ".join("_" if v is None else repr(v) for v in values)}
        for series, values in case.series.items()
    ]
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    expected = [(at, 1) for at in case.fires] + [(at, 0) for at in case.quiet]
    return {
        "name": name,
        "interval": interval,
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{at}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if count else [],
            }
            for at, count in expected
        ],
    }
