"""erase: a job that erases documents for good, and finishes what an interrupted one left."""

import dagster as dg
from pydantic import Field

from rag_platform.defs.shared import one_line
from rag_platform.resources.platform import PlatformResource


class EraseConfig(dg.Config):
    """Which documents of which source, and why.

    Without keys, and without `gone` (all that are gone from the source), only what was begun is
    finished.
    """

    source: str
    reason: str
    keys: list[str] = Field(default_factory=list)
    gone: bool = False
    by: str = "dagster"
    redact_key: bool = False


@dg.op(pool="vector_store", description="Erase documents from everything that is kept of them.")
def erase_documents(
    context: dg.OpExecutionContext, config: EraseConfig, platform: PlatformResource
) -> None:
    """Fails where a document is still in its source, or something was found afterwards."""
    from rag_platform.platform_erasure import eraser

    with one_line():
        erasing = eraser(platform.parts, config.source)
        keys = [*config.keys, *(erasing.gone() if config.gone else [])]
        if keys:
            erasing.request(keys, by=config.by, reason=config.reason, redact=config.redact_key)
        done = erasing.run()
    for one in done:
        context.log.info(f"{one.doc_id}: erased, receipt {one.id}")
    context.add_output_metadata({"erased": len(done), "receipts": str([one.id for one in done])})


@dg.job(
    description="Erases documents that are gone from their source: from every index version, "
    "stored page, table and memo. The receipts: rag-platform receipts."
)
def erase() -> None:
    """One op."""
    erase_documents()
