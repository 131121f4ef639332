"""DOCX to Markdown: headings, paragraphs, lists, tables and notes, read as a stream."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rag_platform.documents.parsing.blocks import (
    MAX_SPAN,
    Block,
    document,
    join_blocks,
    markdown_table,
)
from rag_platform.documents.parsing.equations import equation
from rag_platform.documents.parsing.numbering import Numbering, read_numbering
from rag_platform.documents.parsing.package import (
    Package,
    attribute,
    core_properties,
    descend,
    elements,
    local,
    opened,
    relations,
    value,
)
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform.documents.parsing.text import normalise, words

SKIPPED: Final = words(
    "del moveFrom instrText delText Fallback pPr rPr tblPr tblGrid sectPr sdtPr sdtEndPr"
    " commentReference posOffset pctPosHOffset pctPosVOffset pctWidth pctHeight"
)
MAX_DEPTH: Final = 8
# "2.1" tells its depth by itself; indented it would read as code.
CLAUSE: Final = re.compile(r"\S*\w\.\w")
OFF: Final = ("0", "false", "off")


@dataclass(frozen=True)
class Style:
    """What a style says: heading level (0: none), list and depth in it, parent, invisible text."""

    level: int = 0
    numbering: str = ""
    depth: int = 0
    parent: str = ""
    hidden: bool = False


@dataclass
class Word:
    """A DOCX package with what its body refers to, and the hidden characters that were left out."""

    package: Package
    styles: dict[str, Style] = field(default_factory=dict)
    lists: Numbering = field(default_factory=Numbering)
    hidden: int = 0


def parse_docx(data: bytes, limits: ParseLimits) -> Parsed:
    """The body as Markdown, notes at the end.

    Refuses: `corrupt`, `encrypted`, `inflates`, `hostile_xml`, and `unsupported` for an archive
    that is no DOCX.
    """
    with opened(data, limits, "DOCX") as package:
        return _parsed(Word(package))


def _parsed(word: Word) -> Parsed:
    names = word.package.names
    main = _main_part(word.package)
    folder = main.rpartition("/")[0]
    metadata = core_properties(word.package)
    if f"{folder}/styles.xml" in names:
        _read_styles(word, f"{folder}/styles.xml")
    if f"{folder}/numbering.xml" in names:
        word.lists = read_numbering(word.package, f"{folder}/numbering.xml")
    blocks = list(_body_blocks(word, main))
    for part in ("footnotes", "endnotes"):
        if f"{folder}/{part}.xml" in names:
            blocks.extend(_notes(word, f"{folder}/{part}.xml"))
    return document(Kind.DOCX, normalise(join_blocks(blocks)), metadata, hidden=word.hidden)


def _main_part(package: Package) -> str:
    if "word/document.xml" in package.names:
        return "word/document.xml"
    for relation in relations(package, ""):
        if relation.type == "officeDocument" and relation.target.startswith("word/"):
            return relation.target
    raise ParseRefused(Reason.UNSUPPORTED, "a zip archive without a Word document")


def _read_styles(word: Word, name: str) -> None:
    for style in elements(word.package, name, frozenset({"style"})):
        title = value(style, "name").lower()
        level = 1 if title == "title" else 0
        if title.startswith("heading ") and title[8:].isdigit():
            level = int(title[8:])
        depth = value(style, "pPr", "numPr", "ilvl")
        outline = value(style, "pPr", "outlineLvl")
        if not level and outline.isdecimal() and int(outline) < 9:
            level = int(outline) + 1
        word.styles[attribute(style, "styleId")] = Style(
            level,
            value(style, "pPr", "numPr", "numId"),
            min(int(depth), MAX_DEPTH) if depth.isdecimal() else 0,
            value(style, "basedOn"),
            descend(style, "rPr", "vanish") is not None,
        )


def _body_blocks(word: Word, main: str) -> Iterator[Block]:
    """The paragraphs and tables of the body."""
    for element in elements(word.package, main, frozenset({"p", "tbl"})):
        yield from _blocks(word, element)


def _blocks(word: Word, element: Any) -> Iterator[Block]:
    if local(element) == "tbl":
        rows = [cells for cells in _rows(word, element) if any(cells)]
        if rows:
            yield Block(markdown_table(rows))
        return
    pieces: list[str] = []
    boxes: list[Any] = []
    _collect(word, element, pieces, boxes)
    text = "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\n")).strip()
    if text:
        yield _styled(word, element, text)
    for box in boxes:
        for child in box:
            if local(child) in ("p", "tbl"):
                yield from _blocks(word, child)


def _collect(word: Word, element: Any, pieces: list[str], boxes: list[Any]) -> None:
    """The text of a paragraph; text boxes anchored in it are set apart, hidden runs counted."""
    for child in element:
        name = local(child)
        if name == "r" and _is_hidden(word, child):
            word.hidden += sum(len(text.text or "") for text in child.iter("{*}t"))
        elif name == "t":
            pieces.append(child.text or "")
        elif name in ("tab", "ptab"):
            pieces.append(" ")
        elif name in ("br", "cr"):
            pieces.append("\n")
        elif name == "noBreakHyphen":
            pieces.append("-")
        elif name in ("footnoteReference", "endnoteReference"):
            pieces.append(f"[^{name[0]}{attribute(child, 'id')}]")
        elif name == "oMath":
            pieces.append(equation(child))
        elif name == "txbxContent":
            boxes.append(child)
        elif name not in SKIPPED:
            _collect(word, child, pieces, boxes)


def _is_hidden(word: Word, run: Any) -> bool:
    properties = descend(run, "rPr")
    if properties is None:
        return False
    vanish = descend(properties, "vanish")
    if vanish is None:
        return word.styles.get(value(properties, "rStyle"), Style()).hidden
    return attribute(vanish, "val") not in OFF


def _styled(word: Word, paragraph: Any, text: str) -> Block:
    """A paragraph with its number: a heading, a list item, or neither."""
    style = _inherited(word, value(paragraph, "pPr", "pStyle"))
    level = style.level
    outline = value(paragraph, "pPr", "outlineLvl")
    if not level and outline.isdecimal() and int(outline) < 9:
        level = int(outline) + 1
    label = _label(word, paragraph, style)
    if not level and label is None:
        return Block(text)
    line = " ".join(text.split())
    if level:
        number = f"{label} " if label and label != "-" else ""
        return Block(f"{'#' * min(level, 6)} {number}{line}")
    depth = 0 if CLAUSE.match(label or "") else _depth(paragraph, style)
    return Block(f"{'  ' * depth}{label} {line}" if label else line, tight=True)


def _label(word: Word, paragraph: Any, style: Style) -> str | None:
    """The number of a paragraph, "-" for bullets; None where it is in no list."""
    numbering = value(paragraph, "pPr", "numPr", "numId") or style.numbering
    if not numbering or numbering == "0":
        return None
    label = word.lists.next_label(numbering, _depth(paragraph, style))
    return "-" if label is None else label


def _depth(paragraph: Any, style: Style) -> int:
    indent = value(paragraph, "pPr", "numPr", "ilvl")
    return min(int(indent), MAX_DEPTH) if indent.isdecimal() else style.depth


def _inherited(word: Word, style_id: str) -> Style:
    """Heading level and numbering of a style, from its ancestors where it has none."""
    found = Style()
    for _ in range(20):
        style = word.styles.get(style_id)
        if style is None:
            break
        found = Style(
            found.level or style.level,
            found.numbering or style.numbering,
            found.depth or style.depth,
        )
        style_id = style.parent
    return found


def _rows(word: Word, table: Any) -> Iterator[list[str]]:
    """Cells by row; one that spans columns or rows stands in each of them."""
    above: list[str] = []
    for row in _children(table, "tr"):
        cells: list[str] = []
        found = list(_children(row, "tc"))
        for cell in found:
            merged = descend(cell, "tcPr", "vMerge")
            if merged is not None and attribute(merged, "val") != "restart":
                text = above[len(cells)] if len(cells) < len(above) else ""
            else:
                text = " ".join(" ".join(each.text.split()) for each in _cell_blocks(word, cell))
            span = value(cell, "tcPr", "gridSpan")
            is_part = span.isdecimal() and len(found) > 1
            cells += [text] * (min(max(int(span), 1), MAX_SPAN) if is_part else 1)
        above = cells
        yield cells


def _cell_blocks(word: Word, cell: Any) -> Iterator[Block]:
    for child in cell:
        if local(child) in ("p", "tbl"):
            yield from _blocks(word, child)
        elif local(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _cell_blocks(word, child)


def _children(element: Any, name: str) -> Iterator[Any]:
    """Children of a name, also inside content controls and tracked insertions."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _children(child, name)


def _notes(word: Word, name: str) -> Iterator[Block]:
    kind = "f" if "footnotes" in name else "e"
    for note in elements(word.package, name, frozenset({"footnote", "endnote"})):
        if attribute(note, "type"):
            continue  # separators
        text = " ".join(block.text for child in note for block in _blocks(word, child))
        if text:
            yield Block(f"[^{kind}{attribute(note, 'id')}]: {text}")
