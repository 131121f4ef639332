"""What processes measured while they worked, as it adds up in the catalog."""

from collections.abc import Callable, Collection, Iterator

from rag_platform.operations.metrics.families import (
    Buckets,
    Family,
    Names,
    counter,
    gauge,
    histogram,
)
from rag_platform.storage.measures import (
    EMBED_SECONDS,
    EMBEDDED_TEXTS,
    LLM_REQUEST_SECONDS,
    PARSE_SECONDS,
    RATE_LIMIT_WAIT_SECONDS,
    RECONCILE_DRIFTED,
    RECONCILE_ORPHANS,
    RECONCILE_UNREPAIRED,
    RECONCILED_AT,
    VECTOR_STORE_FAILURES,
    Measure,
    Measures,
)

# By measure: its metric, and what it is.
_METRICS: dict[Measure, tuple[Callable[..., Family], str, str]] = {
    PARSE_SECONDS: (
        histogram,
        "parse_seconds",
        "Seconds that a parser took for a document; of those that are remembered none.",
    ),
    EMBED_SECONDS: (
        histogram,
        "embed_seconds",
        "Seconds that an embedder took for a batch of texts.",
    ),
    EMBEDDED_TEXTS: (counter, "embedded_texts_total", "Texts that were embedded."),
    LLM_REQUEST_SECONDS: (
        histogram,
        "llm_request_seconds",
        "Seconds that a service took to answer a request, or to fail it.",
    ),
    RATE_LIMIT_WAIT_SECONDS: (
        histogram,
        "llm_rate_limit_wait_seconds",
        "Seconds that requests waited for a limit, of those that waited a tenth of one.",
    ),
    VECTOR_STORE_FAILURES: (
        counter,
        "vector_store_failures_total",
        "Runs over an index that the vector store ended with an error.",
    ),
    RECONCILE_DRIFTED: (
        gauge,
        "reconcile_drifted_documents",
        "Documents whose points were not what the catalog says, in the last comparison.",
    ),
    RECONCILE_UNREPAIRED: (
        gauge,
        "reconcile_unrepaired_documents",
        "Those of them that it left as they were.",
    ),
    RECONCILE_ORPHANS: (
        gauge,
        "reconcile_orphan_points",
        "Points of no document that it left as they were.",
    ),
    RECONCILED_AT: (gauge, "reconcile_last_timestamp_seconds", "When it was."),
}


def measured(measures: Measures, indexes: Collection[str]) -> Iterator[Family]:
    """What every process there was has measured; of indexes, those that there are."""
    for measure, (make, name, help) in _METRICS.items():
        family = make(name, help, *measure.labels)
        names = {label: Names() for label in measure.labels}
        for series in measures.read(measure):
            if series.labels.get("index") not in (None, *indexes):
                continue
            values = [names[label](series.labels[label]) for label in measure.labels]
            if measure.bounds:
                family.add_buckets(Buckets(series.cumulative(), series.total), *values)
            else:
                family.add(series.total, *values)
        yield family
