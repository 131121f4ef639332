"""HTML elements to Markdown blocks: headings, paragraphs, lists, tables and code.

libxml2 builds the tree and one iterative walk turns it into blocks, so nesting cannot overflow
the stack.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rag_platform.documents.parsing.blocks import Block, Cell, grid, markdown_table
from rag_platform.documents.parsing.result import ParseRefused, Reason
from rag_platform.documents.parsing.text import normalise, words

HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
BLOCK_TAGS: Final = words(
    "address article blockquote body caption center dd details div dl dt fieldset figcaption"
    " figure header hgroup hr html legend li main ol p pre section summary table tbody td"
    " tfoot th thead tr ul h1 h2 h3 h4 h5 h6"
)
LAYOUT_PATH: Final = (
    ".//table|.//h1|.//h2|.//h3|.//h4|.//ul|.//ol|.//pre|.//form|.//article|.//section|.//p[3]"
)
SPACES: Final = re.compile(r"\s+")


@dataclass
class Walk:
    """The state of the walk from tree to blocks."""

    blocks: list[Block] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    links: int = 0
    in_link: int = 0
    lists: list[int | None] = field(default_factory=list)
    marker: str = ""
    heading: int = 0
    quote: int = 0

    def say(self, text: str | None) -> None:
        if text:
            self.inline.append(text)
            if self.in_link:
                self.links += len(text.strip())

    def end_block(self) -> None:
        text = SPACES.sub(" ", "".join(self.inline)).strip()
        self.inline.clear()
        links, self.links = self.links, 0
        if not text:
            return
        in_list = bool(self.lists) and not self.heading
        if self.heading:
            text = f"{'#' * self.heading} {text}"
        elif in_list:
            text = f"{'  ' * (len(self.lists) - 1)}{self.marker or '  '}{text}"
            self.marker = ""
        if self.quote and not self.heading:
            text = f"{'> ' * self.quote}{text}"
        self.blocks.append(Block(text, links, heading=self.heading > 0, tight=in_list))


def tree(text: str) -> Any:
    """The root element of a page, None for an empty one; `corrupt` for nesting beyond 2,048."""
    from lxml import etree

    parser = etree.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True
    )
    content = text.replace("\x00", "").encode("utf-8", "replace")
    if not content.strip():
        return None
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("libxml2 ran out of memory") from error
        if "empty" in str(error).lower():
            return None
        raise ParseRefused(Reason.CORRUPT, "not readable as HTML") from error
    if any(entry.type == etree.ErrorTypes.ERR_NO_MEMORY for entry in parser.error_log):
        raise MemoryError("libxml2 ran out of memory")
    if any("depth" in entry.message for entry in parser.error_log):
        raise ParseRefused(Reason.CORRUPT, "HTML elements are nested more than 2,048 deep")
    return root


def flat(element: Any) -> str:
    """All text in an element on one line; blocks and line breaks in it part words."""
    from lxml import etree

    pieces: list[str] = []
    for event, child in etree.iterwalk(element, events=("start", "end")):
        if child.tag in BLOCK_TAGS or child.tag == "br":
            pieces.append(" ")
        if event == "start":
            pieces.append(child.text or "")
        elif child is not element:
            pieces.append(child.tail or "")
    return normalise(SPACES.sub(" ", "".join(pieces))).strip()


def blocks_of(main: Any) -> list[Block]:
    """The Markdown blocks of an element, in order."""
    from lxml import etree

    walk = Walk()
    walker = etree.iterwalk(main, events=("start", "end"))
    for event, element in walker:
        tag = element.tag
        if event == "end":
            _leave(walk, tag)
            if element is not main:
                walk.say(element.tail)
        elif tag == "pre" or is_data_table(element):
            walker.skip_subtree()
            walk.end_block()
            block = _code(element) if tag == "pre" else _table(element)
            if block is not None:
                walk.blocks.append(block)
        else:
            _enter(walk, element, tag)
    walk.end_block()
    return walk.blocks


def is_data_table(element: Any) -> bool:
    """Whether an element is a table of short cells, and no layout of the page."""
    return element.tag == "table" and not element.xpath(LAYOUT_PATH)


def _enter(walk: Walk, element: Any, tag: str) -> None:
    if tag in BLOCK_TAGS:
        walk.end_block()
    if tag in HEADINGS:
        walk.heading = HEADINGS[tag]
    elif tag == "a":
        walk.in_link += 1
    elif tag == "br":
        walk.say(" ")
    elif tag in ("ul", "ol"):
        walk.lists.append(_number(element.get("start")) if tag == "ol" else None)
    elif tag == "li":
        number = walk.lists[-1] if walk.lists else None
        if number is not None:
            number = _number(element.get("value"), number)
        walk.marker = "- " if number is None else f"{number}. "
        if number is not None:
            walk.lists[-1] = number + 1
    elif tag == "blockquote":
        walk.quote += 1
    elif tag == "code":
        walk.say("`")
    walk.say(element.text)


def _number(written: str | None, otherwise: int = 1) -> int:
    """A list number as the page gives it."""
    return int(written) if written and written.isdecimal() and len(written) < 10 else otherwise


def _leave(walk: Walk, tag: str) -> None:
    if tag == "code" and walk.inline:
        walk.say("`")
    if tag in BLOCK_TAGS:
        walk.end_block()
    if tag in HEADINGS:
        walk.heading = 0
    elif tag == "a":
        walk.in_link = max(0, walk.in_link - 1)
    elif tag in ("ul", "ol") and walk.lists:
        walk.lists.pop()
    elif tag == "blockquote":
        walk.quote = max(0, walk.quote - 1)


def _code(element: Any) -> Block | None:
    text = "".join(element.itertext()).strip("\n").rstrip()
    if not text.strip():
        return None
    fence = "```"
    while fence in text:
        fence += "`"
    return Block(f"{fence}\n{text}\n{fence}")


def _table(element: Any) -> Block | None:
    rows = [row for row in grid(_rows(element)) if any(row)]
    if not rows:
        return None
    links = sum(len("".join(anchor.itertext()).strip()) for anchor in element.iter("a"))
    caption = next((flat(found) for found in element.iter("caption")), "")
    return Block("\n\n".join(filter(None, (caption, markdown_table(rows)))), links)


def _rows(element: Any) -> Iterator[Iterator[Cell]]:
    for row in element.iter("tr"):
        yield (
            Cell(flat(cell), _span(cell, "colspan"), _span(cell, "rowspan"))
            for cell in row
            if cell.tag in ("td", "th")
        )


def _span(cell: Any, name: str) -> int:
    written = (cell.get(name) or "1").strip()
    return int(written) if written.isdecimal() and len(written) < 6 else 1
