"""EPUB to Markdown: a page for each document of the book, in reading order."""

from collections.abc import Iterator
from typing import Final

from rag_platform.documents.parsing.blocks import document, join_pages
from rag_platform.documents.parsing.html import whole_page
from rag_platform.documents.parsing.package import (
    Package,
    attribute,
    elements,
    inside,
    local,
    opened,
)
from rag_platform.documents.parsing.result import Kind, Parsed, ParseLimits, ParseRefused, Reason
from rag_platform.documents.parsing.text import normalise, words

CONTAINER: Final = "META-INF/container.xml"
ENCRYPTION: Final = "META-INF/encryption.xml"
# Ways to disguise fonts, which leave the text readable.
FONT_OBFUSCATION: Final = (
    "http://www.idpf.org/2008/embedding",
    "http://ns.adobe.com/pdf/enc#RC",
)
TEXTS: Final = words("application/xhtml+xml text/html text/x-oeb1-document")
META: Final = {
    "title": "title",
    "creator": "author",
    "description": "description",
    "subject": "keywords",
    "language": "language",
    "date": "date",
}


def parse_epub(data: bytes, limits: ParseLimits) -> Parsed:
    """The texts of the book; a table of contents that is only navigation is left out.

    Documents without text make no page. Refuses: `corrupt`, `encrypted` (rights management),
    `inflates`, `hostile_xml`, `too_many_pages`.
    """
    with opened(data, limits, "EPUB") as package:
        _refuse_encrypted(package)
        metadata, spine = _book(package)
        hidden: list[int] = []
        text, starts = join_pages(_pages(package, spine, hidden), limits)
    return document(Kind.EPUB, text, metadata, starts=starts, hidden=sum(hidden))


def _refuse_encrypted(package: Package) -> None:
    if ENCRYPTION in package.names:
        for element in elements(package, ENCRYPTION):
            algorithm = attribute(element, "Algorithm")
            if local(element) == "EncryptionMethod" and algorithm not in FONT_OBFUSCATION:
                raise ParseRefused(
                    Reason.ENCRYPTED, "the book is under rights management; store it without"
                )


def _book(package: Package) -> tuple[dict[str, str], list[str]]:
    """Metadata, and the members that hold the text in reading order."""
    name = ""
    if CONTAINER in package.names:
        for element in elements(package, CONTAINER):
            if local(element) == "rootfile" and not name:
                name = inside("", attribute(element, "full-path"))
    if name not in package.names:
        raise ParseRefused(Reason.CORRUPT, "an EPUB without the list of its documents")
    metadata: dict[str, str] = {}
    items: dict[str, str] = {}
    spine: list[str] = []
    folder = name.rpartition("/")[0]
    for element in elements(package, name):
        part = local(element)
        if part == "item" and element.get("media-type") in TEXTS:
            if "nav" not in (element.get("properties") or "").split():
                items[element.get("id", "")] = inside(folder, element.get("href", ""))
        elif part == "itemref":
            spine.append(element.get("idref", ""))
        elif part in META and element.text:
            metadata.setdefault(META[part], normalise(element.text))
    return metadata, [items[each] for each in spine if each in items]


def _pages(package: Package, spine: list[str], hidden: list[int]) -> Iterator[str]:
    for name in spine:
        if name in package.names:
            text, unseen = whole_page(package.read(name))
            hidden.append(unseen)
            if text:
                yield text
