"""Alerts on what the exporter shows: when each fires, and the page that says what to do then."""

from dataclasses import dataclass
from typing import Any, Literal

PAGES = "docs/failures"


@dataclass(frozen=True)
class Alert:
    """A rule. `page` is the file in docs/failures that says what it means and what to do.

    `critical` wakes somebody: data, money or a promise is at stake and nothing mends it by itself.
    """

    name: str
    expr: str
    wait: str
    page: str
    summary: str
    description: str
    severity: Literal["warning", "critical"] = "warning"

    def rule(self, runbooks: str) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": " ".join(self.expr.split()),
            "for": self.wait,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}/{self.page}.md",
            },
        }


# Nobody waits for what was switched off: everything in the settings, or one schedule by hand.
_AUTOMATED = "on () rag_platform_automation_enabled == 1"
_SOURCE_OFF = """on (source) label_replace(rag_platform_automation_running{kind="schedule"} == 0,
    "source", "$1", "name", "(.+)_schedule")"""
_MODEL_OFF = _SOURCE_OFF.replace("source", "model")
_NOT_LISTED = "rag_platform_page_age_seconds > 2 * rag_platform_window_seconds"


def _off(schedule: str) -> str:
    return f'on () rag_platform_automation_running{{name="{schedule}"}} == 0'


DOCUMENTS = [
    Alert(
        "PageOverdue",
        f"""rag_platform_source_freshness_seconds > 2 * rag_platform_window_seconds
        unless on (source) ({_NOT_LISTED}) unless {_SOURCE_OFF} and {_AUTOMATED}""",
        "15m",
        "page-overdue",
        "{{ $labels.source }}: no window is settled for {{ $value | humanizeDuration }}",
        "What was written in the source since then cannot be found by search.",
    ),
    Alert(
        "SourceUnavailable",
        f"{_NOT_LISTED} unless {_SOURCE_OFF} and {_AUTOMATED}",
        "15m",
        "source-unavailable",
        "{{ $labels.source }}: not listed for {{ $value | humanizeDuration }}",
        "No run has listed the source for two of its windows: it does not answer, or nothing runs.",
    ),
    Alert(
        "DeadLetters",
        """sum by (source) (rag_platform_documents{state="dead"})
        / sum by (source) (rag_platform_documents{state=~"live|dead"})
        > on (source) rag_platform_dead_letter_limit_ratio
        and sum by (source) (rag_platform_documents{state="dead"}) >= 5""",
        "10m",
        "dead-letters",
        "{{ $labels.source }}: {{ $value | humanizePercentage }} of the documents have no text",
        "More of the documents than the settings allow could not be parsed or were refused.",
    ),
    Alert(
        "NewestPageRefused",
        """sum by (source) (rag_platform_newest_page_documents{outcome="dead_lettered"})
        / sum by (source) (rag_platform_newest_page_documents{outcome!="deferred"})
        > on (source) rag_platform_dead_letter_limit_ratio
        and sum by (source) (rag_platform_newest_page_documents{outcome="dead_lettered"}) >= 5""",
        "10m",
        "dead-letters",
        "{{ $labels.source }}: {{ $value | humanizePercentage }} of the newest page was refused",
        "What the source delivers has changed, or a parser has.",
    ),
    Alert(
        "ErasureOverdue",
        "rag_platform_erasure_oldest_seconds > 86400",
        "15m",
        "erasure-overdue",
        "An erasure was asked for {{ $value | humanizeDuration }} ago and is not done",
        "A document that somebody has a right to see gone is still kept.",
        "critical",
    ),
    Alert(
        "ObjectStoreDown",
        'rag_platform_collector_success{collector="storage"} == 0',
        "5m",
        "object-store-down",
        "The storage of pages does not answer",
        "No stage can read or write its pages; runs fail until it is back.",
        "critical",
    ),
]

