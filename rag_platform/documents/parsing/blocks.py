"""Blocks of Markdown and pages of them, as all formats put their text together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rag_platform.documents.parsing.markdown import first_heading
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
    bounded_metadata,
)
from rag_platform.documents.parsing.text import normalise

PAGE_BREAK: Final = "\n\n"
MAX_FILLED_CELLS: Final = 1_000_000
MAX_SPAN: Final = 100


@dataclass
class Block:
    """One Markdown block, and how many characters of it are link text.

    `tight` blocks (list items) stand on lines that follow each other.
    """

    text: str
    links: int = 0
    heading: bool = False
    tight: bool = False


def document(
    kind: Kind,
    text: str,
    metadata: dict[str, str],
    *,
    starts: tuple[int, ...] = (),
    hidden: int = 0,
) -> Parsed:
    """A parsed document of normalised text; its title from the metadata, else its first heading.

    `hidden` characters, which no reader sees, are not in the text: the metadata says how many.
    """
    title = metadata.get("title", "") or first_heading(text)
    rest = {name: value for name, value in metadata.items() if name != "title"}
    counted = {"hidden_characters": str(hidden)} if hidden else {}
    return Parsed(
        text=text,
        title=" ".join(normalise(title).split())[:500],
        media_type=kind,
        page_starts=starts,
        metadata=bounded_metadata(counted | rest),
    )


def join_blocks(blocks: Iterable[Block]) -> str:
    """Markdown of blocks, with an empty line between them but for list items in a row."""
    parts: list[str] = []
    before: Block | None = None
    for block in blocks:
        if before is not None:
            parts.append("\n" if before.tight and block.tight else "\n\n")
        parts.append(block.text)
        before = block
    return "".join(parts)


def join_pages(pages: Iterable[str], limits: ParseLimits) -> tuple[str, tuple[int, ...]]:
    """The normalised text of pages, and the character offset at which each begins.

    Refuses more pages (`too_many_pages`) or text (`inflates`) than the limits allow.
    """
    parts: list[str] = []
    starts: list[int] = []
    offset = 0
    for page in pages:
        if len(parts) == limits.max_pages:
            raise ParseRefused(
                Reason.TOO_MANY_PAGES, f"over {limits.max_pages:,} pages, slides or sheets"
            )
        parts.append(normalise(page).strip())
        starts.append(offset)
        offset += len(parts[-1]) + len(PAGE_BREAK)
        if offset > limits.max_inflated_bytes:
            raise ParseRefused(
                Reason.INFLATES,
                f"over {limits.max_inflated_bytes:,} characters by page {len(parts)}",
            )
    text = PAGE_BREAK.join(parts) if any(parts) else ""
    return text, tuple(min(start, len(text)) for start in starts)


@dataclass(frozen=True)
class Cell:
    """A cell of a table that may span further columns and rows."""

    text: str
    columns: int = 1
    rows: int = 1


def grid(rows: Iterable[Iterable[Cell]]) -> list[list[str]]:
    """Rows in which a cell stands in each column and row that it spans.

    A cell that is a whole row stands once. After a million cells nothing spans any more.
    """
    table: list[list[str]] = []
    below: dict[int, tuple[str, int]] = {}  # by column: the text from above, and for how many rows
    count = 0
    for cells in rows:
        row: list[str] = []
        listed = list(cells)
        is_whole = len(listed) == 1 and not below
        spans = count <= MAX_FILLED_CELLS
        for cell in listed:
            _from_above(row, below)
            columns = 1 if is_whole or not spans else min(max(cell.columns, 1), MAX_SPAN)
            if spans and cell.rows > 1:
                below |= {len(row) + each: (cell.text, cell.rows - 1) for each in range(columns)}
            row += [cell.text] * columns
        _from_above(row, below)
        count += len(row)
        if not spans:
            below.clear()
        table.append(row)
    return table


def _from_above(row: list[str], below: dict[int, tuple[str, int]]) -> None:
    """Fill the next columns of a row with what cells above it say for them."""
    while (above := below.pop(len(row), None)) is not None:
        text, rows = above
        if rows > 1:
            below[len(row)] = (text, rows - 1)
        row.append(text)


def markdown_table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head, short rows are filled, one column is lines.

    Beyond a million cells short rows stay short, which means the same: a single long row must not
    make a small file large.
    """
    width = max(len(row) for row in rows)
    if width == 1:
        return "\n".join(row[0] for row in rows)
    filled = width if width * len(rows) <= MAX_FILLED_CELLS else 0
    lines = [_table_line(row, filled) for row in rows[1:]]
    return "\n".join([_table_line(rows[0], width), "|" + " --- |" * width, *lines])


def _table_line(row: list[str], width: int) -> str:
    cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
    cells += [""] * (width - len(cells))
    return "| " + " | ".join(cells) + " |"
