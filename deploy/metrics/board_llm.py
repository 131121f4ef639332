"""The dashboard of models of a service: money, requests, and what waits for a person."""

from panels import MODEL, SOURCE, Board, Panel, quantiles

LLM = Board(
    "llm",
    "Models of others: cost, latency, review",
    "What models of a service cost and how they answer, and what waits for a person.",
    {
        "Money": [
            Panel(
                "Budget of today",
                "How much of today's budget is spent, set aside, left?",
                [
                    ("rag_platform_budget_limit_usd", "limit"),
                    ("rag_platform_budget_spent_usd", "spent"),
                    ("rag_platform_budget_reserved_usd", "reserved"),
                    ("rag_platform_budget_left_usd", "left"),
                ],
                "stat",
                "currencyUSD",
                page="/costs",
            ),
            Panel(
                "Cost by model",
                "What was spent within an hour, by model?",
                [
                    (
                        f"""sum by (model) (
                        increase(rag_platform_llm_cost_usd_total{{{MODEL}}}[1h]))""",
                        "{{model}}",
                    )
                ],
                unit="currencyUSD",
                stacked=True,
                page="/costs",
            ),
            Panel(
                "Cost by asset",
                "What asked, and what did it cost within a day?",
                [
                    (
                        f"""topk(10, sum by (purpose) (
                        increase(rag_platform_llm_cost_usd_total{{{MODEL}}}[1d])))""",
                        "{{purpose}}",
                    )
                ],
                "bargauge",
                "currencyUSD",
            ),
            Panel(
                "Cost by prompt",
                "Which version of a prompt costs what within a day?",
                [
                    (
                        f"""topk(10, sum by (prompt) (
                        increase(rag_platform_llm_cost_usd_total{{{MODEL}}}[1d])))""",
                        "{{prompt}}",
                    )
                ],
                "bargauge",
                "currencyUSD",
            ),
            Panel(
                "Saved by the cache",
                "What did answers cost that were not asked for again?",
                [
                    (
                        f"sum by (model) (rag_platform_llm_saved_usd_total{{{MODEL}}})",
                        "{{model}}",
                    )
                ],
                "stat",
                "currencyUSD",
                width=4,
            ),
            Panel(
                "Cache hits",
                "Which share of the questions was answered from the cache?",
                [
                    (
                        f"""sum by (model) (rag_platform_llm_cache_hits_total{{{MODEL}}})
                        / (sum by (model) (rag_platform_llm_cache_hits_total{{{MODEL}}})
                        + sum by (model) (rag_platform_llm_requests_total{{status="settled"}}))""",
                        "{{model}}",
                    )
                ],
                "stat",
                "percentunit",
                width=4,
            ),
            Panel(
                "Not booked yet",
                "How much may have been billed by requests whose end is not known?",
                [(f"rag_platform_llm_unsettled_usd{{{MODEL}}}", "{{model}}")],
                unit="currencyUSD",
            ),
        ],
        "Requests": [
            Panel(
                "Requests",
                "How many requests end, and how?",
                [
                    (
                        f"""sum by (model, status) (
                        rate(rag_platform_llm_requests_total{{{MODEL}}}[1h]))""",
                        "{{model}} {{status}}",
                    )
                ],
                unit="reqps",
            ),
            Panel(
                "Failures",
                "Why do requests fail?",
                [
                    (
                        f"""sum by (model, error) (
                        increase(rag_platform_llm_failed_requests_total{{{MODEL}}}[1h]))""",
                        "{{model}} {{error}}",
                    )
                ],
            ),
            Panel(
                "Retries and fallbacks",
                "How often is a call tried again, or with another model?",
                [
                    (
                        f"increase(rag_platform_llm_retries_total{{{MODEL}}}[1h])",
                        "{{model}} again",
                    ),
                    (
                        f"increase(rag_platform_llm_fallbacks_total{{{MODEL}}}[1h])",
                        "{{model}} instead of another",
                    ),
                ],
            ),
            Panel(
                "Answer time",
                "How long does a service take to answer?",
                quantiles("rag_platform_llm_request_seconds", "model", MODEL),
                unit="s",
            ),
            Panel(
                "Waiting for a limit",
                "How long do requests wait for the limits of a service?",
                quantiles("rag_platform_llm_rate_limit_wait_seconds", "model", MODEL),
                unit="s",
            ),
            Panel(
                "Left alone",
                "Which models are left alone, and for how long?",
                [("rag_platform_llm_cooldown_seconds", "{{model}}")],
                unit="s",
            ),
            Panel(
                "Tokens",
                "How many tokens are read and written?",
                [
                    (
                        f"""sum by (model, direction) (
                        rate(rag_platform_llm_tokens_total{{{MODEL}}}[1h]))""",
                        "{{model}} {{direction}}",
                    )
                ],
            ),
            Panel(
                "Under way",
                "How many requests are under way, or lost their process?",
                [(f"rag_platform_llm_requests_in_flight{{{MODEL}}}", "{{model}}")],
            ),
            Panel(
                "Batches",
                "What has a Batch API of ours?",
                [("rag_platform_llm_batches", "{{status}}")],
            ),
        ],
        "Enrichment and review": [
            Panel(
                "Documents by status",
                "What became of the documents that models read?",
                [
                    (
                        f"sum by (status) (rag_platform_enrichment_documents{{{SOURCE}}})",
                        "{{status}}",
                    )
                ],
                stacked=True,
            ),
            Panel(
                "Published without a person",
                "Which share of the documents needs nobody?",
                [(f"rag_platform_gate_coverage_ratio{{{SOURCE}}}", "{{source}}")],
                unit="percentunit",
                top=1,
            ),
            Panel(
                "Confidence",
                "How sure are models of the documents as they stand?",
                [(f"sum by (le) (rag_platform_confidence_bucket{{{SOURCE}}})", "{{le}}")],
                "heatmap",
            ),
            Panel(
                "Mean confidence",
                "Is it changing?",
                [
                    (
                        f"""sum by (source) (rag_platform_confidence_gsum{{{SOURCE}}})
                        / sum by (source) (rag_platform_confidence_gcount{{{SOURCE}}})""",
                        "{{source}}",
                    )
                ],
                unit="percentunit",
                top=1,
            ),
            Panel(
                "Reviews",
                "What was decided, and what is open?",
                [(f"sum by (status) (rag_platform_reviews{{{SOURCE}}})", "{{status}}")],
                page="/reviews",
            ),
            Panel(
                "Overdue",
                "Which reviews are late, and how old is the oldest?",
                [
                    (f"rag_platform_reviews_overdue{{{SOURCE}}}", "{{source}} overdue"),
                    (f"rag_platform_review_oldest_seconds{{{SOURCE}}} / 3600", "{{source}} hours"),
                ],
                "stat",
                page="/reviews",
            ),
        ],
    },
    {"model": "rag_platform_llm_requests_total", "source": "rag_platform_documents"},
)
