"""Which parser takes which bytes, and the fingerprints."""

import io
import zipfile
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.formats import PARSER_VERSION, detect, fingerprint, parse
from rag_platform.documents.parsing.result import (
    Hints,
    Kind,
    Parsed,
    ParseFailure,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform_tests.documents.parsing.office_samples import (
    epub,
    odt,
    paragraph,
    pptx,
    shape,
    slide,
    zipped,
)
from rag_platform_tests.documents.parsing.samples import docx_of, pdf, word_body, word_paragraph

DOCX = docx_of(word_body(word_paragraph("text")))
PDF = pdf("text")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ODS = zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "<a/>"})
HTML = b"<!-- a comment -->\n<!DOCTYPE HTML><title>t</title><p>text"


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "media_type", "kind"),
    [
        (b"# text", "a/b.md", "", Kind.MARKDOWN),
        (b"# text", "a.v2.MARKDOWN", "text/plain", Kind.MARKDOWN),
        (b"# text", "a.txt", "text/markdown", Kind.TEXT),
        (b"# text", "a", "text/markdown; charset=utf-8", Kind.MARKDOWN),
        (b"# text", "a.unknown", "text/plain", Kind.TEXT),
        (b"<p>fragment", "a.html", "", Kind.HTML),
        (HTML, "a.html", "", Kind.HTML),
        (HTML, "a.txt", "", Kind.HTML),
        (HTML, "a.pdf", "application/pdf", Kind.HTML),
        (HTML, "noextension", "", Kind.HTML),
        (b"<html> in Markdown", "a.md", "", Kind.MARKDOWN),
        (PDF, "a.pdf", "", Kind.PDF),
        (PDF, "a.txt", "", Kind.PDF),
        (b"\x01junk" * 100 + PDF, "a.pdf", "", Kind.PDF),
        (b"The header of a PDF is %PDF-1.7", "a.md", "", Kind.MARKDOWN),
        (DOCX, "a.docx", "", Kind.DOCX),
        (DOCX, "a.txt", "", Kind.DOCX),
        (DOCX, "", "", Kind.DOCX),
        ("# text".encode("utf-16"), "a.md", "", Kind.MARKDOWN),
        ("# text".encode("utf-32"), "a.md", "", Kind.MARKDOWN),
        (b"", "a.md", "", Kind.MARKDOWN),
        (b"GNU GENERAL PUBLIC LICENSE", "docs/COPYING", "", Kind.TEXT),
        ("some text to read".encode("utf-16"), "README", "", Kind.TEXT),
        (zip_of("ppt/presentation.xml", "[Content_Types].xml"), "a", "", Kind.PPTX),
        (zip_of("xl/workbook.xml", "[Content_Types].xml"), "a.zip", "", Kind.XLSX),
        (zip_of("a.txt"), "a.xlsx", "", Kind.XLSX),
        (b"PK\x03\x04 cut off", "a.epub", "", Kind.EPUB),
        (odt(""), "a.zip", "", Kind.ODT),
        (epub({}), "a", "", Kind.EPUB),
        (b"{\\rtf1 text}", "a.doc", "", Kind.RTF),
        (b"Subject: x\n\n<html>", "a.eml", "", Kind.EML),
        (b"Subject: x\n\ntext", "noextension", "message/rfc822", Kind.EML),
        (b"\x89PNG\r\n\x1a\n", "a.md", "", Kind.PNG),
        (b"\xff\xd8\xff\xe0", "a", "", Kind.JPEG),
        (b"MM\x00*", "a.tif", "", Kind.TIFF),
        (b"a,b\n1,2\n", "a.csv", "", Kind.TEXT),
    ],
)
def test_content_decides_and_hints_help(
    data: bytes, name: str, media_type: str, kind: Kind
) -> None:
    assert detect(data, Hints(name, media_type)) == kind


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (zip_of("ppt/presentation.xml"), "a.txt", Reason.UNSUPPORTED),
        (zip_of("xl/workbook.bin", "[Content_Types].xml"), "a.xlsb", Reason.UNSUPPORTED),
        (zip_of("a.txt"), "a.zip", Reason.UNSUPPORTED),
        (ODS, "a.ods", Reason.UNSUPPORTED),
        (OLE, "a.doc", Reason.UNSUPPORTED),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.xlsx", Reason.ENCRYPTED),
        (b"GIF89a", "a.png", Reason.UNSUPPORTED),
        (b"words", "a.png", Reason.CORRUPT),
        (b"wombat", "a", Reason.UNSUPPORTED),
        (b"text in words", "a.rtf", Reason.CORRUPT),
        (bytes(range(1, 32)) * 9, "a.txt", Reason.UNSUPPORTED),
        (b"text", "a.json", Reason.UNSUPPORTED),
        (b"text" + b"\x00" * 9, "a", Reason.UNSUPPORTED),
        (b"only text", "a.pdf", Reason.CORRUPT),
        (b"only text", "a.docx", Reason.CORRUPT),
        (b"", "a.pdf", Reason.CORRUPT),
    ],
)
def test_refused(data: bytes, name: str, reason: Reason) -> None:
    with pytest.raises(ParseRefused) as refused:
        detect(data, Hints(name))
    assert refused.value.failure.reason == reason
    assert "\n" not in refused.value.failure.detail


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"text", Kind.MARKDOWN),
        (b"text", Kind.TEXT),
        (HTML, Kind.HTML),
        (PDF, Kind.PDF),
        (DOCX, Kind.DOCX),
        (pptx([slide(shape(paragraph("text")))]), Kind.PPTX),
        (odt("<text:p>text</text:p>"), Kind.ODT),
        (epub({"a.xhtml": "<html><body>text</body></html>"}), Kind.EPUB),
        (b"{\\rtf1 text}", Kind.RTF),
    ],
)
def test_every_kind_is_parsed_and_named(data: bytes, kind: Kind) -> None:
    parsed = parse(data, kind, ParseLimits())
    assert isinstance(parsed, Parsed)
    assert parsed.text.strip() == "text"
    assert parsed.media_type == kind.value
    assert parsed == parse(data, kind, ParseLimits())
    too_large = parse(data, kind, ParseLimits(max_bytes=3))
    assert isinstance(too_large, ParseFailure)
    assert too_large.reason == Reason.TOO_LARGE


def test_fingerprints_differ_and_name_version_and_library() -> None:
    assert len({fingerprint(kind) for kind in Kind}) == len(Kind)
    assert f"pypdfium2={version('pypdfium2')}" in fingerprint(Kind.PDF)
    assert all(f"parse/{PARSER_VERSION} " in fingerprint(kind) for kind in Kind)


@given(
    st.sampled_from([b"", b"PK\x03\x04", b"{\\rtf1", b"Subject: x\n"]),
    st.binary(max_size=400),
    st.sampled_from(["a.md", "a.html", "a.txt", "a.docx", "a.pdf", "a", "a.xlsx", "a.eml"]),
)
def test_any_bytes_are_parsed_or_refused(start: bytes, rest: bytes, name: str) -> None:
    data = start + rest
    try:
        kind = detect(data, Hints(name))
    except ParseRefused:
        return
    assert isinstance(parse(data, kind, ParseLimits()), Parsed | ParseFailure)
