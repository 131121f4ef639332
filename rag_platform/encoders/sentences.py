"""Sentences of the prose in a Markdown text; headings, code, tables and markup are no prose."""

import re
import unicodedata
from collections.abc import Iterator

_ABBREVIATED = (
    "mr mrs ms dr prof sr jr st gen col capt lt sgt maj rev hon sen rep gov inc corp ltd co llc "
    "plc no nos vs etc e.g i.e cf al approx dept est fig figs eq sec ch vol pp ed eds jan feb mar "
    "apr jun jul aug sep sept oct nov dec u.s u.k u.n a.m p.m d.c ca art bzw z.b usw sra dra núm "
    "pág"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_LONGEST_ABBREVIATION = 12  # with what may stand before it

_FENCE = re.compile(r"^\s{0,3}(```|~~~)")
_NOT_PROSE = re.compile(r"\s{0,3}(?:#{1,6}\s|\||<|\{\{|\[[^\]]*\]:|!\[|[-=*_~+]{3,}\s*$)")
_CODE = re.compile(r" {4}|\t")
_ITEM = re.compile(r"\s{0,12}(?:[-*+•]|\d{1,3}[.)]|>)\s+")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'\u201d\u2019»)\]*_]*(?= |$)"
    r"|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\uff09]*"  # Chinese and Japanese
)


class _Shown(dict[int, str]):
    """How each character shows: format characters and unpaired surrogates do not."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        hidden = category in ("Cf", "Cs")
        self[code] = "" if hidden else " " if category == "Cc" else chr(code)
        return self[code]


_SHOWN = _Shown()


def one_line(text: str) -> str:
    """`text` with single spaces and without control, format and unpaired surrogate characters."""
    return " ".join(text.translate(_SHOWN).split())


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs and list items of the prose, each on one line."""
    lines: list[str] = []
    fence = ""
    for line in _COMMENT.sub("\n\n", text).split("\n"):
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        item = None if fence or mark else _ITEM.match(line)
        # As Markdown has it: indented lines are code unless they continue a paragraph.
        code = fence or mark or (not lines and _CODE.match(line))
        prose = not code and bool(item or not _NOT_PROSE.match(line))
        if item or not prose or not line.strip():
            yield from _joined(lines)
            lines = []
        if prose and line.strip():
            lines.append(line[item.end() :] if item else line)
    yield from _joined(lines)


def sentences(text: str) -> list[str]:
    """The sentences of the prose, in order, each on one line and otherwise as written."""
    cased = _is_cased(text)
    return [
        sentence for paragraph in paragraphs(text) for sentence in split(paragraph, cased=cased)
    ]


def split(paragraph: str, *, cased: bool = True) -> Iterator[str]:
    """The sentences of one line of prose. In a `cased` text none begins with a small letter."""
    begin = 0
    for mark in _END.finditer(paragraph):
        after = paragraph[mark.end() : mark.end() + 2].lstrip(" \"'\u201c\u2018«(")
        if cased and after[:1].islower():
            continue
        if mark[0].startswith(".") and _is_abbreviated(paragraph, mark.start()):
            continue
        if sentence := paragraph[begin : mark.end()].strip():
            yield sentence
        begin = mark.end()
    if rest := paragraph[begin:].strip():
        yield rest


def _joined(lines: list[str]) -> Iterator[str]:
    if paragraph := one_line("\n".join(lines)):
        yield paragraph


def _is_abbreviated(text: str, dot: int) -> bool:
    """Whether the dot ends an initial or an abbreviation, as in "J. Smith" and "Mr. Smith"."""
    begin = text.rfind(" ", max(0, dot - _LONGEST_ABBREVIATION), dot) + 1
    if not begin and dot > _LONGEST_ABBREVIATION:
        return False
    word = text[begin:dot].lstrip("(\"'\u201c\u2018[").lower()
    return bool(_INITIALS.fullmatch(word)) or word in _ABBREVIATIONS


def _is_cased(text: str) -> bool:
    """Whether the text tells capital from small letters at all."""
    sample = text[:4_000]
    return sum(map(str.isupper, sample)) * 100 > len(sample)
