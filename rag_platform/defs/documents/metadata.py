"""Metadata that an operator looks at: Markdown tables with bars, and numbers with units."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

_BAR = 24
_CELL = 160


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """A Markdown table. Cells are data: made harmless and cut to a readable length."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def bars(counts: Mapping[str, int], unit: str) -> dg.MarkdownMetadataValue:
    """Counts as a table with a bar for each."""
    most = max(counts.values(), default=0)
    rows = [[name, f"{n:,}", "█" * max(1, _BAR * n // most)] for name, n in counts.items() if n]
    return table([unit, "count", ""], rows or [["none", "0", ""]])


def figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as metadata, names with spaces."""
    return {name.replace("_", " "): value for name, value in values.items()}


def _cell(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split())
    if len(text) > _CELL:
        text = text[: _CELL - 1] + "…"
    # Documents are hostile: nothing of theirs may become markup, a link or an image.
    for character in "\\`*_[]<>|!":
        text = text.replace(character, f"&#{ord(character)};")
    return text
