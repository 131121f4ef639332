"""RTF: text in code pages and Unicode, structure, and what no reader sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.result import Parsed, ParseRefused, Reason
from rag_platform.documents.parsing.rtf import parse_rtf


def rtf(body: str, head: str = "\\ansi\\ansicpg1252") -> bytes:
    return f"{{\\rtf1{head}{body}}}".encode("latin-1")


def text_of(body: str, head: str = "\\ansi\\ansicpg1252") -> str:
    return parse_rtf(rtf(body, head)).text


def test_structure() -> None:
    body = (
        "{\\stylesheet{\\s0 Normal;}{\\s7 heading 2;}{\\*\\cs9 Char;}}"
        "{\\info{\\title Caf\\'e9}{\\author A. Writer}{\\creatim\\yr2026}{\\*\\company No}}"
        "{\\header Page header\\par}"
        "\\pard\\s7 Fees\\par\\pard\\outlinelevel0 Terms\\par"
        "\\pard{\\listtext\\f0 1.\\tab}first\\par\\pard\\ilvl1{\\pntext\\'b7\\tab}second\\par"
        "\\pard A {\\b bold} word{\\footnote A note\\par more}.\\line Next line\\~x\\par"
        '{\\field{\\*\\fldinst HYPERLINK "http://example.com"}{\\fldrslt a link}}\\par'
    )
    parsed = parse_rtf(rtf(body))
    assert parsed.text == (
        "## Fees\n\n# Terms\n\n1. first\n  - second\n\nA bold word[^1].\nNext line x\n\na link\n\n"
        "[^1]: A note more"
    )
    assert parsed.title == "Caf\xe9"
    assert parsed.metadata == {"author": "A. Writer"}


def test_tables() -> None:
    body = "\\trowd\\cellx1\\cellx2\\pard\\intbl Kind\\cell Price\\cell\\row"
    body += "\\trowd\\pard\\intbl a|b\\par c\\cell 1\\cell\\row\\pard After\\par"
    assert text_of(body) == "| Kind | Price |\n| --- | --- |\n| a\\|b c | 1 |\n\nAfter"


def test_code_pages_by_font() -> None:
    fonts = (
        "{\\fonttbl{\\f0\\fcharset0 Arial;}{\\f1\\fcharset204 Arial Cyr;}{\\f2\\fcharset128 MS;}}"
    )
    cyrillic = "".join(f"\\'{byte:02x}" for byte in "Привет".encode("cp1251"))
    japanese = "".join(f"\\'{byte:02x}" for byte in "銀行".encode("cp932"))
    body = f"{fonts}\\f0 \\'e9 {{\\f1 {cyrillic}}} {{\\f2 {japanese}}} \\'e8\\par"
    assert text_of(body) == "é Привет 銀行 è"
    assert text_of("\\'e9", head="\\ansi\\ansicpg1251") == "й"
    assert text_of("\\'e9", head="\\mac") == "È"


def test_unicode_and_what_stands_in_for_it() -> None:
    assert text_of("\\u8364?\\u233\\'e9 \\uc2\\u8364ab\\uc0\\u8364 c") == "€é €€c"
    assert text_of("\\u-10179?\\u-8704?") == "\U0001f600"
    assert text_of("a\\emdash b\\ldblquote c\\rdblquote\\{\\}\\\\") == "a\u2014b\u201cc\u201d{}\\"


def test_hidden_and_deleted_text_pictures_and_unknown_groups() -> None:
    body = "a{\\v hidden}b{\\deleted gone}c{\\pict\\pngblip 89504e47}{\\*\\unknown x}"
    body += "{\\object{\\*\\objdata 00}}"
    parsed = parse_rtf(rtf(body + "\\bin3 {{{d\\v no\\plain e"))
    assert parsed.text == "abcde"
    assert parsed.metadata == {"hidden_characters": "8"}


def test_refused() -> None:
    for data in (b"text", b"{\\rtf1" + b"{" * 2_000):
        with pytest.raises(ParseRefused) as refused:
            parse_rtf(data)
        assert refused.value.failure.reason == Reason.CORRUPT


@given(
    st.lists(
        st.sampled_from(
            [
                "{",
                "}",
                "\\par",
                "\\cell",
                "\\row",
                "\\trowd",
                "\\v",
                "\\u55296?",
                "\\'9",
                "\\'ff",
                "text ",
                "{\\footnote ",
                "{\\*",
                "\\bin9",
                "\\intbl",
                "\\",
                "\\f3",
                "\\ansicpg0",
                "{\\fonttbl",
                "\\~",
            ]
        ),
        max_size=60,
    )
)
def test_any_tokens_give_text(tokens: list[str]) -> None:
    parsed = parse_rtf(rtf("".join(tokens)))
    assert isinstance(parsed, Parsed)
    parsed.text.encode()


def test_words_survive_in_order() -> None:
    words = [f"word{number}" for number in range(500)]
    assert text_of("\\par\n".join(words)).split() == words
