"""DOCX to Markdown: headings, paragraphs, lists, tables and notes, read as a stream.

Every part is inflated through a counter, so a bomb is refused before a parser holds it, and a
document type declaration is refused outright: Office never writes one, and without it there are
no entities to expand or to fetch.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

from rag_platform.documents.parsing.html import markdown_table
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
    bounded_metadata,
)
from rag_platform.documents.parsing.text import normalise, words

MAX_MEMBERS: Final = 20_000
SKIPPED: Final = words(
    "del moveFrom instrText delText Fallback pPr rPr tblPr tblGrid sectPr sdtPr sdtEndPr"
    " commentReference posOffset pctPosHOffset pctPosVOffset pctWidth pctHeight"
)
CORE_PROPERTIES: Final = {
    "title": "title",
    "creator": "author",
    "subject": "description",
    "keywords": "keywords",
    "language": "language",
    "created": "date",
    "modified": "modified",
}


@dataclass(frozen=True)
class Style:
    """What a paragraph style says: heading level (0: none), numbering id, parent style."""

    level: int = 0
    numbering: str = ""
    parent: str = ""


@dataclass
class Package:
    """The opened archive, the bytes inflated so far, and what the body refers to."""

    archive: zipfile.ZipFile
    limit: int
    inflated: int = 0
    styles: dict[str, Style] = field(default_factory=dict)
    ordered: dict[tuple[str, int], bool] = field(default_factory=dict)

    def open(self, name: str) -> "CountingReader":
        return CountingReader(self.archive.open(name), self)


class CountingReader(io.RawIOBase):
    """Inflates a member while counting over all members; refuses beyond the limit."""

    def __init__(self, member: IO[bytes], package: Package) -> None:
        self.member = member
        self.package = package

    def read(self, size: int = -1) -> bytes:
        data = self.member.read(min(size, 1 << 16) if size > 0 else 1 << 16)
        self.package.inflated += len(data)
        if self.package.inflated > self.package.limit:
            raise ParseRefused(
                Reason.INFLATES, f"inflates to over {self.package.limit:,} bytes; refused"
            )
        return data


def parse_docx(data: bytes, limits: ParseLimits) -> Parsed:
    """The body as Markdown, notes at the end.

    Refuses: `corrupt`, `encrypted`, `inflates`, `hostile_xml`, and `unsupported` for an archive
    that is no DOCX.
    """
    from lxml import etree

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _parsed(Package(archive, limits.max_inflated_bytes))
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("libxml2 ran out of memory") from error
        raise ParseRefused(Reason.CORRUPT, f"broken XML in the DOCX: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise ParseRefused(Reason.CORRUPT, f"not readable as DOCX: {error}") from error
    except RuntimeError as error:
        if "encrypted" in str(error) or "password" in str(error):
            raise ParseRefused(Reason.ENCRYPTED, "the DOCX archive needs a password") from error
        raise


def _parsed(package: Package) -> Parsed:
    names = package.archive.namelist()
    if len(names) > MAX_MEMBERS:
        raise ParseRefused(Reason.INFLATES, f"{len(names):,} members in the archive; refused")
    main = _main_part(package, names)
    folder = main.rpartition("/")[0]
    metadata: dict[str, str] = {}
    if "docProps/core.xml" in names:
        metadata = _core_properties(package)
    if f"{folder}/styles.xml" in names:
        _read_styles(package, f"{folder}/styles.xml")
    if f"{folder}/numbering.xml" in names:
        _read_numbering(package, f"{folder}/numbering.xml")
    blocks = list(_body_blocks(package, main))
    for part in ("footnotes", "endnotes"):
        if f"{folder}/{part}.xml" in names:
            blocks.extend(_notes(package, f"{folder}/{part}.xml"))
    title = metadata.pop("title", "")
    if not title:
        title = next((text[2:] for text, _ in blocks if text.startswith("# ")), "")
    return Parsed(
        text=normalise(_join(blocks)),
        title=" ".join(normalise(title).split())[:500],
        media_type=Kind.DOCX,
        metadata=bounded_metadata(metadata),
    )


def _main_part(package: Package, names: list[str]) -> str:
    if "word/document.xml" in names:
        return "word/document.xml"
    if "_rels/.rels" in names:
        for element in _elements(package, "_rels/.rels"):
            target = (element.get("Target") or "").lstrip("/")
            if (element.get("Type") or "").endswith("/officeDocument") and target in names:
                if target.startswith("word/"):
                    return target
                break
    raise ParseRefused(Reason.UNSUPPORTED, "a zip archive without a Word document")


def _elements(package: Package, name: str, wanted: frozenset[str] | None = None) -> Iterator[Any]:
    """Elements of a part as they end; the outermost wanted ones are freed after use."""
    from lxml import etree

    events = etree.iterparse(
        package.open(name),
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=False,
    )
    open_wanted = 0
    root = None
    for event, element in events:
        local = _local(element)
        if event == "start":
            if root is None:
                root = element
                if element.getroottree().docinfo.internalDTD is not None:
                    raise ParseRefused(
                        Reason.HOSTILE_XML, f"{name} declares a document type; refused"
                    )
            open_wanted += wanted is not None and local in wanted
        elif wanted is None:
            yield element
        elif local in wanted:
            open_wanted -= 1
            if open_wanted == 0:
                yield element
                _free(element)


def _free(element: Any) -> None:
    tail_parent = element.getparent()
    element.clear()
    if tail_parent is not None:
        while element.getprevious() is not None:
            tail_parent.remove(element.getprevious())


def _local(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _attribute(element: Any, name: str) -> str:
    """An attribute by local name: transitional and strict files differ in the namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def _child(element: Any, *path: str) -> Any:
    for name in path:
        element = next((child for child in element if _local(child) == name), None)
        if element is None:
            return None
    return element


