"""From a parsed document to clean text: pure functions of the text alone."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

# Bumped whenever the same parsed text would come out different.
CLEANING_VERSION = "3"

# Format characters that show nothing: zero-width, soft hyphen, bidi controls, tags block.
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_BLANK_LINES = re.compile(r"\n{3,}")
_NUMBER = re.compile(r"\d{1,6}")

_PUNCTUATION = frozenset(".,;:!?'\"()-\N{EN DASH}\N{EM DASH}/%&#*`_")
_MIN_PAGES_FOR_BOILERPLATE = 4
_EDGE_LINES = 3
_MAX_RUNNING_LINE = 300  # characters
_MAX_GARBLED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class CleanText:
    """Clean text; `page_starts` are character offsets into it, `hidden` counts what was removed.

    `quality` is the share of visible characters that are letters, digits, or common punctuation.
    """

    text: str
    page_starts: tuple[int, ...]
    hidden: int
    quality: float


class Unusable(Exception):
    """The text must not be indexed; the message says why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def clean(text: str, page_starts: tuple[int, ...] = (), *, printed: bool = True) -> CleanText:
    """Remove what is not text: control and invisible characters, trailing space, running heads.

    Only `printed` pages have those: sheets, slides and chapters may begin alike. Raises `Unusable`
    with the reason `garbled` when the text is mostly replacement characters.
    """
    pages = _split(text, page_starts)
    if printed and len(pages) >= _MIN_PAGES_FOR_BOILERPLATE:
        pages = _without_running_lines(pages)
    hidden = 0
    if not text.isascii():
        shown = [_INVISIBLE.subn("", page) for page in pages]
        pages, hidden = [page for page, _ in shown], sum(found for _, found in shown)
    cleaned = [_clean_part(page) for page in pages]
    joined, starts = _join(cleaned) if page_starts else (cleaned[0], ())
    _refuse_garbled(joined)
    return CleanText(joined, starts, hidden, quality(joined))


def _split(text: str, page_starts: tuple[int, ...]) -> list[str]:
    if not page_starts:
        return [text]
    ends = (*page_starts[1:], len(text))
    return [text[start:end] for start, end in zip(page_starts, ends, strict=True)]


def _join(pages: list[str]) -> tuple[str, tuple[int, ...]]:
    starts, offset, parts = [], 0, []
    for number, page in enumerate(pages):
        starts.append(offset)
        part = page + ("\n\n" if page and number < len(pages) - 1 else "")
        parts.append(part)
        offset += len(part)
    joined = "".join(parts).rstrip()
    return joined, tuple(min(start, len(joined)) for start in starts)


def _clean_part(text: str) -> str:
    text = _CONTROL.sub("", text.replace("\f", "\n"))
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).strip("\n").rstrip()


def _without_running_lines(pages: list[str]) -> list[str]:
    """Remove lines that stand at the edge of more than half of the pages (page numbers aside)."""
    seen: Counter[str] = Counter()
    for number, page in enumerate(pages):
        lines = [line for line in page.splitlines() if line.strip()]
        edges = lines[:_EDGE_LINES] + lines[-_EDGE_LINES:]
        seen.update({name for line in edges for name in _running_names(line, number)})
    running = {name for name, count in seen.items() if count > len(pages) / 2}
    if not running:
        return pages
    return [_strip_edges(page, number, running) for number, page in enumerate(pages)]


def _running_names(line: str, page: int) -> Iterator[str]:
    """What a line is the same as on other pages: itself, or itself with one of its numbers
    counted from the page's. Other numbers that differ, as in tables, are no page numbers."""
    line = line.strip()
    yield line
    if len(line) <= _MAX_RUNNING_LINE:
        for found in _NUMBER.finditer(line):
            counted = int(found[0]) - page
            yield f"{line[: found.start()]}\x00{counted}\x00{line[found.end() :]}"


def _strip_edges(page: str, page_number: int, running: set[str]) -> str:
    lines = page.splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip()]
    edges = set(filled[:_EDGE_LINES] + filled[-_EDGE_LINES:])
    return "\n".join(
        line
        for number, line in enumerate(lines)
        if number not in edges or running.isdisjoint(_running_names(line, page_number))
    )


def _refuse_garbled(text: str) -> None:
    broken = text.count("\ufffd")
    if broken > len(text) * _MAX_GARBLED_SHARE:
        raise Unusable(
            "garbled",
            f"{broken:,} of {len(text):,} characters cannot be decoded; "
            "save the document in UTF-8 or repair it",
        )


def quality(text: str) -> float:
    """Share (0 to 1) of the visible characters that belong to words, numbers or sentences.

    Read off some 4,000 to 8,000 characters, evenly spread.
    """
    sample = text[:: max(1, len(text) // 4_000)]
    # Few kinds of characters are not good: to count those is faster than to count every kind.
    others = {each: sample.count(each) for each in set(sample) if not _is_good(each)}
    visible = len(sample) - sum(count for each, count in others.items() if each.isspace())
    good = len(sample) - sum(others.values())
    return good / visible if visible else 0.0


@cache
def _is_good(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" or character in _PUNCTUATION


def title_of(title: str, text: str, key: str) -> str:
    """The document's title: its own, else its first heading, else its file name. One line."""
    if not title:
        heading = re.search(r"^#{1,6}[ \t]+(\S.*)$", text[:20_000], re.MULTILINE)
        title = heading.group(1) if heading else PurePosixPath(key).name
    return shown(title)[:300]


def shown(text: str) -> str:
    """What people see of a text, on one line."""
    return " ".join(_CONTROL.sub("", _INVISIBLE.sub("", text)).split())
