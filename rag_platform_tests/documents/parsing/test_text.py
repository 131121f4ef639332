"""Text in any encoding, cleaned."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.result import ParseRefused, Reason
from rag_platform.documents.parsing.text import decode, normalise, parse_text

GERMAN = "Der Kunde „Müller“ möchte für 50 € ein Konto eröffnen; die Gebühren fallen jährlich an."
FRENCH = "Le café est fermé à Noël; les élèves sont déjà rentrés."
JAPANESE = "これは日本語の文章です。銀行口座の開設手続きについて説明します。"
RUSSIAN = "Договор банковского счета заключается в письменной форме между банком и клиентом."
CZECH = "Smlouva o účtu je uzavřena písemně; příliš žluťoučký kůň úpěl ďábelské ódy."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "cp1252"),
        (FRENCH, "latin-1"),
        (CZECH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift-jis"),
        (JAPANESE, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (FRENCH, "utf-32"),
        (FRENCH, "utf-32-be"),
    ],
)
def test_decodes(text: str, encoding: str) -> None:
    assert parse_text(text.encode(encoding)).text == text


def test_short_western_text_is_not_taken_for_eastern() -> None:
    assert decode("Müller".encode("latin-1")) == "Müller"
    assert decode("naïve café\n".encode("cp1252")) == "naïve café\n"


def test_stray_latin_1_byte_does_not_spoil_a_utf_8_text() -> None:
    assert decode(("für Müller, " * 200).encode() + b"\xe9") == "für Müller, " * 200 + "\ufffd"


def test_mojibake_is_undone_and_correct_text_is_not_touched() -> None:
    assert decode("Ã¼ber den CafÃ© â€” nÃ¤mlich".encode()) == "über den Café — nämlich"
    assert decode("Ã is a letter; so is â".encode()) == "Ã is a letter; so is â"


def test_html_charset_declaration_wins_over_detection() -> None:
    page = "<meta charset=iso-8859-7><p>σύμβαση λογαριασμού</p>".encode("iso-8859-7")
    assert "σύμβαση λογαριασμού" in decode(page, html=True)


def test_binary_is_unsupported() -> None:
    with pytest.raises(ParseRefused) as refused:
        decode(bytes(range(256)) * 4)
    assert refused.value.failure.reason == Reason.UNSUPPORTED


def test_normalise() -> None:
    dirty = "a\r\nb\rc\x00\x07\tcafe\u0301\ufeff\ud800\x0cd"
    assert normalise(dirty) == "a\nb\nc\tcafé\nd"


@given(st.text())
def test_normal_text_is_nfc_without_controls_and_stays_so(text: str) -> None:
    normal = normalise(text)
    assert unicodedata.is_normalized("NFC", normal)
    assert not {"\x00", "\r", "\x0c", "\ufeff"} & set(normal)
    assert normalise(normal) == normal
    normal.encode("utf-8")


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    try:
        text = parse_text(data).text
    except ParseRefused:
        return
    assert text == parse_text(data).text
    text.encode("utf-8")
