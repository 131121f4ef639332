"""All dead letters, looked at in the UI."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents import metadata
from rag_platform.defs.shared import OWNERS
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource

DEAD_LETTERS = dg.AssetKey(["dead_letters"])
_COUNTS_SHOWN = 30


@dg.asset(
    key=DEAD_LETTERS,
    group_name="operations",
    owners=OWNERS,
    kinds={"python", "sql"},
    # Without inputs: letters come and go with every stage of every source, and by commands.
    automation_condition=dg.AutomationCondition.on_cron("25 * * * *"),
    description=(
        "Documents and records that could not be used, of all sources: how many, why, since when, "
        "and what to do. Looked at anew every hour; try them again by "
        "`rag-platform dead-letters replay`."
    ),
)
def dead_letters(platform: PlatformResource) -> dg.MaterializeResult:
    """The letters as tables."""
    return dg.MaterializeResult(metadata=letters_metadata(platform.parts))


def letters_metadata(parts: Platform) -> dict[str, Any]:
    """What is dead now, as Dagster metadata."""
    from rag_platform.documents.dead_letters import remedy
    from rag_platform.operations.dead_letters import overview

    found = overview(parts.catalog)
    sums: dict[str, int] = {}
    for row in found.counts:
        sums[row.source] = sums.get(row.source, 0) + row.count
    counts = [
        [row.source, row.stage, row.reason, f"{row.count:,}", _when(row.oldest), remedy(row.reason)]
        for row in found.counts[:_COUNTS_SHOWN]
    ]
    newest = [
        [
            *(_when(row.first_at), row.source, row.window, row.key, row.stage, row.reason),
            *(row.detail, row.attempts, remedy(row.reason)),
        ]
        for row in found.newest
    ]
    return {
        "dead letters": found.total,
        "oldest": "" if found.oldest is None else _when(found.oldest),
        "by source": metadata.bars(sums, "source"),
        "by reason": metadata.table(
            ["source", "stage", "reason", "count", "oldest", "what to do"], counts
        ),
        "newest": metadata.table(
            [
                *("since", "source", "window", "document", "stage", "reason"),
                *("detail", "attempts", "what to do"),
            ],
            newest,
        ),
        **console_link(parts.settings, "dead-letters"),
    }


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def letters_definitions() -> dg.Definitions:
    """The asset over the letters."""
    return dg.Definitions(assets=[dead_letters])
