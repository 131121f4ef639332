"""HTML to Markdown: the main content with headings, lists, tables and code; no navigation.

libxml2 builds the tree and one iterative walk turns it into blocks, so nesting cannot overflow
the stack. Boilerplate goes in three steps: elements that are never content, elements named as
navigation or advertising, and lists or paragraphs that are almost only links. A step that would
take nearly everything is undone.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from rag_platform.documents.parsing.blocks import Block, document, join_blocks
from rag_platform.documents.parsing.markup import blocks_of, flat, is_data_table, tree
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
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
    r"gallery|carousel|slideshow|lightbox|credits?|copyright|"
    r"trending|popular|widget\w*|outbrain|taboola|editsection|mw-jump-link|headerlink"
    r")(?:$|[\s_-])",
    re.IGNORECASE,
)
HIDING_STYLE: Final = re.compile(
    r"(?:^|;)(?:display:none|visibility:hidden|font-size:0(?![.\d])|opacity:0(?![.\d]))"
)
MAX_LINK_SHARE: Final = 0.6
MIN_KEPT_SHARE: Final = 0.25
ENOUGH_CHARACTERS: Final = 250
MAX_NAMED_PROSE_SHARE: Final = 0.4
PROSE_SHARE: Final = 0.8


def parse_html(data: bytes) -> Parsed:
    """The main content of an HTML page; `corrupt` for nesting beyond libxml2's limit of 2,048."""
    source = decode(data, html=True)
    root = tree(source)
    if root is None:
        return Parsed(text="", title="", media_type=Kind.HTML)
    metadata = _metadata(root)
    main = _body(root)
    hidden = _drop(main, _is_hidden)
    text = normalise(_main_content(main))
    if not text:
        text, hidden = _everything(source)
    return document(Kind.HTML, text, metadata, hidden=hidden)


def whole_page(data: bytes, charset: str = "") -> tuple[str, int]:
    """All text of a page as Markdown, for a chapter or a mail, and how many hidden characters it
    leaves out. `charset` is what is known from elsewhere."""
    source = decode(data, html=True, charset=charset)
    return _everything(source)


def _everything(source: str) -> tuple[str, int]:
    """All that a page shows, and the characters it hides; a page that shows nothing, as those do
    that unfold by script, gives what it hides."""
    root = tree(source)
    if root is None:
        return "", 0
    main = _body(root)
    hidden = _drop(main, _is_hidden)
    text = normalise(join_blocks(blocks_of(main))).strip()
    if hidden and not text:
        text = normalise(join_blocks(blocks_of(_body(tree(source))))).strip()
    return text, hidden


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
    titles = (flat(element) for name in ("title", "h1") for element in root.iter(name))
    found["title"] = next((title for title in titles if title), og_title)[:500]
    return found


def _main_content(main: Any) -> str:
    """The main content of a body; empty where pruning took nearly everything."""
    everything = len(main.xpath("normalize-space(string())"))
    prose = _prose(main)
    _drop(main, lambda element: _is_boilerplate(element, prose))
    blocks = _without_links(blocks_of(_densest(main)))
    kept = sum(len(block.text) for block in blocks)
    if kept < ENOUGH_CHARACTERS and kept < MIN_KEPT_SHARE * everything:
        return ""
    return join_blocks(blocks)


def _body(root: Any) -> Any:
    """The body without what no reader sees."""
    body = root.find("body")
    main = root if body is None else body
    _drop(main, lambda element: element.tag in INVISIBLE)
    return main


def _drop(root: Any, unwanted: Callable[[Any], bool]) -> int:
    """Empty elements in place, so that the text after them stays; the characters they held."""
    from lxml import etree

    found = []
    walker = etree.iterwalk(root, events=("start",))
    for _, element in walker:
        if element is not root and unwanted(element):
            found.append(element)
            walker.skip_subtree()
    dropped = sum(len(flat(element)) for element in found)
    for element in found:
        element.clear(keep_tail=True)
        element.tag, element.text = "span", " "
    return dropped


def _is_hidden(element: Any) -> bool:
    """Whether a page hides an element from its readers by its own attributes."""
    if element.get("hidden") is not None:
        return True
    style = element.get("style")
    return style is not None and HIDING_STYLE.search(style.replace(" ", "").lower()) is not None


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
        if is_data_table(heaviest):
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
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    if len(names) < 2 or not BOILERPLATE_NAME.search(names):
        return False
    return _prose(element) <= MAX_NAMED_PROSE_SHARE * prose