def _value(element: Any, *path: str) -> str:
    found = _child(element, *path)
    return "" if found is None else _attribute(found, "val")


def _core_properties(package: Package) -> dict[str, str]:
    found: dict[str, str] = {}
    for element in _elements(package, "docProps/core.xml"):
        name = CORE_PROPERTIES.get(_local(element))
        if name and element.text:
            found[name] = normalise(element.text)
    return found


def _read_styles(package: Package, name: str) -> None:
    for style in _elements(package, name, frozenset({"style"})):
        title = _value(style, "name").lower()
        level = 1 if title == "title" else 0
        if title.startswith("heading ") and title[8:].isdigit():
            level = int(title[8:])
        outline = _value(style, "pPr", "outlineLvl")
        if not level and outline.isdigit() and int(outline) < 9:
            level = int(outline) + 1
        package.styles[_attribute(style, "styleId")] = Style(
            level, _value(style, "pPr", "numPr", "numId"), _value(style, "basedOn")
        )


def _read_numbering(package: Package, name: str) -> None:
    abstract: dict[str, dict[int, bool]] = {}
    for element in _elements(package, name, frozenset({"abstractNum", "num"})):
        if _local(element) == "abstractNum":
            abstract[_attribute(element, "abstractNumId")] = {
                int(_attribute(level, "ilvl") or 0): _value(level, "numFmt") != "bullet"
                for level in element
                if _local(level) == "lvl" and (_attribute(level, "ilvl") or "0").isdigit()
            }
        else:
            levels = abstract.get(_value(element, "abstractNumId"), {})
            for level, ordered in levels.items():
                package.ordered[_attribute(element, "numId"), level] = ordered


def _body_blocks(package: Package, main: str) -> Iterator[tuple[str, bool]]:
    """(Markdown block, is a list item) of each paragraph and table in the body."""
    for element in _elements(package, main, frozenset({"p", "tbl"})):
        yield from _blocks(package, element)


def _blocks(package: Package, element: Any) -> Iterator[tuple[str, bool]]:
    if _local(element) == "tbl":
        rows = [cells for cells in _rows(package, element) if any(cells)]
        if rows:
            yield markdown_table(rows), False
        return
    pieces: list[str] = []
    boxes: list[Any] = []
    _collect(element, pieces, boxes)
    text = "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\n")).strip()
    if text:
        yield _styled(package, element, text)
    for box in boxes:
        for child in box:
            if _local(child) in ("p", "tbl"):
                yield from _blocks(package, child)


