"""PPTX: slides in the order of the show, tables, lists, notes, and what is not shown."""

import io
import zipfile

import pytest

from rag_platform.documents.parsing.pptx import parse_pptx
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.office_samples import (
    DRAWING,
    PRESENTATION,
    paragraph,
    pptx,
    shape,
    slide,
    zipped,
)

LIMITS = ParseLimits()


def title(text: str) -> str:
    return shape(paragraph(text), placeholder="title")


def cell(text: str, attributes: str = "") -> str:
    return f"<a:tc {attributes}><a:txBody>{paragraph(text)}</a:txBody></a:tc>"


def table(*rows: str) -> str:
    listed = "".join(f"<a:tr>{row}</a:tr>" for row in rows)
    return f"<p:graphicFrame><a:graphic><a:tbl>{listed}</a:tbl></a:graphic></p:graphicFrame>"


def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_pptx(data, limits)
    return refused.value.failure.reason


def test_slides_come_in_the_order_of_the_show_with_their_structure() -> None:
    level = '<a:pPr lvl="1"/>'
    numbered = '<a:pPr><a:buAutoNum type="arabicPeriod"/></a:pPr>'
    first = slide(
        title("Fees of 2026"),
        shape(paragraph("one"), paragraph("below", level), paragraph("two")),
        shape(paragraph("step", numbered), "<a:p/>", paragraph("No list")),
    )
    second = slide(
        title("Prices"),
        table(
            cell("Kind") + cell("Price", 'gridSpan="2"') + cell("", 'hMerge="1"'),
            cell("a|b") + cell("1 €") + cell("2 €"),
        ),
        f"<p:grpSp>{shape(paragraph('grouped'))}</p:grpSp>",
        shape(paragraph("17"), placeholder="sldNum"),
    )
    notes = (
        f'<p:notes xmlns:p="{PRESENTATION}" xmlns:a="{DRAWING}">'
        f"{shape(paragraph('Say this.'), paragraph('Then that.'))}</p:notes>"
    )
    parsed = parse_pptx(pptx([first, second], {0: notes}), LIMITS)
    pages = [
        "# Fees of 2026\n\n- one\n  - below\n- two\n1. step\n\nNo list\n\n"
        "> Say this.\n> Then that.",
        "# Prices\n\n| Kind | Price | Price |\n| --- | --- | --- |\n| a\\|b | 1 € | 2 € |\n\n"
        "grouped",
    ]
    assert parsed.text == "\n\n".join(pages)
    assert parsed.page_starts == (0, len(pages[0]) + 2)
    assert parsed.title == "Fees of 2026"


def test_hidden_slides_are_left_out_and_counted_and_keep_their_number() -> None:
    hidden = slide(title("secret"), attributes='show="0"')
    parsed = parse_pptx(pptx([slide(title("a")), hidden, slide(title("b"))]), LIMITS)
    assert parsed.text == "# a\n\n\n\n# b"
    assert parsed.page_starts == (0, 5, 7)
    assert parsed.metadata == {"hidden_characters": str(len("# secret"))}


def test_a_shape_for_old_programs_is_not_read_twice() -> None:
    twice = f"<mc:AlternateContent xmlns:mc='m'><mc:Choice>{shape(paragraph('x'))}</mc:Choice>"
    twice += f"<mc:Fallback>{shape(paragraph('x'))}</mc:Fallback></mc:AlternateContent>"
    assert parse_pptx(pptx([slide(twice)]), LIMITS).text == "x"


def test_an_empty_slide_is_a_page_and_an_empty_show_is_empty() -> None:
    parsed = parse_pptx(pptx([slide(title("a")), slide(), slide(title("b"))]), LIMITS)
    assert (parsed.text, parsed.page_starts) == ("# a\n\n\n\n# b", (0, 5, 7))
    assert parse_pptx(pptx([]), LIMITS).text == ""


def test_a_slide_that_is_missing_is_not_passed_over() -> None:
    with zipfile.ZipFile(io.BytesIO(pptx([slide(title("a")), slide(title("b"))]))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    del parts["ppt/slides/slide1.xml"]
    with pytest.raises(ParseRefused, match="a slide of the presentation is missing"):
        parse_pptx(zipped(parts), LIMITS)


def test_refused() -> None:
    assert refusal(zipped({"ppt/other.xml": "<a/>"})) == Reason.CORRUPT
    assert refusal(pptx([slide()] * 3), ParseLimits(max_pages=2)) == Reason.TOO_MANY_PAGES
    bomb = pptx([slide(title("a" * 3_000_000))])
    assert refusal(bomb, ParseLimits(max_inflated_bytes=2_000_000)) == Reason.INFLATES
    hostile = slide(title("&x;"), prologue='<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/hosts">]>')
    assert refusal(pptx([hostile])) == Reason.HOSTILE_XML
