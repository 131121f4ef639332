"""Bytes in any encoding to clean Unicode."""

import re
import unicodedata
from typing import Final

from rag_platform.documents.parsing.result import Kind, Parsed, ParseRefused, Reason

BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
DETECTION_SAMPLE: Final = 64 * 1024
MAX_CONTROL_SHARE: Final = 0.02
META_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
# UTF-8 read as a one-byte code page leaves a lead byte followed by a continuation byte.
HIGH_CP1252: Final = bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")
MOJIBAKE: Final = re.compile(f"[ÂÃâïðÐÑ][\x80-\xbf{HIGH_CP1252}]")
CONTROLS: Final = bytes([*range(9), 11, *range(14, 32), 127])
UNWANTED: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")
# One-byte Western pages come before their rarer look-alikes; detectors confuse short texts.
CANDIDATES: Final = (
    "utf_8 cp1252 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 iso8859_2 iso8859_5"
    " iso8859_7 iso8859_8 iso8859_15 koi8_r koi8_u cp932 euc_jp iso2022_jp gb18030 big5"
    " cp949 euc_kr"
)


def words(listed: str) -> frozenset[str]:
    """A set of words written as one string."""
    return frozenset(listed.split())


def parse_text(data: bytes) -> Parsed:
    """Plain text in any encoding."""
    return Parsed(text=normalise(decode(data)), title="", media_type=Kind.TEXT)


def decode(data: bytes, *, html: bool = False, charset: str = "") -> str:
    """Bytes as text: BOM, then UTF-8, then the declared charset (by HTML, or `charset` from
    elsewhere), then detection.

    Raises `ParseRefused(unsupported)` where the bytes are not text in any encoding.
    """
    for bom, encoding in BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    if wide := _wide_encoding(data):
        return data.decode(wide, "replace")
    if looks_binary(data):
        raise ParseRefused(Reason.UNSUPPORTED, "binary content, not text in a known encoding")
    try:
        return repair(data.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    found = META_CHARSET.search(data[:4096]) if html and not charset else None
    declared = found[1].decode("ascii", "replace") if found else charset
    if declared:
        try:
            return data.decode(declared, "replace")
        except (LookupError, UnicodeError):  # `idna` raises no UnicodeDecodeError
            pass
    return repair(data.decode(detect_encoding(data), "replace"))


def detect_encoding(data: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8; cp1252 where nothing is likely."""
    from charset_normalizer import from_bytes

    sample = data[:DETECTION_SAMPLE]
    if _mostly_utf8(sample):
        return "utf-8"
    matches = from_bytes(sample, cp_isolation=CANDIDATES.split())
    best = matches.best()
    if best is None:
        return "cp1252"
    for match in matches:  # Western and central European pages tie on short texts
        similar = match.coherence >= best.coherence - 0.05 and match.chaos <= best.chaos + 0.1
        if similar and "cp1252" in (match.encoding, *match.could_be_from_charset):
            return "cp1252"
    return best.encoding


def _mostly_utf8(data: bytes) -> bool:
    """A few stray bytes in UTF-8 text: four of five non-ASCII sequences decode."""
    characters = data.decode("utf-8", "replace")
    bad = characters.count("\ufffd")
    good = sum(not character.isascii() for character in characters) - bad
    return good > 4 * bad


def _wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a BOM, seen by where the NUL bytes of its ASCII part fall."""
    sample = data[:4096]
    if len(sample) < 4 or sample.count(0) < len(sample) // 5:
        return None
    quarter = max(1, len(sample) // 4)
    nulls = [sample[offset::4].count(0) / quarter for offset in range(4)]
    if min(nulls[1:]) > 0.7 and nulls[0] < 0.3:
        return "utf-32-le"
    if min(nulls[:3]) > 0.7 and nulls[3] < 0.3:
        return "utf-32-be"
    if min(nulls[1], nulls[3]) > 0.4 and max(nulls[0], nulls[2]) < 0.1:
        return "utf-16-le"
    if min(nulls[0], nulls[2]) > 0.4 and max(nulls[1], nulls[3]) < 0.1:
        return "utf-16-be"
    return None


def looks_binary(data: bytes) -> bool:
    """Whether more than 2 % of the first 64 KiB are control characters (escape is not one)."""
    sample = data[:DETECTION_SAMPLE]
    if not sample:
        return False
    controls = len(sample) - len(
        sample.translate(None, bytes([*range(9), 11, *range(14, 27), 127]))
    )
    return controls > max(4, MAX_CONTROL_SHARE * len(sample))


def repair(text: str) -> str:
    """Text with mojibake undone, where it shows any."""
    if text.isascii() or not MOJIBAKE.search(text):
        return text
    import ftfy

    return ftfy.fix_encoding(text)


def normalise(text: str) -> str:
    """NFC, `\\n` line ends, no control characters but tab and form feed as a line end."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\f" in text:
        text = text.replace("\f", "\n")
    if _may_have_unwanted(text):
        text = UNWANTED.sub("", text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _may_have_unwanted(text: str) -> bool:
    """A test at the speed of memory; the regular expression is a hundred times slower."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw.translate(None, CONTROLS)) != len(raw):
        return True
    return any(sign in raw for sign in (b"\xef\xbb\xbf", b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xed"))
