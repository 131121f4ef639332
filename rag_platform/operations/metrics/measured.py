"""What processes measured while they worked, as it adds up in the catalog."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping

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
    OPERATIONS,
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
        "Documents whose points the last comparison found wrong and left so.",
    ),
    RECONCILE_ORPHANS: (
        gauge,
        "reconcile_orphan_points",
        "Points of no document that the last comparison left.",
    ),
    RECONCILED_AT: (
        gauge,
        "reconcile_last_timestamp_seconds",
        "When an index was last compared with the catalog, in UTC seconds since 1970.",
    ),
}


def measured(measures: Measures, known: Mapping[str, Collection[str]]) -> Iterator[Family]:
    """What every process there was has measured.

    `known` has values of labels that are always shown; of `index` no others are.
    """
    for measure, (make, name, help) in _METRICS.items():
        family = make(name, help, *measure.labels)
        if measure is VECTOR_STORE_FAILURES:
            # A counter that begins with its first failure has not grown by it.
            for index, operation in itertools.product(known["index"], OPERATIONS):
                family.add(0, index, operation)
        names = {label: Names(known.get(label, ())) for label in measure.labels}
        for series in measures.read(measure):
            if "index" in series.labels and series.labels["index"] not in known["index"]:
                continue
            values = tuple(names[label](series.labels[label]) for label in measure.labels)
            if measure.bounds:
                family.add_buckets(Buckets(series.cumulative(), series.total), *values)
            else:
                family.add(series.total, *values)
        yield family