INDEXES = [
    Alert(
        "EmbeddingSlow",
        """increase(rag_platform_embed_seconds_sum[1h])
        / increase(rag_platform_embedded_texts_total[1h])
        > 3 * increase(rag_platform_embed_seconds_sum[7d])
        / increase(rag_platform_embedded_texts_total[7d])
        and increase(rag_platform_embedded_texts_total[1h]) > 100""",
        "15m",
        "embedding-slow",
        "{{ $labels.index }}: a text takes {{ $value | humanizeDuration }} to embed",
        "That is more than three times what it took in the week before.",
    ),
    Alert(
        "VectorStoreFailing",
        "increase(rag_platform_vector_store_failures_total[30m]) > 0",
        "0s",
        "vector-store-failing",
        "{{ $labels.index }}: the vector store failed ({{ $labels.operation }})",
        "A run over the index ended with an error of the vector store within half an hour.",
    ),
    Alert(
        "VectorStoreDown",
        'rag_platform_collector_success{collector="vector_store"} == 0',
        "5m",
        "vector-store-failing",
        "The vector server does not answer",
        "Nothing can be searched or indexed.",
        "critical",
    ),
    Alert(
        "ReconcileDrift",
        """rag_platform_reconcile_unrepaired_documents > 0
        or rag_platform_reconcile_orphan_points > 0""",
        "5m",
        "reconcile-drift",
        "{{ $labels.index }}: the index is not what the catalog says ({{ $value }})",
        "The last comparison found documents or points that differ, and left them so.",
    ),
    Alert(
        "ReconcileMissing",
        f"""time() - rag_platform_reconcile_last_timestamp_seconds > 9 * 86400
        unless {_off("reconcile_weekly")} and {_AUTOMATED}""",
        "1h",
        "reconcile-drift",
        "{{ $labels.index }}: not compared with the catalog for {{ $value | humanizeDuration }}",
        "The weekly comparison of the indexes with the catalog has not run.",
    ),
    Alert(
        "IndexBehind",
        """(rag_platform_index_behind_documents > 0)
        and on (index) (rag_platform_index_info{live="true"} == 1)""",
        "2h",
        "index-behind",
        "{{ $labels.index }}: {{ $value }} documents are not searchable as they are now",
        "The index that answers has not taken up changes for two hours.",
    ),
]

_FAILED = """(sum by (model) (increase(rag_platform_llm_requests_total{status!="settled"}[30m]))
    - (sum by (model) (increase(rag_platform_llm_failed_requests_total{error="rate_limited"}[30m]))
    or sum by (model) (0 * rag_platform_llm_requests_total)))"""

LLM = [
    Alert(
        "BudgetNearlySpent",
        """rag_platform_budget_left_usd / rag_platform_budget_limit_usd < 0.2
        unless rag_platform_budget_left_usd / rag_platform_budget_limit_usd < 0.02""",
        "1m",
        "budget-spent",
        "{{ $value | humanizePercentage }} of today's budget for models is left",
        "What no longer fits is deferred to tomorrow (UTC).",
    ),
    Alert(
        "BudgetSpent",
        "rag_platform_budget_left_usd / rag_platform_budget_limit_usd < 0.02",
        "1m",
        "budget-spent",
        "Today's budget for models is spent",
        "Whatever asks a model is deferred until midnight UTC, or until the limit is raised.",
    ),
    Alert(
        "RateLimited",
        """sum by (model) (
        increase(rag_platform_llm_failed_requests_total{error="rate_limited"}[15m]))
        / sum by (model) (increase(rag_platform_llm_requests_total[15m])) > 0.2""",
        "10m",
        "rate-limited",
        "{{ $labels.model }}: {{ $value | humanizePercentage }} of the requests are refused",
        "The service wants fewer requests than the settings allow; work goes on, slowly.",
    ),
    Alert(
        "ProviderDown",
        # A service that fails is asked every five minutes only. Failures are not counted by their
        # error: which there will be is not known, and what begins with it has not grown by it.
        f"""({_FAILED} > 3)
        / sum by (model) (increase(rag_platform_llm_requests_total[30m])) > 0.5""",
        "5m",
        "provider-down",
        "{{ $labels.model }}: {{ $value | humanizePercentage }} of the requests fail",
        "The service does not answer, or not as it should.",
        "critical",
    ),
    Alert(
        "ConfidenceShift",
        """sum by (source) (rag_platform_confidence_gsum)
        / sum by (source) (rag_platform_confidence_gcount)
        < 0.9 * sum by (source) (rag_platform_confidence_gsum offset 7d)
        / sum by (source) (rag_platform_confidence_gcount offset 7d)""",
        "1h",
        "confidence-shift",
        "{{ $labels.source }}: models are less sure of documents ({{ $value | humanize }})",
        "Mean confidence fell by more than a tenth in a week: other documents, or another model.",
    ),
    Alert(
        "ReviewOverdue",
        "rag_platform_reviews_overdue > 0",
        "5m",
        "review-overdue",
        "{{ $labels.source }}: {{ $value }} reviews are overdue",
        "Documents wait for a person longer than was promised.",
    ),
]

