"""The dashboard of documents and search: is what the sources hold taken in, and found?"""

from panels import BAD, INDEX, SOURCE, WARN, Board, Panel, quantiles

DOCUMENTS = Board(
    "documents",
    "Documents and search",
    "Whether what the sources hold is taken in, and searchable as it is now.",
    {
        "Sources": [
            Panel(
                "Documents",
                "How many documents of each source have a text?",
                [
                    (
                        f'sum by (source) (rag_platform_documents{{state="live",{SOURCE}}})',
                        "{{source}}",
                    )
                ],
                "stat",
                width=6,
                page="/documents",
            ),
            Panel(
                "Ingestion success",
                "Which share of the changes of documents ended with a text or a deletion?",
                [
                    (
                        f"""1 - sum by (source) (
                        rag_platform_document_outcomes{{outcome="dead_lettered",{SOURCE}}})
                        / sum by (source) (
                        rag_platform_document_outcomes{{outcome!="deferred",{SOURCE}}})""",
                        "{{source}}",
                    )
                ],
                "bargauge",
                "percentunit",
                width=6,
                top=1,
                base="red",
                steps=((0.8, "orange"), (0.95, "green")),
                page="/dead-letters",
            ),
            Panel(
                "Freshness",
                "How long ago ended the newest window that is settled?",
                [(f"rag_platform_source_freshness_seconds{{{SOURCE}}}", "{{source}}")],
                unit="s",
                width=6,
            ),
            Panel(
                "Last listed",
                "How long ago was a source last asked what it holds?",
                [(f"rag_platform_page_age_seconds{{{SOURCE}}}", "{{source}}")],
                unit="s",
                width=6,
                dagster="/runs",
            ),
            Panel(
                "Changes by outcome",
                "What became of the changes of documents, of all pages?",
                [
                    (
                        f"sum by (outcome) (rag_platform_document_outcomes{{{SOURCE}}})",
                        "{{outcome}}",
                    )
                ],
                stacked=True,
            ),
            Panel(
                "Newest page",
                "What became of the changes of the newest page of each source?",
                [
                    (
                        f"rag_platform_newest_page_documents{{{SOURCE}}}",
                        "{{source}} {{outcome}}",
                    )
                ],
                "bargauge",
            ),
            Panel(
                "Open pages",
                "How many windows have changes that wait?",
                [(f'rag_platform_pages{{state="open",{SOURCE}}}', "{{source}}")],
                steps=WARN,
            ),
        ],
        "What was refused": [
            Panel(
                "Dead letters",
                "Which documents have no text, and why?",
                [
                    (
                        f"sum by (source, stage, reason) (rag_platform_dead_letters{{{SOURCE}}})",
                        "{{source}} {{stage}} {{reason}}",
                    )
                ],
                page="/dead-letters",
            ),
            Panel(
                "Validation failures",
                "How much content was refused by parsing or cleaning, by reason?",
                [
                    (
                        f"sum by (source, reason) (rag_platform_validation_failures{{{SOURCE}}})",
                        "{{source}} {{reason}}",
                    )
                ],
            ),
            Panel(
                "Later steps",
                "What could later steps not use?",
                [
                    (
                        f"sum by (stage, reason) (rag_platform_step_letters{{{SOURCE}}})",
                        "{{stage}} {{reason}}",
                    )
                ],
                page="/dead-letters?of=steps",
            ),
        ],
        "Content": [
            Panel(
                "Parsing",
                "How long does a parser take for a document?",
                quantiles("rag_platform_parse_seconds", "media_type", SOURCE),
                unit="s",
            ),
            Panel(
                "Quality of texts",
                "How is the quality of the documents distributed as they stand?",
                [(f"sum by (le) (rag_platform_quality_score_bucket{{{SOURCE}}})", "{{le}}")],
                "heatmap",
            ),
            Panel(
                "Mean quality",
                "Is the quality of a source changing?",
                [
                    (
                        f"""sum by (source) (rag_platform_quality_score_gsum{{{SOURCE}}})
                        / sum by (source) (rag_platform_quality_score_gcount{{{SOURCE}}})""",
                        "{{source}}",
                    )
                ],
                unit="percentunit",
                top=1,
            ),
            Panel(
                "Safety findings",
                "In how many documents was something found, and what was done?",
                [
                    (
                        f"sum by (source, action) (rag_platform_safety_findings{{{SOURCE}}})",
                        "{{source}} {{action}}",
                    )
                ],
            ),
            Panel(
                "Near copies",
                "How many documents are near copies of another?",
                [(f"rag_platform_near_duplicates{{{SOURCE}}}", "{{source}}")],
            ),
            Panel(
                "Erasures",
                "How many documents are to be erased and are not, and since when?",
                [
                    ("rag_platform_erasures_open", "open"),
                    ("rag_platform_erasure_oldest_seconds / 86400", "oldest, days"),
                ],
                "stat",
                steps=WARN,
            ),
        ],
        "Indexes": [
            Panel(
                "Versions",
                "Which version answers, and what are the others?",
                [(f"rag_platform_index_info{{{INDEX}}}", "")],
                "table",
                page="/indexes",
            ),
            Panel(
                "Points and chunks",
                "Does the store hold as many points as the catalog has chunks?",
                [
                    (f"rag_platform_index_points{{{INDEX}}}", "{{index}} points"),
                    (f"rag_platform_chunks{{{INDEX}}}", "{{index}} chunks"),
                ],
            ),
            Panel(
                "Behind",
                "How many documents are not searchable as they are now?",
                [(f"rag_platform_index_behind_documents{{{INDEX}}}", "{{index}}")],
                steps=WARN,
            ),
            Panel(
                "Golden queries",
                "How well does each version answer the golden queries?",
                [
                    (
                        f"rag_platform_index_evaluation{{{INDEX}}}",
                        "{{index}} {{golden}} {{metric}}",
                    )
                ],
                unit="percentunit",
                top=1,
                page="/indexes",
            ),
            Panel(
                "Embedding",
                "How long does an embedder take for a batch?",
                quantiles("rag_platform_embed_seconds", "index", INDEX),
                unit="s",
            ),
            Panel(
                "Texts embedded",
                "How many texts are embedded?",
                [
                    (
                        f"rate(rag_platform_embedded_texts_total{{{INDEX}}}[1h])",
                        "{{index}} {{model}}",
                    )
                ],
                unit="ops",
            ),
            Panel(
                "Vector store failures",
                "How often did the vector store fail within a day?",
                [
                    (
                        f"""sum by (index, operation) (
                        increase(rag_platform_vector_store_failures_total{{{INDEX}}}[1d]))""",
                        "{{index}} {{operation}}",
                    )
                ],
                steps=BAD,
            ),
            Panel(
                "Reconcile",
                "Did the last comparison with the catalog find differences?",
                [
                    (f"rag_platform_reconcile_drifted_documents{{{INDEX}}}", "{{index}} found"),
                    (f"rag_platform_reconcile_unrepaired_documents{{{INDEX}}}", "{{index}} left"),
                    (
                        f"rag_platform_reconcile_orphan_points{{{INDEX}}}",
                        "{{index}} of nobody",
                    ),
                ],
                steps=WARN,
            ),
            Panel(
                "Since the last comparison",
                "How long ago was an index compared with the catalog?",
                [
                    (
                        f"time() - rag_platform_reconcile_last_timestamp_seconds{{{INDEX}}}",
                        "{{index}}",
                    )
                ],
                "stat",
                "s",
                steps=((9 * 86_400, "orange"),),
            ),
        ],
    },
    {"source": "rag_platform_documents", "index": "rag_platform_index_info"},
)
