"""OpenDocument text: structure, notes, spans, and what no reader sees."""

import pytest

from rag_platform.documents.parsing.odt import parse_odt
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.office_samples import odt, zipped

LIMITS = ParseLimits()


def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_odt(data, limits)
    return refused.value.failure.reason


def p(text: str, attributes: str = "") -> str:
    return f"<text:p {attributes}>{text}</text:p>"


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}>{p(text)}</table:table-cell>"


def table(*rows: str) -> str:
    listed = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    return f"<table:table>{listed}</table:table>"


def test_headings_paragraphs_and_lists() -> None:
    styles = (
        '<text:list-style style:name="N"><text:list-level-style-number text:level="2" '
        'style:num-format="1"/><text:list-level-style-bullet text:level="1"/></text:list-style>'
    )
    body = (
        '<text:h text:outline-level="2">Fees and\n charges</text:h>'
        + p(
            "One<text:s text:c='3'/>two<text:tab/>three<text:line-break/>"
            "<text:span>four</text:span>."
        )
        + f'<text:list text:style-name="N"><text:list-item>{p("item")}<text:list>'
        + f"<text:list-item>{p('nested')}{p('more')}</text:list-item></text:list></text:list-item>"
        + f"<text:list-item>{p('last')}</text:list-item></text:list>"
        + f"<text:section>{p('In a section')}</text:section>"
    )
    parsed = parse_odt(odt(body, styles=styles, title="Terms"), LIMITS)
    assert parsed.text == (
        "## Fees and charges\n\nOne two three\nfour.\n\n"
        "- item\n  1. nested\n    more\n- last\n\nIn a section"
    )
    assert parsed.title == "Terms"


def test_tables_with_spans() -> None:
    rows = (
        cell("Kind")
        + cell("Price", 'table:number-columns-spanned="2"')
        + "<table:covered-table-cell/>",
        cell("a", 'table:number-rows-spanned="2"') + cell("1") + cell("2"),
        "<table:covered-table-cell/>" + cell("3", 'table:number-columns-repeated="2"'),
    )
    assert parse_odt(odt(table(*rows)), LIMITS).text == (
        "| Kind | Price | Price |\n| --- | --- | --- |\n| a | 1 | 2 |\n| a | 3 | 3 |"
    )


def test_paragraphs_of_a_cell_stay_apart() -> None:
    both = f"<table:table-cell>{p('1')}{p('2')}</table:table-cell>{cell('b')}"
    assert parse_odt(odt(table(both)), LIMITS).text == "| 1 2 | b |\n| --- | --- |"


def test_notes_boxes_comments_deletions_and_hidden_text() -> None:
    note = "<text:note><text:note-citation>*</text:note-citation>"
    note += f"<text:note-body>{p('A note')}</text:note-body></text:note>"
    styles = (
        '<style:style style:name="H"><style:text-properties text:display="none"/></style:style>'
    )
    body = (
        f"<text:tracked-changes>{p('deleted')}</text:tracked-changes>"
        + p(f"Said{note} here<office:annotation>{p('comment')}</office:annotation>.")
        + p(f"<draw:frame><draw:text-box>{p('In a box')}</draw:text-box></draw:frame>")
        + p('a<text:span text:style-name="H">1234</text:span>b')
        + p("56", 'text:style-name="H"')
        + f"<text:table-of-content>{p('Contents 1')}</text:table-of-content>"
    )
    parsed = parse_odt(odt(body, styles=styles), LIMITS)
    assert parsed.text == "Said[^1] here.\n\nIn a box\n\nab\n\n[^1]: A note"
    assert parsed.metadata == {"hidden_characters": "6"}


def test_the_manifest_may_name_its_document_type() -> None:
    doctype = '<!DOCTYPE manifest PUBLIC "-//OpenOffice.org//DTD Manifest 1.0//EN" "Manifest.dtd">'
    assert parse_odt(odt(p("x"), manifest=f"{doctype}<manifest/>"), LIMITS).text == "x"
    hostile = "<!DOCTYPE m [<!ENTITY % x SYSTEM 'file:///etc/hosts'>]><m/>"
    assert refusal(odt(p("x"), manifest=hostile)) == Reason.HOSTILE_XML


def test_refused() -> None:
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    assert refusal(odt(p("x"), manifest=manifest)) == Reason.ENCRYPTED
    assert refusal(zipped({"mimetype": "x"})) == Reason.CORRUPT
    assert (
        refusal(odt(p("a" * 200_000)), ParseLimits(max_inflated_bytes=100_000)) == Reason.INFLATES
    )
    assert refusal(odt("<text:span>" * 5_000 + "</text:span>" * 5_000)) == Reason.CORRUPT
