"""DOCX structure as Markdown, and archives made to harm."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml

from rag_platform.documents.parsing.docx import parse_docx
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.samples import WORD, docx_of, word_body, word_paragraph

LIMITS = ParseLimits()


def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_docx(data, limits)
    return refused.value.failure.reason


def saved(document: "docx.document.Document") -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def test_structure_of_a_word_file() -> None:
    document = docx.Document()
    document.core_properties.title = "Account terms"
    document.core_properties.author = "A. Writer"
    document.add_heading("Terms", level=0)
    document.add_heading("Fees", level=2)
    document.add_paragraph("First line").add_run("\nsecond line")
    for style, text in (
        ("List Bullet", "one"),
        ("List Bullet", "two"),
        ("List Number", "first"),
    ):
        document.add_paragraph(text, style=style)
    table = document.add_table(rows=3, cols=2)
    cells = [["Kind", "Price"], ["A|B", "1 €"], ["wide", ""]]
    for row, values in zip(table.rows, cells, strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    table.rows[2].cells[0].merge(table.rows[2].cells[1])
    document.add_paragraph("After.")
    parsed = parse_docx(saved(document), LIMITS)
    assert parsed.text == (
        "# Terms\n\n## Fees\n\nFirst line\nsecond line\n\n- one\n- two\n1. first\n\n"
        "| Kind | Price |\n| --- | --- |\n| A\\|B | 1 € |\n| wide |  |\n\nAfter."
    )
    assert parsed.title == "Account terms"
    assert parsed.metadata["author"] == "A. Writer"
    assert parsed.page_starts == ()


def test_tracked_changes_text_boxes_and_notes() -> None:
    body = word_body(
        "<w:p><w:r><w:t>Kept </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>added</w:t></w:r></w:ins>"
        '<w:r><w:footnoteReference w:id="2"/></w:r>'
        "<w:r><w:pict><w:txbxContent><w:p><w:r><w:t>In a box</w:t></w:r></w:p></w:txbxContent>"
        "</w:pict></w:r></w:p><w:sdt><w:sdtContent>"
        + word_paragraph("In a control")
        + "</w:sdtContent></w:sdt>"
    )
    notes = (
        f'<w:footnotes xmlns:w="{WORD}"><w:footnote w:type="separator" w:id="0"/>'
        f'<w:footnote w:id="2">{word_paragraph("A note")}</w:footnote></w:footnotes>'
    )
    assert parse_docx(docx_of(body, footnotes=notes.encode()), LIMITS).text == (
        "Kept added[^f2]\n\nIn a box\n\nIn a control\n\n[^f2]: A note"
    )


def test_empty_document() -> None:
    assert parse_docx(saved(docx.Document()), LIMITS).text == ""


def test_text_after_a_nested_table_is_not_lost() -> None:
    document = docx.Document()
    cell = document.add_table(rows=1, cols=2).rows[0].cells[0]
    cell.text = "outer"
    cell._tc.append(
        parse_xml(
            f'<w:tbl xmlns:w="{WORD}"><w:tr><w:tc>{word_paragraph("inner")}</w:tc></w:tr></w:tbl>'
        )
    )
    document.add_paragraph("after")
    assert parse_docx(saved(document), LIMITS).text == "| outer inner |  |\n| --- | --- |\n\nafter"


def test_bomb_is_refused_while_it_inflates() -> None:
    bomb = docx_of(word_body(word_paragraph("a" * 40_000_000)))
    assert len(bomb) < 100_000
    assert refusal(bomb, ParseLimits(max_inflated_bytes=10_000_000)) == Reason.INFLATES


def test_many_small_parts_count_together() -> None:
    part = f'<w:styles xmlns:w="{WORD}">{" " * 600_000}</w:styles>'.encode()
    data = docx_of(word_body(word_paragraph("a")), styles=part, numbering=part)
    assert refusal(data, ParseLimits(max_inflated_bytes=1_000_000)) == Reason.INFLATES
    assert parse_docx(data, ParseLimits(max_inflated_bytes=2_000_000)).text == "a"


def test_billion_laughs() -> None:
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
    )
    body = word_body(word_paragraph("&a9;"), prologue=f"<!DOCTYPE w [{entities}]>")
    assert refusal(docx_of(body)) == Reason.HOSTILE_XML


def test_external_entities_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read", encoding="utf-8")
    prologue = f'<!DOCTYPE w [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    assert refusal(docx_of(word_body(word_paragraph("&x;"), prologue))) == Reason.HOSTILE_XML
    late = docx_of(word_body("a"), styles=f"<!DOCTYPE w SYSTEM '{secret.as_uri()}'><w/>".encode())
    assert refusal(late) == Reason.HOSTILE_XML


def test_deep_nesting_is_refused() -> None:
    inner = "<w:r>" * 5_000 + "</w:r>" * 5_000
    assert refusal(docx_of(word_body(f"<w:p>{inner}</w:p>"))) == Reason.CORRUPT


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated(share: float) -> None:
    whole = saved(docx.Document())
    assert refusal(whole[: int(len(whole) * share)]) == Reason.CORRUPT


def test_damaged_bytes_and_broken_xml() -> None:
    whole = bytearray(docx_of(word_body(word_paragraph("text " * 1_000))))
    start = whole.index(b"word/document.xml") + 30
    whole[start : start + 8] = b"\xff" * 8
    assert refusal(bytes(whole)) == Reason.CORRUPT
    assert refusal(docx_of(b"<w:document><w:body>")) == Reason.CORRUPT


def test_zip_without_a_document() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/other.xml", "<a/>")
    assert refusal(buffer.getvalue()) == Reason.UNSUPPORTED


NUMBERING = f"""<w:numbering xmlns:w="{WORD}">
<w:abstractNum w:abstractNumId="0">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="upperRoman"/><w:lvlText w:val="%1."/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="3"/><w:numFmt w:val="decimal"/><w:isLgl/>
<w:lvlText w:val="%1.%2"/></w:lvl>
<w:lvl w:ilvl="2"><w:start w:val="27"/><w:numFmt w:val="lowerLetter"/>
<w:lvlText w:val="%3)"/></w:lvl>
</w:abstractNum>
<w:abstractNum w:abstractNumId="1">
<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>
<w:num w:numId="2"><w:abstractNumId w:val="0"/>
<w:lvlOverride w:ilvl="0"><w:startOverride w:val="9"/></w:lvlOverride></w:num>
<w:num w:numId="3"><w:abstractNumId w:val="1"/></w:num></w:numbering>""".encode()
STYLES = f"""<w:styles xmlns:w="{WORD}">
<w:style w:styleId="H2"><w:name w:val="heading 2"/><w:pPr><w:numPr><w:ilvl w:val="1"/>
<w:numId w:val="1"/></w:numPr></w:pPr></w:style>
<w:style w:styleId="V"><w:name w:val="secret"/><w:rPr><w:vanish/></w:rPr></w:style>
</w:styles>""".encode()


def numbered(text: str, number: int, depth: int = 0) -> str:
    place = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>'
    return f"<w:p><w:pPr>{place}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_numbers_of_clauses_are_counted_as_word_counts_them() -> None:
    body = word_body(
        numbered("Scope", 1)
        + '<w:p><w:pPr><w:pStyle w:val="H2"/></w:pPr><w:r><w:t>Fees</w:t></w:r></w:p>'
        + numbered("clause", 1, 1)
        + numbered("letter", 1, 2)
        + numbered("point", 3)
        + numbered("Terms", 1)
        + numbered("again", 1, 1)
        + numbered("New start", 2)
        + numbered("unknown", 77)
        + numbered("none", 0)
    )
    text = parse_docx(docx_of(body, numbering=NUMBERING, styles=STYLES), LIMITS).text
    assert text == (
        "I. Scope\n\n## 1.3 Fees\n\n1.4 clause\n    aa) letter\n- point\nII. Terms\n2.3 again\n"
        "IX. New start\n- unknown\n\nnone"
    )


def test_hidden_runs_are_left_out_and_counted() -> None:
    def run(text: str, properties: str) -> str:
        return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"

    body = word_body(
        "<w:p>"
        + run("a", "")
        + run("four", "<w:vanish/>")
        + run("b", '<w:vanish w:val="0"/>')
        + run("sixsix", '<w:rStyle w:val="V"/>')
        + "</w:p>"
    )
    parsed = parse_docx(docx_of(body, styles=STYLES), LIMITS)
    assert parsed.text == "ab"
    assert parsed.metadata == {"hidden_characters": "10"}


def test_merged_cells_stand_in_each_row_and_column() -> None:
    document = docx.Document()
    table = document.add_table(rows=3, cols=3)
    for number, cell in enumerate(table._cells):
        cell.text = str(number)
    table.cell(0, 1).merge(table.cell(0, 2)).text = "wide"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "tall"
    assert parse_docx(saved(document), LIMITS).text == (
        "| 0 | wide | wide |\n| --- | --- | --- |\n| tall | 4 | 5 |\n| tall | 7 | 8 |"
    )


def test_equations() -> None:
    def r(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    def part(name: str, inner: str) -> str:
        return f"<m:{name}>{inner}</m:{name}>"

    fraction = part("f", part("num", r("a")) + part("den", r("b+1")))
    power = part("sSup", part("e", r("x")) + part("sup", r("2")))
    nary = '<m:naryPr><m:chr m:val="∑"/></m:naryPr>'
    total = part("nary", nary + part("sub", r("k=0")) + part("sup", r("n")) + part("e", power))
    root = part("rad", part("deg", "") + part("e", r("y")))
    round_ = part("d", part("e", fraction))
    inner = part("oMath", r("A=") + total + r("+") + root + r("⋅") + round_)
    xml = inner.replace("<m:oMath>", f'<m:oMath xmlns:m="{WORD}/math">')
    body = word_body(f"<w:p><w:r><w:t>Where </w:t></w:r>{xml}</w:p>")
    assert parse_docx(docx_of(body), LIMITS).text == (
        r"Where $A=∑_{k=0}^{n} x^{2}+\sqrt{y}⋅(\frac{a}{b+1})$"
    )