RIDES = [
    Alert(
        "RidesMissing",
        f"rag_platform_rides_report_age_seconds > 36 * 3600 unless {_off('rides_schedule')} "
        f"and {_AUTOMATED}",
        "10m",
        "rides-missing",
        "The newest report of rides is of a day that ended {{ $value | humanizeDuration }} ago",
        "The files of the day did not come, or the morning run failed.",
    ),
    Alert(
        "RidesUnreadable",
        "rag_platform_rides_newest_day_unreadable_files > 0",
        "5m",
        "rides-missing",
        "{{ $value }} files of the newest day of rides could not be read",
        "The report of that day is made without them.",
    ),
]

MODELS = [
    Alert(
        "ModelGateFailed",
        "rag_platform_model_gate_passed == 0",
        "5m",
        "model-gate",
        "{{ $labels.model }}: the newest candidate did not pass {{ $labels.gate }}",
        "It was not registered; what served before goes on serving.",
    ),
    Alert(
        "ModelDrift",
        "rag_platform_model_drift == 1",
        "5m",
        "model-drift",
        "{{ $labels.model }}: the newest {{ $labels.kind }} differ from what it knows",
        "Its answers may no longer be as good as they were measured to be.",
    ),
    Alert(
        "ModelNotTrained",
        f"""time() - rag_platform_model_last_training_timestamp_seconds > 10 * 86400
        unless {_MODEL_OFF} and {_AUTOMATED}""",
        "1h",
        "model-old",
        "{{ $labels.model }}: no candidate was evaluated for {{ $value | humanizeDuration }}",
        "The weekly training did not run, or had no data.",
    ),
    Alert(
        "ModelOld",
        'rag_platform_model_version_age_seconds{role="champion"} > 90 * 86400',
        "1h",
        "model-old",
        "{{ $labels.model }}: what serves is {{ $value | humanizeDuration }} old",
        "No candidate of the past months was better, or none was promoted.",
    ),
    Alert(
        "MlflowDown",
        'rag_platform_collector_success{collector="mlflow"} == 0',
        "10m",
        "mlflow-down",
        "MLflow does not answer",
        "Models cannot be trained, compared or promoted; what is loaded goes on serving.",
    ),
]

