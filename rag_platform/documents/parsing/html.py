"""HTML to Markdown: the main content with headings, lists, tables and code; no navigation.

libxml2 builds the tree and one iterative walk turns it into blocks, so nesting cannot overflow
the stack. Boilerplate goes in three steps: elements that are never content, elements named as
navigation or advertising, and lists or paragraphs that are almost only links. A step that would
take nearly everything is undone.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseRefused,
    Reason,
    bounded_metadata,
)
from rag_platform.documents.parsing.text import decode, normalise, words

INVISIBLE: Final = words("script style noscript template svg head")
NEVER_CONTENT: Final = words(
    "canvas iframe object embed audio video nav aside footer form button select input"
    " textarea dialog menu"
)
CONTAINERS: Final = words("article div main section table tbody tr td center span")
BOILERPLATE_ROLES: Final = words(
    "navigation banner contentinfo complementary search dialog alertdialog menu"
)
BOILERPLATE_NAME: Final = re.compile(
    r"(?:^|[\s_-])(?:"
    r"nav\w*|menu\w*|breadcrumbs?|crumbs|sidebar|footer|masthead|cookies?|consent|gdpr|"
    r"share|sharing|sharedaddy|social\w*|related\w*|recommend\w*|comments?|commentlist|respond|"
    r"disqus\w*|advert\w*|ads?|banner|promo\w*|sponsor\w*|newsletter|subscribe\w*|signup|popup|"
    r"modal|overlay|skip|pagination|pager|toolbar|tags?|taglist|byline|meta|metadata|"
    r"trending|popular|widget\w*|outbrain|taboola|editsection|mw-jump-link|headerlink"
    r")(?:$|[\s_-])",
    re.IGNORECASE,
)
HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
BLOCKS: Final = words(
    "address article blockquote body caption center dd details div dl dt fieldset figcaption"
    " figure header hgroup hr html legend li main ol p pre section summary table tbody td"
    " tfoot th thead tr ul h1 h2 h3 h4 h5 h6"
)
LAYOUT_PATH: Final = (
    ".//table|.//h1|.//h2|.//h3|.//h4|.//ul|.//ol|.//pre|.//form|.//article|.//section|.//p[3]"
)
MAX_LINK_SHARE: Final = 0.6
MIN_KEPT_SHARE: Final = 0.25
ENOUGH_CHARACTERS: Final = 250
MAX_NAMED_PROSE_SHARE: Final = 0.4
PROSE_SHARE: Final = 0.8
SPACES: Final = re.compile(r"\s+")


@dataclass
class Block:
    """One Markdown block and how many characters of it are link text."""

    text: str
    links: int = 0
    heading: bool = False
    tight: bool = False


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


def parse_html(data: bytes) -> Parsed:
    """The main content of an HTML page; `corrupt` for nesting beyond libxml2's limit of 2,048."""
    source = decode(data, html=True)
    root = _tree(source)
    if root is None:
        return Parsed(text="", title="", media_type=Kind.HTML)
    metadata = _metadata(root)
    title = metadata.pop("title", "")
    text = normalise(_main_content(root) or _everything(_tree(source)))
    return Parsed(text=text, title=title, media_type=Kind.HTML, metadata=bounded_metadata(metadata))


def _tree(text: str) -> Any:
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
        raise ParseRefused(Reason.CORRUPT, f"not readable as HTML: {error}") from error
    if any(entry.type == etree.ErrorTypes.ERR_NO_MEMORY for entry in parser.error_log):
        raise MemoryError("libxml2 ran out of memory")
    if any("depth" in entry.message for entry in parser.error_log):
        raise ParseRefused(Reason.CORRUPT, "HTML elements are nested more than 2,048 deep")
    return root