def _collect(element: Any, pieces: list[str], boxes: list[Any]) -> None:
    """The text of a paragraph; text boxes anchored in it are set apart."""
    for child in element:
        name = _local(child)
        if name == "t":
            pieces.append(child.text or "")
        elif name in ("tab", "ptab"):
            pieces.append(" ")
        elif name in ("br", "cr"):
            pieces.append("\n")
        elif name == "noBreakHyphen":
            pieces.append("-")
        elif name in ("footnoteReference", "endnoteReference"):
            pieces.append(f"[^{name[0]}{_attribute(child, 'id')}]")
        elif name == "txbxContent":
            boxes.append(child)
        elif name not in SKIPPED:
            _collect(child, pieces, boxes)


def _styled(package: Package, paragraph: Any, text: str) -> tuple[str, bool]:
    style_id = _value(paragraph, "pPr", "pStyle")
    level, numbering = _inherited(package, style_id)
    outline = _value(paragraph, "pPr", "outlineLvl")
    if not level and outline.isdigit() and int(outline) < 9:
        level = int(outline) + 1
    if level:
        return f"{'#' * min(level, 6)} {' '.join(text.split())}", False
    numbering = _value(paragraph, "pPr", "numPr", "numId") or numbering
    if numbering and numbering != "0":
        indent = _value(paragraph, "pPr", "numPr", "ilvl")
        depth = min(int(indent), 8) if indent.isdigit() else 0
        marker = "1." if package.ordered.get((numbering, depth), False) else "-"
        return f"{'  ' * depth}{marker} {' '.join(text.split())}", True
    return text, False


def _inherited(package: Package, style_id: str) -> tuple[int, str]:
    """Heading level and numbering of a style, from its ancestors where it has none."""
    level, numbering = 0, ""
    for _ in range(20):
        style = package.styles.get(style_id)
        if style is None:
            break
        level = level or style.level
        numbering = numbering or style.numbering
        style_id = style.parent
    return level, numbering


def _rows(package: Package, table: Any) -> Iterator[list[str]]:
    for row in _descend(table, "tr"):
        cells: list[str] = []
        for cell in _descend(row, "tc"):
            merged = _child(cell, "tcPr", "vMerge")
            continued = merged is not None and _attribute(merged, "val") != "restart"
            blocks = () if continued else _cell_blocks(package, cell)
            cells.append(" ".join(" ".join(text.split()) for text, _ in blocks))
            span = _value(cell, "tcPr", "gridSpan")
            cells += [""] * (min(int(span), 64) - 1 if span.isdigit() else 0)
        yield cells


def _cell_blocks(package: Package, cell: Any) -> Iterator[tuple[str, bool]]:
    for child in cell:
        if _local(child) in ("p", "tbl"):
            yield from _blocks(package, child)
        elif _local(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _cell_blocks(package, child)


def _descend(element: Any, name: str) -> Iterator[Any]:
    """Children of a name, also inside content controls and tracked insertions."""
    for child in element:
        if _local(child) == name:
            yield child
        elif _local(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _descend(child, name)


def _notes(package: Package, name: str) -> Iterator[tuple[str, bool]]:
    kind = "f" if "footnotes" in name else "e"
    for note in _elements(package, name, frozenset({"footnote", "endnote"})):
        if _attribute(note, "type"):
            continue  # separators
        text = " ".join(block for child in note for block, _ in _blocks(package, child))
        if text:
            yield f"[^{kind}{_attribute(note, 'id')}]: {text}", False


def _join(blocks: list[tuple[str, bool]]) -> str:
    parts: list[str] = []
    for index, (text, is_item) in enumerate(blocks):
        if index:
            parts.append("\n" if is_item and blocks[index - 1][1] else "\n\n")
        parts.append(text)
    return "".join(parts)
