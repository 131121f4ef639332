"""ODT to Markdown: headings, paragraphs, lists, tables and notes, read as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rag_platform.documents.parsing.blocks import (
    Block,
    Cell,
    document,
    grid,
    join_blocks,
    markdown_table,
)
from rag_platform.documents.parsing.package import (
    Package,
    attribute,
    descend,
    elements,
    local,
    opened,
)
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform.documents.parsing.text import normalise, words

MANIFEST: Final = "META-INF/manifest.xml"
# Deleted text, tables of contents and the like: no part of what the document says.
LEFT_OUT: Final = words(
    "tracked-changes table-of-content alphabetical-index illustration-index table-index"
    " object-index user-index"
)
BLOCKS: Final = words("h p list table")
STYLES: Final = words("style list-style")
SKIPPED: Final = words(
    "annotation annotation-end ruby-text hidden-text note-citation script title desc"
)
MAX_REPEATED: Final = 64
META: Final = {
    "title": "title",
    "initial-creator": "author",
    "creator": "author",
    "subject": "description",
    "keyword": "keywords",
    "language": "language",
    "creation-date": "date",
    "date": "modified",
}


@dataclass
class Writing:
    """What the text refers to, the notes found in it, and the hidden characters left out."""

    hiding: set[str] = field(default_factory=set)
    numbered: dict[str, set[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    hidden: int = 0


def parse_odt(data: bytes, limits: ParseLimits) -> Parsed:
    """The text as Markdown, notes at the end. Tracked deletions and comments are left out.

    Refuses: `corrupt`, `encrypted`, `inflates`, `hostile_xml`.
    """
    with opened(data, limits, "ODT") as package:
        _refuse_encrypted(package)
        metadata = _metadata(package)
        writing = Writing()
        if "styles.xml" in package.names:
            for style in elements(package, "styles.xml", STYLES):
                _read_style(writing, style)
        blocks = list(_body(package, writing))
    blocks += [Block(f"[^{number}]: {note}") for number, note in enumerate(writing.notes, 1)]
    return document(Kind.ODT, normalise(join_blocks(blocks)), metadata, hidden=writing.hidden)


def _refuse_encrypted(package: Package) -> None:
    if MANIFEST in package.names:
        for element in elements(package, MANIFEST, doctype=True):
            if local(element) == "encryption-data":
                raise ParseRefused(
                    Reason.ENCRYPTED, "the ODT needs a password; store it without one"
                )
    if "content.xml" not in package.names:
        raise ParseRefused(Reason.CORRUPT, "a zip archive without the content of an ODT")


def _metadata(package: Package) -> dict[str, str]:
    found: dict[str, str] = {}
    if "meta.xml" in package.names:
        for element in elements(package, "meta.xml"):
            name = META.get(local(element))
            if name and element.text:
                found.setdefault(name, normalise(element.text))
    return found


def _read_style(writing: Writing, style: Any) -> None:
    name = attribute(style, "name")
    if local(style) == "list-style":
        writing.numbered[name] = {
            _number(attribute(level, "level"), 1) - 1
            for level in style
            if local(level) == "list-level-style-number" and attribute(level, "num-format")
        }
    elif any(attribute(each, "display") == "none" for each in style):
        writing.hiding.add(name)


def _number(written: str, otherwise: int) -> int:
    return int(written) if written.isdecimal() and len(written) < 9 else otherwise


def _body(package: Package, writing: Writing) -> Iterator[Block]:
    for element in elements(package, "content.xml", BLOCKS | LEFT_OUT | STYLES):
        if local(element) in STYLES:
            _read_style(writing, element)
        elif local(element) in BLOCKS:
            yield from _blocks(writing, element)


def _blocks(writing: Writing, element: Any) -> Iterator[Block]:
    name = local(element)
    if name == "table":
        rows = [cells for cells in grid(_rows(writing, element)) if any(cells)]
        if rows:
            yield Block(markdown_table(rows))
    elif name == "list":
        yield from _items(writing, element, 0, attribute(element, "style-name"))
    else:
        text, boxes = _text(writing, element)
        if text and name == "h":
            level = _number(attribute(element, "outline-level"), 1)
            yield Block(f"{'#' * min(max(level, 1), 6)} {' '.join(text.split())}")
        elif text:
            yield Block(text)
        for box in boxes:
            for child in box:
                if local(child) in BLOCKS:
                    yield from _blocks(writing, child)


def _items(writing: Writing, listed: Any, depth: int, style: str) -> Iterator[Block]:
    marker = "1." if depth in writing.numbered.get(style, ()) else "-"
    for item in listed:
        if local(item) not in ("list-item", "list-header"):
            continue
        mark = f"{marker} "
        for child in item:
            if local(child) == "list":
                own = attribute(child, "style-name")
                yield from _items(writing, child, min(depth + 1, 8), own or style)
                continue
            if local(child) not in BLOCKS:
                continue
            for block in _blocks(writing, child):
                if block.text.startswith(("#", "|")):  # a numbered heading, a table
                    yield block
                else:
                    line = " ".join(block.text.split())
                    yield Block(f"{'  ' * depth}{mark}{line}", tight=True)
                    mark = "  "


def _rows(writing: Writing, table: Any) -> Iterator[list[Cell]]:
    for row in _parts(table, "table-row"):
        cells: list[Cell] = []
        for cell in row:
            if local(cell) != "table-cell":
                continue  # `covered-table-cell`: the one that spans it stands there
            blocks = [
                " ".join(block.text.split())
                for child in cell
                if local(child) in BLOCKS
                for block in _blocks(writing, child)
            ]
            spanned = (attribute(cell, f"number-{each}-spanned") for each in ("columns", "rows"))
            filled = Cell(" ".join(blocks), *(_number(each, 1) for each in spanned))
            repeated = _number(attribute(cell, "number-columns-repeated"), 1)
            cells += [filled] * min(repeated, MAX_REPEATED)
        yield cells


def _parts(element: Any, name: str) -> Iterator[Any]:
    """Rows of a table, also of its head and of groups of rows."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _parts(child, name)


def _text(writing: Writing, paragraph: Any) -> tuple[str, list[Any]]:
    """The lines of a paragraph, and the text boxes anchored in it."""
    pieces: list[str] = []
    boxes: list[Any] = []
    if attribute(paragraph, "style-name") in writing.hiding:
        writing.hidden += len("".join(paragraph.itertext()))
        return "", []
    _collect(writing, paragraph, pieces, boxes)
    lines = "".join(pieces).split("\n")
    return "\n".join(" ".join(line.split()) for line in lines).strip(), boxes


def _collect(writing: Writing, element: Any, pieces: list[str], boxes: list[Any]) -> None:
    pieces.append(" ".join((element.text or "").split("\n")))
    for child in element:
        name = local(child)
        if name in ("s", "tab"):
            pieces.append(" ")
        elif name == "line-break":
            pieces.append("\n")
        elif name == "note":
            pieces.append(_note(writing, child))
        elif name == "text-box":
            boxes.append(child)
        elif attribute(child, "style-name") in writing.hiding:
            writing.hidden += len("".join(child.itertext()))
        elif name and name not in SKIPPED:
            _collect(writing, child, pieces, boxes)
        pieces.append(" ".join((child.tail or "").split("\n")))


def _note(writing: Writing, note: Any) -> str:
    body = descend(note, "note-body")
    found = () if body is None else (child for child in body if local(child) in BLOCKS)
    text = " ".join(block.text for child in found for block in _blocks(writing, child))
    writing.notes.append(" ".join(text.split()))
    return f"[^{len(writing.notes)}]"