def _metadata(root: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    names = {
        "author": "author",
        "description": "description",
        "keywords": "keywords",
        "date": "date",
        "article:published_time": "date",
        "article:modified_time": "modified",
        "og:title": "og_title",
    }
    for meta in root.iter("meta"):
        name = (meta.get("name") or meta.get("property") or "").strip().lower()
        if name in names and (content := meta.get("content")):
            found.setdefault(names[name], normalise(content))
    if language := (root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang")):
        found["language"] = normalise(language).strip()
    og_title = found.pop("og_title", "")
    titles = (_flat(element) for name in ("title", "h1") for element in root.iter(name))
    found["title"] = next((title for title in titles if title), og_title)[:500]
    return found


def _flat(element: Any) -> str:
    return normalise(SPACES.sub(" ", "".join(element.itertext()))).strip()


def _main_content(root: Any) -> str:
    """The main content; empty where pruning took nearly everything."""
    main = _body(root)
    everything = len(main.xpath("normalize-space(string())"))
    prose = _prose(main)
    _drop(main, lambda element: _is_boilerplate(element, prose))
    blocks = _without_links(_blocks(_densest(main)))
    kept = sum(len(block.text) for block in blocks)
    if kept < ENOUGH_CHARACTERS and kept < MIN_KEPT_SHARE * everything:
        return ""
    return _join(blocks)


def _everything(root: Any) -> str:
    return _join(_blocks(_body(root)))


def _body(root: Any) -> Any:
    """The body without what no reader sees."""
    body = root.find("body")
    main = root if body is None else body
    _drop(main, lambda element: element.tag in INVISIBLE)
    return main


def _drop(root: Any, unwanted: Callable[[Any], bool]) -> None:
    """Remove elements with their content; the text after them stays."""
    from lxml import etree

    found = []
    walker = etree.iterwalk(root, events=("start",))
    for _, element in walker:
        if element is not root and unwanted(element):
            found.append(element)
            walker.skip_subtree()
    for element in found:
        parent = element.getparent()
        if element.tail:
            before = element.getprevious()
            if before is not None:
                before.tail = (before.tail or "") + " " + element.tail
            else:
                parent.text = (parent.text or "") + " " + element.tail
        parent.remove(element)


def _densest(main: Any) -> Any:
    """The deepest element that holds most of the page's prose.

    Prose is text outside links. Headings on the way down are moved in front of what is chosen.
    """
    mass: dict[Any, int] = {}
    for element in reversed(list(main.iter())):
        own = 0 if element.tag == "a" else len((element.text or "").strip())
        mass[element] = mass.get(element, 0) + own
        parent = element.getparent()
        if parent is not None and element.tag != "a":
            tail = len((element.tail or "").strip())
            mass[parent] = mass.get(parent, 0) + mass[element] + tail
    chosen = main
    headings: list[Any] = []
    while len(chosen):
        heaviest = max(chosen, key=mass.__getitem__)
        if heaviest.tag not in CONTAINERS or mass[heaviest] < PROSE_SHARE * mass[main]:
            break
        for before in heaviest.itersiblings(preceding=True):
            headings[:0] = before.iter("h1", "h2")
        chosen = heaviest
    for heading in reversed(headings):
        heading.tail = chosen.text
        chosen.text = None
        chosen.insert(0, heading)
    return chosen


def _without_links(blocks: list[Block]) -> list[Block]:
    """Blocks that are not mostly link text; a linked heading stays where prose follows it."""
    kept: list[Block] = []
    prose_follows = False
    for block in reversed(blocks):
        linked = block.links > MAX_LINK_SHARE * len(block.text)
        if block.heading:
            if prose_follows or not linked:
                kept.append(block)
            prose_follows = False
        elif not linked:
            kept.append(block)
            prose_follows = True
    return kept[::-1]


def _join(blocks: list[Block]) -> str:
    parts: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before is not None:
            parts.append("\n" if before.tight and block.tight else "\n\n")
        parts.append(block.text)
    return "".join(parts)


def _prose(element: Any) -> int:
    """Characters in paragraphs."""
    return sum(len(paragraph.xpath("string()")) for paragraph in element.iter("p"))


def _is_boilerplate(element: Any, prose: int) -> bool:
    """Whether an element is navigation and the like; by name only if it has little of the prose."""
    tag = element.tag
    if tag in NEVER_CONTENT:
        return True
    if not element.attrib or tag in ("body", "article", "main"):
        return False
    if element.get("role") in BOILERPLATE_ROLES or element.get("aria-hidden") == "true":
        return True
    if element.get("hidden") is not None:
        return True
    if "display:none" in (element.get("style") or "").replace(" ", ""):
        return True
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    if len(names) < 2 or not BOILERPLATE_NAME.search(names):
        return False
    return _prose(element) <= MAX_NAMED_PROSE_SHARE * prose


def _blocks(main: Any) -> list[Block]:
    from lxml import etree

    walk = Walk()
    walker = etree.iterwalk(main, events=("start", "end"))
    for event, element in walker:
        tag = element.tag
        if event == "end":
            _leave(walk, tag)
            if element is not main:
                walk.say(element.tail)
        elif tag == "pre" or (tag == "table" and not element.xpath(LAYOUT_PATH)):
            walker.skip_subtree()
            walk.end_block()
            block = _code(element) if tag == "pre" else _table(element)
            if block is not None:
                walk.blocks.append(block)
        else:
            _enter(walk, element, tag)
    walk.end_block()
    return walk.blocks


def _enter(walk: Walk, element: Any, tag: str) -> None:
    if tag in BLOCKS:
        walk.end_block()
    if tag in HEADINGS:
        walk.heading = HEADINGS[tag]
    elif tag == "a":
        walk.in_link += 1
    elif tag == "br":
        walk.say(" ")
    elif tag in ("ul", "ol"):
        walk.lists.append(1 if tag == "ol" else None)
    elif tag == "li":
        number = walk.lists[-1] if walk.lists else None
        walk.marker = "- " if number is None else f"{number}. "
        if number is not None:
            walk.lists[-1] = number + 1
    elif tag == "blockquote":
        walk.quote += 1
    elif tag == "code":
        walk.say("`")
    walk.say(element.text)


def _leave(walk: Walk, tag: str) -> None:
    if tag == "code" and walk.inline:
        walk.say("`")
    if tag in BLOCKS:
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
    rows = [row for row in _rows(element) if any(row)]
    if not rows:
        return None
    links = sum(len("".join(anchor.itertext()).strip()) for anchor in element.iter("a"))
    caption = next((_flat(found) for found in element.iter("caption")), "")
    return Block("\n\n".join(filter(None, (caption, markdown_table(rows)))), links)


def _rows(element: Any) -> Iterator[list[str]]:
    for row in element.iter("tr"):
        yield [_flat(cell) for cell in row if cell.tag in ("td", "th")]


def markdown_table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head, short rows are filled, one column is lines."""
    width = max(len(row) for row in rows)
    if width == 1:
        return "\n".join(row[0] for row in rows)
    lines = [_table_line(row, width) for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _table_line(row: list[str], width: int) -> str:
    cells = [*(cell.replace("|", "\\|").replace("\n", " ") for cell in row)]
    cells += [""] * (width - len(cells))
    return "| " + " | ".join(cells) + " |"
