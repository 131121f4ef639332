"""PPTX to Markdown: a page for each slide in the order of the show, with tables and notes."""

from collections.abc import Iterator
from typing import Any, Final

from rag_platform.documents.parsing.blocks import (
    Block,
    Cell,
    document,
    grid,
    join_blocks,
    join_pages,
    markdown_table,
)
from rag_platform.documents.parsing.package import (
    Package,
    core_properties,
    descend,
    elements,
    local,
    opened,
    relations,
)
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform.documents.parsing.text import words

MAIN: Final = "ppt/presentation.xml"
SHAPES: Final = words("sp graphicFrame")
TITLES: Final = ("title", "ctrTitle")
# What a layout puts on every slide: date, footer, number, and the picture of the slide in notes.
FURNITURE: Final = ("dt", "ftr", "sldNum", "hdr", "sldImg")


def parse_pptx(data: bytes, limits: ParseLimits) -> Parsed:
    """The slides that are shown, each under its title, speaker notes after the slide.

    Slides hidden from the show are counted, and empty pages: they have numbers, too. Refuses:
    `corrupt`, `encrypted`, `inflates`, `hostile_xml`, `too_many_pages`.
    """
    with opened(data, limits, "PPTX") as package:
        metadata = core_properties(package)
        hidden: list[int] = []
        text, starts = join_pages(_slides(package, hidden), limits)
    return document(Kind.PPTX, text, metadata, starts=starts, hidden=sum(hidden))


def _slides(package: Package, hidden: list[int]) -> Iterator[str]:
    if MAIN not in package.names:
        raise ParseRefused(Reason.CORRUPT, "a zip archive without a presentation")
    targets = {relation.id: relation.target for relation in relations(package, MAIN)}
    shown = [_relation_id(slide) for slide in elements(package, MAIN) if local(slide) == "sldId"]
    for each in shown:
        if each not in targets:
            raise ParseRefused(Reason.CORRUPT, "a slide of the presentation is missing")
        text, is_shown = _slide(package, targets[each])
        if not is_shown:
            hidden.append(len(text))
        yield text if is_shown else ""


def _relation_id(slide: Any) -> str:
    """`r:id`; the plain `id` beside it is another number."""
    return next((str(found) for name, found in slide.attrib.items() if name.endswith("}id")), "")


def _slide(package: Package, name: str) -> tuple[str, bool]:
    """The text of a slide, and whether it is shown."""
    blocks: list[Block] = []
    is_shown = True
    for shape in elements(package, name, SHAPES):
        is_shown = shape.getroottree().getroot().get("show") not in ("0", "false")
        blocks += _shape(shape)
    for relation in relations(package, name):
        if relation.type == "diagramData":
            points = elements(package, relation.target, frozenset({"pt"}))
            blocks += [Block(f"- {text}", tight=True) for text in map(_plain, points) if text]
        elif relation.type == "notesSlide":
            notes = elements(package, relation.target, SHAPES)
            said = "\n".join(block.text for shape in notes for block in _shape(shape))
            blocks.append(Block("\n".join(f"> {line}" for line in said.split("\n") if line)))
    return join_blocks(blocks), is_shown


def _shape(shape: Any) -> Iterator[Block]:
    if any(True for _ in shape.iterancestors("{*}Fallback")):
        return  # the same shape again, for old programs
    if local(shape) == "graphicFrame":
        for table in shape.iter("{*}tbl"):
            rows = grid(map(_cells, table.iter("{*}tr")))
            if any(map(any, rows)):
                yield Block(markdown_table(rows))
        return
    placeholder = descend(shape, "nvSpPr", "nvPr", "ph")
    kind = "" if placeholder is None else placeholder.get("type", "")
    if kind in FURNITURE:
        return
    if kind in TITLES:
        if title := _plain(shape):
            yield Block(f"# {title}")
        return
    body = descend(shape, "txBody")
    found = [] if body is None else [*body.iterchildren("{*}p")]
    is_list = any(_depth(paragraph) for paragraph in found)
    for paragraph in found:
        if text := _text(paragraph):
            yield _item(paragraph, text, is_list=is_list)


def _cells(row: Any) -> Iterator[Cell]:
    for cell in row.iterchildren("{*}tc"):
        if cell.get("hMerge") is None and cell.get("vMerge") is None:
            yield Cell(_plain(cell), _number(cell, "gridSpan"), _number(cell, "rowSpan"))


def _number(element: Any, name: str) -> int:
    written = element.get(name, "1")
    return int(written) if written.isdecimal() and len(written) < 6 else 1


def _depth(paragraph: Any) -> int:
    properties = descend(paragraph, "pPr")
    level = "0" if properties is None else properties.get("lvl", "0")
    return min(int(level), 8) if level.isdecimal() else 0


def _item(paragraph: Any, text: str, *, is_list: bool) -> Block:
    """A paragraph; an item where it says so, or where others of its box are below it."""
    numbered = descend(paragraph, "pPr", "buAutoNum") is not None
    if not (is_list or numbered or descend(paragraph, "pPr", "buChar") is not None):
        return Block(text)
    marker = "1." if numbered else "-"
    return Block(f"{'  ' * _depth(paragraph)}{marker} {' '.join(text.split())}", tight=True)


def _text(paragraph: Any) -> str:
    found = paragraph.iter("{*}t", "{*}br")
    pieces = [(each.text or "") if local(each) == "t" else "\n" for each in found]
    lines = "".join(pieces).split("\n")
    return "\n".join(" ".join(line.split()) for line in lines).strip()


def _plain(element: Any) -> str:
    """All paragraphs of a cell or a title on one line."""
    return " ".join(
        " ".join(_text(paragraph).split()) for paragraph in element.iter("{*}p")
    ).strip()
