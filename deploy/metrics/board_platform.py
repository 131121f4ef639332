"""The dashboard of the platform itself: runs, daemon, people, machine."""

from panels import BAD, ONE_IS_GOOD, RED, WARN, Board, Panel

PLATFORM = Board(
    "platform",
    "Platform",
    "Whether everything runs: alerts, runs, the daemon, the machine, the exporter itself.",
    {
        "Now": [
            Panel(
                "Alerts",
                "What fires now?",
                [
                    (
                        'ALERTS{alertstate="firing",severity!=""} or on () '
                        'label_replace(vector(0), "alertname", "none", "", "")',
                        "",
                    )
                ],
                "table",
                width=12,
            ),
            Panel(
                "Version and settings",
                "What does the platform stand on?",
                [
                    ("rag_platform_build_info", ""),
                    ("rag_platform_settings_info", ""),
                ],
                "table",
                width=12,
            ),
        ],
        "Runs": [
            Panel(
                "Under way",
                "How many runs wait, start, run?",
                [("rag_platform_runs_now", "{{status}}")],
                stacked=True,
                dagster="/runs",
            ),
            Panel(
                "Ended within a day",
                "How did the runs of a day end?",
                [
                    (
                        'sum by (status) (rag_platform_runs{status=~"success|failure|canceled"})',
                        "{{status}}",
                    )
                ],
                dagster="/runs",
            ),
            Panel(
                "Jobs whose last run failed",
                "What has to be looked at?",
                [
                    (
                        "rag_platform_last_run_failed == 1 or on () vector(0)",
                        "{{job_name}}",
                    )
                ],
                "bargauge",
                steps=BAD,
                dagster="/runs?q%5B0%5D=status%3AFAILURE",
            ),
            Panel(
                "Oldest run",
                "For how long does the oldest run wait or go on?",
                [("rag_platform_oldest_run_seconds", "{{status}}")],
                unit="s",
                steps=((1_800, "orange"),),
            ),
            Panel(
                "Duration",
                "How long did nine of ten runs take that succeeded within a day?",
                [
                    (
                        """histogram_quantile(0.9,
                        sum by (le, job_name) (rag_platform_run_seconds_bucket))""",
                        "{{job_name}}",
                    )
                ],
                unit="s",
            ),
            Panel(
                "Since the last success",
                "Which jobs have not succeeded for long?",
                [
                    (
                        "time() - rag_platform_last_success_timestamp_seconds",
                        "{{job_name}}",
                    )
                ],
                "bargauge",
                "s",
            ),
            Panel(
                "Pools",
                "How many slots of the pools are taken and free?",
                [("rag_platform_pool_slots", "{{pool}} {{state}}")],
                "bargauge",
                dagster="/deployment/concurrency",
            ),
            Panel(
                "Steps that wait for a slot",
                "Is a pool too small?",
                [("rag_platform_pool_pending_steps", "{{pool}}")],
            ),
            Panel(
                "Gates",
                "How many gates failed when they were evaluated last?",
                [("rag_platform_asset_checks", "{{status}}")],
                "stat",
            ),
        ],
        "Automation": [
            Panel(
                "Daemon",
                "Does each part of the daemon report? (1)",
                [("rag_platform_daemon_healthy", "{{daemon}}")],
                "bargauge",
                top=1,
                base=RED,
                steps=ONE_IS_GOOD,
                dagster="/deployment/daemons",
            ),
            Panel(
                "Heartbeats",
                "How long ago did each part of the daemon report?",
                [("rag_platform_daemon_heartbeat_age_seconds", "{{daemon}}")],
                unit="s",
                bottom=None,
                steps=((300, "red"),),
            ),
            Panel(
                "Ticks",
                "How long ago did schedules and sensors do something?",
                [("rag_platform_automation_tick_age_seconds", "{{kind}} {{name}}")],
                unit="s",
                dagster="/automation",
            ),
            Panel(
                "Failing automation",
                "Which schedules and sensors fail?",
                [
                    (
                        "rag_platform_automation_tick_failed == 1 or on () vector(0)",
                        "{{kind}} {{name}}",
                    )
                ],
                "bargauge",
                steps=BAD,
                dagster="/automation",
            ),
            Panel(
                "Switched off",
                "How many schedules and sensors are off?",
                [("count(rag_platform_automation_running == 0) or vector(0)", "off")],
                "stat",
            ),
            Panel(
                "Backfills",
                "Which backfills are open, or were begun within a day?",
                [("rag_platform_backfills", "{{status}}")],
                dagster="/runs?view=backfills",
            ),
        ],
        "People": [
            Panel(
                "Messages",
                "Is a message not delivered?",
                [
                    ("rag_platform_notifications_waiting", "waiting"),
                    ("sum(rag_platform_deliveries_waiting)", "refused so far"),
                    ("sum(rag_platform_deliveries_failed)", "given up"),
                ],
                steps=WARN,
            ),
            Panel(
                "Changes by people",
                "What was changed, and did it end well?",
                [
                    (
                        """sum by (action, via, outcome) (
                        increase(rag_platform_audit_actions_total[1d]))""",
                        "{{action}} {{via}} {{outcome}}",
                    )
                ],
                page="/audit",
            ),
            Panel(
                "Changes under way",
                "Did a process die in the middle of a change?",
                [("rag_platform_audit_actions_open", "open")],
                "stat",
                steps=WARN,
                page="/audit",
            ),
        ],
        "Machine": [
            Panel(
                "Free space",
                "How full is the disk of the state folder?",
                [
                    (
                        "rag_platform_disk_free_bytes / rag_platform_disk_size_bytes",
                        "{{place}}",
                    )
                ],
                unit="percentunit",
                top=1,
                base="red",
                steps=((0.05, "orange"), (0.15, "green")),
            ),
            Panel(
                "Catalog",
                "How large is the database of the catalog?",
                [("rag_platform_catalog_size_bytes", "catalog")],
                unit="bytes",
            ),
            Panel(
                "Storage",
                "How long does the object store take to answer?",
                [("rag_platform_storage_check_seconds", "storage")],
                unit="s",
            ),
            Panel(
                "Collectors",
                "Which parts of the metrics are missing? (0)",
                [("rag_platform_collector_success", "{{collector}}")],
                "bargauge",
                top=1,
                base=RED,
                steps=ONE_IS_GOOD,
            ),
            Panel(
                "Time to collect",
                "What do the metrics themselves cost?",
                [("rag_platform_collector_duration_seconds", "{{collector}}")],
                unit="s",
            ),
            Panel(
                "Age of the metrics",
                "How old is what is shown of each part?",
                [("rag_platform_collector_age_seconds", "{{collector}}")],
                unit="s",
                steps=((300, "red"),),
            ),
            Panel(
                "Collecting now",
                "Does a collector hang?",
                [("rag_platform_collector_running_seconds", "{{collector}}")],
                unit="s",
                steps=((60, "orange"),),
            ),
        ],
    },
)
