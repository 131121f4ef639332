"""EPUB: the documents of a book in reading order."""

import pytest

from rag_platform.documents.parsing.epub import parse_epub
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.office_samples import epub, zipped

LIMITS = ParseLimits()


def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_epub(data, limits)
    return refused.value.failure.reason


def page(body: str, prologue: str = "") -> str:
    return f"{prologue}<html xmlns='http://www.w3.org/1999/xhtml'><body>{body}</body></html>"


def test_chapters_are_pages() -> None:
    pages = {
        "z.xhtml": page("<h1>One</h1><p>First <i>words</i>.</p>", '<?xml version="1.0"?>\n'),
        "cover.xhtml": page("<img src='cover.png'/>"),
        "a.xhtml": page("<h2>Two</h2><ul><li>item</li></ul><p hidden='hidden'>unseen</p>"),
    }
    navigation = '<item id="n" href="n.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    metadata = "<title>A book</title><creator>A. Writer</creator><language>de</language>"
    parsed = parse_epub(epub(pages, metadata=metadata, items=navigation), LIMITS)
    assert parsed.text == "# One\n\nFirst words.\n\n## Two\n\n- item"
    assert parsed.page_starts == (0, len("# One\n\nFirst words.\n\n"))
    assert parsed.title == "A book"
    assert parsed.metadata == {"hidden_characters": "6", "author": "A. Writer", "language": "de"}


def test_entities_of_a_chapter_read_no_file() -> None:
    hostile = page("<p>a&x;b</p>", '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]>')
    assert "root:" not in parse_epub(epub({"a.xhtml": hostile}), LIMITS).text


def test_disguised_fonts_are_no_rights_management() -> None:
    method = '<encryption><EncryptionMethod Algorithm="{}"/></encryption>'
    font = method.format("http://www.idpf.org/2008/embedding")
    assert parse_epub(epub({"a.xhtml": page("x")}, encryption=font), LIMITS).text == "x"
    locked = method.format("http://www.w3.org/2001/04/xmlenc#aes256-cbc")
    assert refusal(epub({"a.xhtml": page("x")}, encryption=locked)) == Reason.ENCRYPTED


def test_refused() -> None:
    assert refusal(zipped({"mimetype": "application/epub+zip"})) == Reason.CORRUPT
    bomb = epub({"a.xhtml": page("a" * 3_000_000)})
    assert refusal(bomb, ParseLimits(max_inflated_bytes=2_000_000)) == Reason.INFLATES
    many = epub({f"{n}.xhtml": page("x") for n in range(3)})
    assert refusal(many, ParseLimits(max_pages=2)) == Reason.TOO_MANY_PAGES
