"""RTF to Markdown: headings, paragraphs, lists, tables and notes (RTF specification 1.9.1).

One pass over tokens with a stack of group states; nothing is recursive. Text stands in the code
page of its font, so each run of bytes is decoded with the page that was valid for it.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from rag_platform.documents.parsing.blocks import Block, document, join_blocks, markdown_table
from rag_platform.documents.parsing.result import Kind, Parsed, ParseRefused, Reason
from rag_platform.documents.parsing.text import normalise, words

TOKEN: Final = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,9})? ?|\\'(?P<byte>[0-9a-fA-F]{2})"
    rb"|\\(?P<sign>[^a-zA-Z])|(?P<brace>[{}])|(?P<text>[^\\{}\r\n]+)|[\r\n]+|\\",
    re.DOTALL,
)
MAX_DEPTH: Final = 1_000
DEFAULT_PAGE: Final = "cp1252"
# Code pages by \fcharset; 0 and 1 mean the document's own.
CHARSETS: Final = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "cp950",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257",
    204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
CHARACTERS: Final = {
    "tab": " ", "emspace": " ", "enspace": " ", "qmspace": " ", "line": "\n", "lbr": "\n",
    "emdash": "\u2014", "endash": "\u2013", "bullet": "\u2022", "lquote": "\u2018",
    "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d",
}  # fmt: skip
SIGNS: Final = {"~": "\xa0", "_": "-", "{": "{", "}": "}", "\\": "\\"}
# Groups whose text is no part of the document, or stands there twice.
SKIPPED: Final = words(
    "annotation atnauthor atnid atnref bkmkend bkmkstart colortbl colorschememapping comment"
    " datafield datastore docvar falt fchars filetbl fldinst fontemb footer footerf footerl"
    " footerr formfield generator header headerf headerl headerr lchars listoverridetable"
    " listtable mmathPr nonshppict objdata objclass operator panose passwordhash pgptbl pict"
    " private revtbl rsidtbl rxe shprslt sp tc template themedata txe upr userprops xe"
    " xmlnstbl"
)
# Groups marked as ignorable whose text is part of the document all the same.
KEPT: Final = words("shpinst shptxt")
INFO: Final = {
    "title": "title", "author": "author", "subject": "description", "keywords": "keywords",
}  # fmt: skip
# Groups whose text goes elsewhere.
PLACES: Final = {
    "fonttbl": "fonttbl", "stylesheet": "stylesheet", "info": "info", "footnote": "footnote",
    "listtext": "marker", "pntext": "marker",
}  # fmt: skip
ENDS: Final = words("par sect page column softpage")


@dataclass(frozen=True)
class State:
    """What a group inherits from the one around it."""

    page: str = DEFAULT_PAGE
    unicode_skip: int = 1
    hidden: bool = False
    deleted: bool = False
    skipped: bool = False
    place: str = ""  # `fonttbl`, `stylesheet`, `marker`, `footnote`, or an entry of the info


@dataclass
class Paragraph:
    """What is said of the paragraph that is being read."""

    style: int = 0
    outline: int | None = None
    marker: str = ""
    depth: int = 0
    in_table: bool = False


@dataclass
class Reader:
    """The document as far as it is read."""

    blocks: list[Block] = field(default_factory=list)
    state: State = field(default_factory=State)
    stack: list[State] = field(default_factory=list)
    paragraph: Paragraph = field(default_factory=Paragraph)
    pieces: list[str] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    page: str = DEFAULT_PAGE
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    default_font: int = 0
    levels: dict[int, int] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    note_at: int = 0
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    in_row: bool = False
    ignorable: bool = False
    to_skip: int = 0
    hidden: int = 0


def parse_rtf(data: bytes) -> Parsed:
    """The text as Markdown, notes at the end; hidden and deleted text is left out.

    Refuses: `corrupt` (no RTF, or groups nested more than 1,000 deep).
    """
    if not data.startswith(b"{\\rtf"):
        raise ParseRefused(Reason.CORRUPT, "the content is no RTF")
    reader = Reader()
    position = 0
    while position < len(data):
        token = TOKEN.match(data, position)
        if token is None:
            raise ParseRefused(Reason.CORRUPT, f"not readable as RTF at byte {position:,}")
        position = token.end() + _take(reader, token)
    _end_paragraph(reader)
    _end_row(reader)
    _end_table(reader)
    notes = [Block(f"[^{number}]: {note}") for number, note in enumerate(reader.notes, 1)]
    text = normalise(join_blocks([*reader.blocks, *notes])).strip()
    metadata = {name: normalise(said).strip() for name, said in reader.info.items()}
    return document(Kind.RTF, text, metadata, hidden=reader.hidden)


def _take(reader: Reader, token: re.Match[bytes]) -> int:
    """Apply one token; how many bytes after it are binary data."""
    kind = token.lastgroup
    if kind == "text":
        _bytes(reader, token["text"])
    elif kind == "byte":
        _bytes(reader, bytes([int(token["byte"], 16)]))
    elif kind == "brace":
        _open(reader) if token["brace"] == b"{" else _close(reader)
    elif kind == "sign":
        sign = token["sign"].decode("latin-1")
        if sign == "*":
            reader.ignorable = True
        elif sign in "\r\n":
            _flush(reader)
            _end_paragraph(reader)
        else:
            _characters(reader, SIGNS.get(sign, ""))
    elif token["word"]:
        word, number = token["word"].decode("ascii"), token["number"]
        if word == "bin":
            return max(0, int(number or 0))
        _control(reader, word, None if number is None else int(number))
    return 0


def _open(reader: Reader) -> None:
    _flush(reader)
    if len(reader.stack) == MAX_DEPTH:
        raise ParseRefused(Reason.CORRUPT, f"RTF groups nested more than {MAX_DEPTH:,} deep")
    reader.stack.append(reader.state)
    reader.ignorable = False
    reader.to_skip = 0


def _close(reader: Reader) -> None:
    _flush(reader)
    ended = reader.state
    if reader.stack:
        reader.state = reader.stack.pop()
    if ended.place == "footnote" and reader.state.place != "footnote":
        reader.notes.append(" ".join("".join(reader.pieces[reader.note_at :]).split()))
        del reader.pieces[reader.note_at :]
        reader.pieces.append(f"[^{len(reader.notes)}]")
    elif ended.place == "stylesheet" and reader.state.place != "stylesheet":
        reader.paragraph = Paragraph()
    reader.ignorable = False
    reader.to_skip = 0


def _control(reader: Reader, word: str, number: int | None) -> None:
    ignorable, reader.ignorable = reader.ignorable, False
    if word != "u":
        _flush(reader)
    if word in SKIPPED or (ignorable and word not in KEPT):
        reader.state = replace(reader.state, skipped=True)
    elif word in PLACES or word in INFO:
        if not reader.state.skipped:
            _enter(reader, PLACES.get(word, INFO.get(word, "")))
    elif word in ENDS:
        _end_paragraph(reader)
    elif word in CHARACTERS:
        _characters(reader, CHARACTERS[word])
    elif (handle := HANDLERS.get(word)) is not None:
        handle(reader, number)


def _enter(reader: Reader, place: str) -> None:
    if place in INFO.values() and reader.state.place != "info":
        return
    if place == "footnote" and reader.state.place != "footnote":
        reader.note_at = len(reader.pieces)
    if place == "marker":
        reader.paragraph.marker = reader.paragraph.marker or "- "
    reader.state = replace(reader.state, place=place)


def _bytes(reader: Reader, content: bytes) -> None:
    if reader.to_skip:
        skipped = min(reader.to_skip, len(content))
        reader.to_skip -= skipped
        content = content[skipped:]
    if not reader.state.skipped:
        reader.raw += content


def _flush(reader: Reader) -> None:
    if reader.raw:
        text = reader.raw.decode(reader.state.page, "replace")
        reader.raw.clear()
        _characters(reader, text)


def _characters(reader: Reader, text: str) -> None:
    """Text into the place that the group is for."""
    if reader.raw:
        _flush(reader)
    state = reader.state
    if state.skipped or state.deleted:
        return
    if state.hidden:
        reader.hidden += len(text)
    elif state.place in ("", "footnote"):
        reader.pieces.append(text)
    elif state.place == "marker":
        if any(character.isalnum() for character in text):
            reader.paragraph.marker = "1. "
    elif state.place == "stylesheet":
        found = re.search(r"(?i)\b(?:heading|überschrift|titre) ([1-9])", text)
        if found:
            reader.levels.setdefault(reader.paragraph.style, int(found[1]))
    elif state.place in INFO.values():
        reader.info[state.place] = (reader.info.get(state.place, "") + text)[:2_000]


def _unicode(reader: Reader, number: int | None) -> None:
    """A UTF-16 code unit; `\\ucN` bytes after it are for readers that know no Unicode."""
    code = (number or 0) % 65_536
    text = chr(code)
    if 0xDC00 <= code < 0xE000 and reader.pieces and "\ud800" <= reader.pieces[-1][-1:] < "\udc00":
        text = (reader.pieces.pop() + text).encode("utf-16", "surrogatepass").decode("utf-16")
    _characters(reader, text)
    reader.to_skip = reader.state.unicode_skip


def _font(reader: Reader, number: int | None) -> None:
    reader.font = number or 0
    if reader.state.place != "fonttbl":
        reader.state = replace(reader.state, page=reader.fonts.get(reader.font, reader.page))


def _default_font(reader: Reader, number: int | None) -> None:
    reader.default_font = number or 0


def _charset(reader: Reader, number: int | None) -> None:
    if reader.state.place == "fonttbl":
        reader.fonts[reader.font] = CHARSETS.get(number or 0, reader.page)


def _code_page(reader: Reader, number: int | None) -> None:
    name = "mac_roman" if number == 10_000 else f"cp{number}"
    try:
        reader.page = codecs.lookup(name).name
    except LookupError:
        reader.page = DEFAULT_PAGE
    reader.state = replace(reader.state, page=reader.page)


def _plain(reader: Reader, _number: int | None) -> None:
    page = reader.fonts.get(reader.default_font, reader.page)
    reader.state = replace(reader.state, hidden=False, deleted=False, page=page)


def _new_paragraph(reader: Reader, _number: int | None) -> None:
    reader.paragraph = Paragraph(marker=reader.paragraph.marker)


def _style(reader: Reader, number: int | None) -> None:
    reader.paragraph.style = number or 0


def _outline(reader: Reader, number: int | None) -> None:
    if reader.state.place == "stylesheet":
        if number is not None and 0 <= number < 9:
            reader.levels[reader.paragraph.style] = number + 1
    else:
        reader.paragraph.outline = number


def _depth(reader: Reader, number: int | None) -> None:
    reader.paragraph.depth = min(max(number or 0, 0), 8)


def _in_table(reader: Reader, number: int | None) -> None:
    reader.paragraph.in_table = number != 0


def _row_starts(reader: Reader, _number: int | None) -> None:
    reader.in_row = True


def _end_cell(reader: Reader, _number: int | None = None) -> None:
    if reader.state.skipped:
        return
    reader.cells.append(" ".join("".join(reader.pieces).split()))
    reader.pieces.clear()
    reader.paragraph.marker = ""


def _end_row(reader: Reader, _number: int | None = None) -> None:
    if any(reader.cells):
        reader.rows.append(reader.cells)
    reader.cells = []
    reader.in_row = False


def _end_paragraph(reader: Reader) -> None:
    if reader.state.skipped or reader.state.place not in ("", "footnote"):
        return
    if reader.state.place == "footnote" or reader.in_row or reader.paragraph.in_table:
        reader.pieces.append("\n")
        return
    lines = ("".join(reader.pieces)).split("\n")
    text = "\n".join(" ".join(line.split()) for line in lines).strip()
    reader.pieces.clear()
    paragraph = reader.paragraph
    marker, paragraph.marker = paragraph.marker, ""
    if not text:
        return
    _end_table(reader)
    outline = paragraph.outline
    is_outlined = outline is not None and 0 <= outline < 9
    level = (outline or 0) + 1 if is_outlined else reader.levels.get(paragraph.style, 0)
    if level:
        reader.blocks.append(Block(f"{'#' * min(level, 6)} {' '.join(text.split())}"))
    elif marker:
        line = f"{'  ' * paragraph.depth}{marker}{' '.join(text.split())}"
        reader.blocks.append(Block(line, tight=True))
    else:
        reader.blocks.append(Block(text))


def _end_table(reader: Reader) -> None:
    if reader.rows:
        reader.blocks.append(Block(markdown_table(reader.rows)))
        reader.rows = []


def _hide(reader: Reader, number: int | None) -> None:
    reader.state = replace(reader.state, hidden=number != 0)


def _delete(reader: Reader, number: int | None) -> None:
    reader.state = replace(reader.state, deleted=number != 0)


def _unicode_skip(reader: Reader, number: int | None) -> None:
    reader.state = replace(reader.state, unicode_skip=min(max(number or 0, 0), 8))


HANDLERS: Final[dict[str, Callable[[Reader, int | None], None]]] = {
    "u": _unicode,
    "uc": _unicode_skip,
    "f": _font,
    "deff": _default_font,
    "fcharset": _charset,
    "ansicpg": _code_page,
    "mac": lambda reader, _: _code_page(reader, 10_000),
    "pc": lambda reader, _: _code_page(reader, 437),
    "pca": lambda reader, _: _code_page(reader, 850),
    "plain": _plain,
    "pard": _new_paragraph,
    "s": _style,
    "outlinelevel": _outline,
    "ilvl": _depth,
    "intbl": _in_table,
    "trowd": _row_starts,
    "cell": _end_cell,
    "nestcell": lambda reader, _: _characters(reader, " "),
    "row": _end_row,
    "v": _hide,
    "deleted": _delete,
}
