"""The dashboards of what the platform computes itself: the rides of a day, and models."""

from panels import MODEL, ONE_IS_GOOD, RED, WARN, Board, Panel

RIDES = Board(
    "rides",
    "Rides",
    "Whether the report of the newest day is there, and what is in it.",
    {
        "Newest day": [
            Panel(
                "Age of the report",
                "How long ago ended the newest day that has a report?",
                [("rag_platform_rides_report_age_seconds", "report")],
                "stat",
                "s",
                steps=((36 * 3_600, "red"),),
            ),
            Panel(
                "Rides",
                "How many rides had the day, and how many were odd or refused?",
                [("rag_platform_rides_newest_day", "{{verdict}}")],
                stacked=True,
            ),
            Panel(
                "Anomalous",
                "Which share of the rides was anomalous?",
                [
                    (
                        """sum(rag_platform_rides_newest_day{verdict="anomalous"})
                        / sum(rag_platform_rides_newest_day{verdict!="refused"})""",
                        "anomalous",
                    )
                ],
                unit="percentunit",
            ),
            Panel(
                "Clusters",
                "How many kinds of rides were found?",
                [("rag_platform_rides_newest_day_clusters", "clusters")],
            ),
            Panel(
                "Summaries",
                "Were the clusters described?",
                [("rag_platform_rides_newest_day_summaries", "{{status}}")],
            ),
            Panel(
                "Unreadable files, drifted figures",
                "Was something wrong with the data of the day?",
                [
                    ("rag_platform_rides_newest_day_unreadable_files", "unreadable files"),
                    ("rag_platform_rides_newest_day_drifted", "figures unlike the days before"),
                ],
                "stat",
                steps=WARN,
            ),
        ]
    },
    hours=24 * 14,
)

MODELS = Board(
    "models",
    "Models of our own",
    "What serves, how well, how old it is, and whether the world has moved on.",
    {
        "Serving": [
            Panel(
                "Versions",
                "Which version serves, which is tried?",
                [(f"rag_platform_model_info{{{MODEL}}}", "")],
                "table",
                width=12,
                page="/models",
            ),
            Panel(
                "Rollout",
                "Which share of the answers comes from the challenger?",
                [(f"rag_platform_model_rollout_ratio{{{MODEL}}}", "{{model}}")],
                "bargauge",
                "percentunit",
                top=1,
                width=12,
            ),
            Panel(
                "Age",
                "How old is what serves and what is tried?",
                [(f"rag_platform_model_version_age_seconds{{{MODEL}}}", "{{model}} {{role}}")],
                unit="s",
            ),
            Panel(
                "Since the last training",
                "How long ago was a candidate evaluated?",
                [
                    (
                        f"time() - rag_platform_model_last_training_timestamp_seconds{{{MODEL}}}",
                        "{{model}}",
                    )
                ],
                "stat",
                "s",
                steps=((10 * 86_400, "orange"),),
            ),
            Panel(
                "Metrics",
                "How good are champion and challenger?",
                [(f"rag_platform_model_metric{{{MODEL}}}", "{{model}} {{metric}} {{role}}")],
                page="/models",
            ),
        ],
        "Newest candidate": [
            Panel(
                "Gates",
                "Which gates did it not pass? (0)",
                [(f"rag_platform_model_gate_passed{{{MODEL}}}", "{{model}} {{gate}}")],
                "bargauge",
                top=1,
                base=RED,
                steps=ONE_IS_GOOD,
                page="/models",
            ),
            Panel(
                "Distance to the bound",
                "How far from the bound was it measured? (measured minus bound)",
                [
                    (
                        f"rag_platform_model_gate_value{{{MODEL}}} - rag_platform_model_gate_bound",
                        "{{model}} {{gate}}",
                    )
                ],
                bottom=None,
            ),
            Panel(
                "Fairness",
                "Lowest selection rate of a group over the highest; below 0.8 is a warning.",
                [(f"rag_platform_model_fairness{{{MODEL}}}", "{{model}} {{column}}")],
                base="orange",
                steps=((0.8, "green"),),
                top=1,
            ),
        ],
        "Drift": [
            Panel(
                "Drift",
                "Did the newest rows or scores differ from what the model knows? (1)",
                [(f"rag_platform_model_drift{{{MODEL}}}", "{{model}} {{kind}}")],
                top=1,
                width=12,
                page="/models",
            ),
            Panel(
                "Last look",
                "How long ago was that found?",
                [
                    (
                        f"time() - rag_platform_model_drift_timestamp_seconds{{{MODEL}}}",
                        "{{model}} {{kind}}",
                    )
                ],
                "stat",
                "s",
                width=12,
            ),
        ],
    },
    {"model": "rag_platform_model_info"},
    hours=24 * 14,
)
