"""XLSX: cells as a reader sees them, tables, and what is not shown."""

import io
import zipfile

import pytest

from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform.documents.parsing.xlsx import parse_xlsx
from rag_platform_tests.documents.parsing.office_samples import xlsx, zipped

LIMITS = ParseLimits()


def number(place: str, value: object, style: int = 0) -> str:
    return f'<c r="{place}" s="{style}"><v>{value}</v></c>'


def inline(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def row(number: int, *cells: str, attributes: str = "") -> str:
    return f'<row r="{number}" {attributes}>{"".join(cells)}</row>'


def text_of(rows: str, *, strings: str = "", styles: str = "", properties: str = "") -> str:
    data = xlsx({"S": rows}, strings=strings, styles=styles, properties=properties)
    return parse_xlsx(data, LIMITS).text.removeprefix("# S\n\n")


def test_sheets_are_pages_with_tables() -> None:
    rows = row(1, inline("B1", "Fees")) + row(2, inline("B2", "Kind"), inline("D2", "Price"))
    rows += row(3, inline("B3", "a|b"), number("D3", 1)) + row(7, inline("A7", "alone"))
    parsed = parse_xlsx(
        xlsx({"Fees of  2026": rows, "Empty": "", "Last": row(1, number("A1", 2))}), LIMITS
    )
    first = "# Fees of 2026\n\nFees\n\n| Kind | Price |\n| --- | --- |\n| a\\|b | 1 |\n\nalone"
    assert parsed.text == f"{first}\n\n\n\n# Last\n\n2"
    assert parsed.page_starts == (0, len(first) + 2, len(first) + 4)
    assert parsed.title == "Fees of 2026"


@pytest.mark.parametrize(
    ("stored", "style", "shown"),
    [
        ("45000", 1, "2023-03-15"),  # 45,000 days after 30 December 1899
        ("45000.5", 1, "2023-03-15 12:00:00"),
        ("0.25", 1, "06:00:00"),
        ("45000", 4, "2023-03-15"),
        ("0.125", 2, "12.50%"),
        ("0.125", 3, "12.5%"),
        ("1.1000000000000001", 0, "1.1"),
        ("1234567", 0, "1234567"),
        ("12345678901234567890", 0, "12345678901234567890"),
        ("-0.5", 0, "-0.5"),
        ("3", 5, "3"),
        ("9999999999", 1, "9999999999"),
        ("1e999", 1, "inf"),
        ("x", 1, "x"),
    ],
)
def test_numbers_as_they_are_shown(stored: str, style: int, shown: str) -> None:
    styles = (
        '<numFmts><numFmt numFmtId="164" formatCode="0.0%"/>'
        '<numFmt numFmtId="165" formatCode="[$-407]dd\\.mm\\.yyyy;@"/>'
        '<numFmt numFmtId="166" formatCode="&quot;days&quot; 0"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="10"/><xf numFmtId="164"/>'
        '<xf numFmtId="165"/><xf numFmtId="166"/></cellXfs>'
    )
    assert text_of(row(1, number("A1", stored, style)), styles=styles) == shown


def test_dates_from_1904() -> None:
    styles = '<cellXfs><xf numFmtId="14"/></cellXfs>'
    assert (
        text_of(row(1, number("A1", 365)), styles=styles, properties='<workbookPr date1904="1"/>')
        == "1904-12-31"
    )


def test_strings_truth_and_errors() -> None:
    strings = "<si><r><t>Rich </t></r><r><t>text</t></r><rPh><t>guide</t></rPh></si>"
    cells = '<c t="s"><v>0</v></c><c t="b"><v>1</v></c><c t="e"><v>#DIV/0!</v></c>'
    cells += '<c t="str"><f>A1</f><v>made</v></c><c t="s"><v>9</v></c>'
    assert text_of(row(1, cells), strings=strings) == (
        "| Rich text | TRUE | #DIV/0! | made |\n| --- | --- | --- | --- |"
    )


def test_what_is_hidden_is_left_out_and_counted() -> None:
    sheet = (
        '<cols><col min="2" max="3" hidden="1"/></cols><sheetData>'
        + row(1, inline("A1", "seen"), inline("B1", "four"))
        + row(2, inline("A2", "five5"), attributes='hidden="1"')
        + "</sheetData>"
    )
    sheets = {"S": sheet, "H": row(1, inline("A1", "sixsix"))}
    parsed = parse_xlsx(xlsx(sheets, states={"H": 'state="veryHidden"'}), LIMITS)
    assert parsed.text == "# S\n\nseen"
    assert parsed.metadata == {"hidden_characters": str(4 + 5 + 6)}


def test_refused() -> None:
    def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
        with pytest.raises(ParseRefused) as refused:
            parse_xlsx(data, limits)
        return refused.value.failure.reason

    assert refusal(zipped({"xl/other.xml": "<a/>"})) == Reason.CORRUPT
    assert refusal(xlsx({"a": "", "b": ""}), ParseLimits(max_pages=1)) == Reason.TOO_MANY_PAGES
    diagonal = "".join(
        row(n, number("A", 1), f'<c r="{a}{b}{n}"><v>1</v></c>')
        for n, (a, b) in enumerate(((a, b) for a in "BCDEFGHIJ" for b in "ABCDEFGHIJ"), 1)
    )
    small = ParseLimits(max_inflated_bytes=20_000)  # the table would hold 90 x 91 cells
    assert refusal(xlsx({"a": diagonal}), small) == Reason.INFLATES
    assert refusal(xlsx({"a": row(1, inline("A1", "a" * 50_000))}), small) == Reason.INFLATES


def test_a_date_after_the_year_9999_is_a_number() -> None:
    styles = '<cellXfs><xf numFmtId="14"/></cellXfs>'
    last = row(1, number("A1", 2_958_465))
    assert text_of(last, styles=styles, properties='<workbookPr date1904="1"/>') == "2958465"
    assert text_of(last, styles=styles) == "9999-12-31"
    assert text_of(row(1, number("A1", 2_958_465.9999999)), styles=styles) == "2958465.9999999"


def test_a_sheet_may_stand_anywhere_but_must_be_there() -> None:
    data = xlsx({"S": row(1, inline("A1", "x"))})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = next(name for name in parts if "worksheets/" in name)
    moved = {name.replace("worksheets/", ""): content for name, content in parts.items()}
    moved["xl/_rels/workbook.xml.rels"] = moved["xl/_rels/workbook.xml.rels"].replace(
        b"worksheets/", b""
    )
    assert parse_xlsx(zipped(moved), LIMITS).text == "# S\n\nx"
    del parts[sheet]
    with pytest.raises(ParseRefused, match="a sheet of the workbook is missing"):
        parse_xlsx(zipped(parts), LIMITS)


def test_what_is_said_of_broken_xml_quotes_nothing() -> None:
    data = xlsx({"S": row(1, "<hunter2>")})
    with pytest.raises(ParseRefused, match="broken XML in the XLSX: line 1, column") as refused:
        parse_xlsx(data, LIMITS)
    assert "hunter2" not in refused.value.failure.detail