PLATFORM = [
    Alert(
        "RunFailed",
        "rag_platform_last_run_failed == 1",
        "5m",
        "run-failures",
        "The last run of {{ $labels.job_name }} failed",
        "It stays so until a run of the job succeeds.",
    ),
    Alert(
        "GateFailing",
        'rag_platform_asset_check_failed{severity="error"} == 1',
        "5m",
        "gate-failing",
        "{{ $labels.asset }}: the gate {{ $labels.check }} failed",
        "Everything after it waits: what was good before is still served.",
    ),
    Alert(
        "QueueStuck",
        # Behind others that run, as in a backfill, a run may wait for long.
        """rag_platform_oldest_run_seconds{status=~"not_started|starting"} > 1800
        or rag_platform_oldest_run_seconds{status="queued"} > 1800
        and on () sum(rag_platform_runs_now{status="started"}) == 0
        or rag_platform_oldest_run_seconds{status="queued"} > 12 * 3600""",
        "5m",
        "queue-stuck",
        "A run is {{ $labels.status }} for {{ $value | humanizeDuration }}",
        "Runs are not let out of the queue, or are not started.",
    ),
    Alert(
        "SlotsHeld",
        """sum(rag_platform_pool_slots{state="claimed"}) > 0
        and on () sum(rag_platform_runs_now{status=~"started|canceling"}) == 0""",
        "15m",
        "queue-stuck",
        "{{ $value }} slots of pools are held while nothing runs",
        "Runs that died hold them: the next ones wait.",
    ),
    Alert(
        "DaemonDown",
        f"rag_platform_daemon_healthy == 0 and {_AUTOMATED}",
        "5m",
        "daemon-down",
        "Dagster's daemon ({{ $labels.daemon }}) does not report, or reports errors",
        "Schedules, sensors, the queue or retries stand still.",
        "critical",
    ),
    Alert(
        "CodeLocationDown",
        # Without a daemon there is another alert.
        """min(rag_platform_automation_tick_age_seconds{kind="sensor"}) > 600
        unless on () rag_platform_daemon_healthy{daemon="sensor"} == 0""",
        "5m",
        "code-location-down",
        "No sensor did anything for {{ $value | humanizeDuration }}",
        "The daemon does not reach the code server, or its code does not load.",
        "critical",
    ),
    Alert(
        "AutomationFailing",
        "rag_platform_automation_tick_failed == 1",
        "15m",
        "code-location-down",
        "The {{ $labels.kind }} {{ $labels.name }} fails",
        "It starts no runs; its error is in Dagster's UI, below Automation.",
    ),
    Alert(
        "ClockJump",
        """abs(rag_platform_clock_seconds - timestamp(rag_platform_clock_seconds)) > 60
        or rag_platform_daemon_heartbeat_age_seconds < -60""",
        "2m",
        "clock-jump",
        "Clocks differ by {{ $value | humanizeDuration }}",
        "The exporter's clock is not Prometheus's, or the daemon reported from the future.",
    ),
    Alert(
        "ExporterDown",
        'up{job="rag_platform"} == 0 or absent(up{job="rag_platform"})',
        "3m",
        "exporter-down",
        "The exporter does not answer",
        "No other alert can fire until it does.",
        "critical",
    ),
    Alert(
        "CollectorFailing",
        # Of what is down itself others tell, and of what falls with it nobody needs to.
        """rag_platform_collector_success{
        collector!~"catalog|storage|vector_store|mlflow|dagster"} == 0
        unless on () rag_platform_collector_success{collector=~"catalog|storage"} == 0""",
        "10m",
        "exporter-down",
        "The exporter cannot collect {{ $labels.collector }}",
        "The alerts on these metrics cannot fire; the reason is in the exporter's log.",
    ),
    Alert(
        "CatalogDown",
        'rag_platform_collector_success{collector=~"catalog|dagster"} == 0',
        "2m",
        "catalog-down",
        "The database of {{ $labels.collector }} does not answer",
        "Nothing runs without the catalog and Dagster's own storage.",
        "critical",
    ),
    Alert(
        "DiskNearlyFull",
        """(rag_platform_disk_free_bytes / rag_platform_disk_size_bytes < 0.15
        or rag_platform_disk_free_bytes / rag_platform_disk_size_bytes < 0.4
        and predict_linear(rag_platform_disk_free_bytes[6h], 86400) < 0)
        unless rag_platform_disk_free_bytes / rag_platform_disk_size_bytes < 0.05""",
        "30m",
        "disk-full",
        "The disk of the state folder is nearly full, or will be within a day",
        "Free space is below 15 %, or below 40 % and falls so that none is left tomorrow.",
    ),
    Alert(
        "DiskFull",
        "rag_platform_disk_free_bytes / rag_platform_disk_size_bytes < 0.05",
        "5m",
        "disk-full",
        "The disk of the state folder is full ({{ $value | humanizePercentage }} free)",
        "Runs fail when they cannot write; nothing that is written already is lost.",
        "critical",
    ),
    Alert(
        "NotificationsStuck",
        "rag_platform_notification_oldest_seconds > 1800",
        "10m",
        "notifications-stuck",
        "A message waits for {{ $value | humanizeDuration }}",
        "People are not told of what they should know.",
    ),
    Alert(
        "DeliveryGivenUp",
        "delta(rag_platform_deliveries_failed[1h]) > 0",
        "0s",
        "notifications-stuck",
        "{{ $labels.channel }}: a message was given up",
        "The channel refused it for good within the hour.",
    ),
]

GROUPS = {
    "documents": DOCUMENTS,
    "indexes": INDEXES,
    "llm": LLM,
    "rides": RIDES,
    "models": MODELS,
    "platform": PLATFORM,
}


def rules(runbooks: str = PAGES) -> dict[str, Any]:
    """The rule file; `runbooks` is the address below which the pages are found."""
    return {
        "groups": [
            {"name": f"rag_platform_{name}", "rules": [alert.rule(runbooks) for alert in alerts]}
            for name, alerts in GROUPS.items()
        ]
    }
