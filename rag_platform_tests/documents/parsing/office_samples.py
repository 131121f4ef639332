"""Small office files and books made for the tests."""

import io
import zipfile
from collections.abc import Mapping, Sequence

PRESENTATION = "http://schemas.openxmlformats.org/presentationml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SPREADSHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
OPEN_DOCUMENT = "urn:oasis:names:tc:opendocument:xmlns"


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """An archive of these members, the first stored as it is and the others compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, content) in enumerate(parts.items()):
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if number else zipfile.ZIP_STORED)
    return buffer.getvalue()


def relations(*entries: tuple[str, str, str]) -> str:
    """A relationships part of (id, type, target)."""
    listed = "".join(
        f'<Relationship Id="{name}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for name, kind, target in entries
    )
    return f'<Relationships xmlns="{PACKAGE}">{listed}</Relationships>'


def shape(*paragraphs: str, placeholder: str = "") -> str:
    """A text box on a slide; paragraphs are XML in the drawing namespace."""
    mark = f'<p:ph type="{placeholder}"/>' if placeholder else ""
    return (
        f"<p:sp><p:nvSpPr><p:nvPr>{mark}</p:nvPr></p:nvSpPr><p:txBody>"
        f"{''.join(paragraphs)}</p:txBody></p:sp>"
    )


def paragraph(text: str, properties: str = "") -> str:
    """A paragraph of a slide."""
    return f"<a:p>{properties}<a:r><a:t>{text}</a:t></a:r></a:p>"


def slide(*shapes: str, attributes: str = "", prologue: str = "") -> str:
    """A slide part."""
    return (
        f'{prologue}<p:sld xmlns:p="{PRESENTATION}" xmlns:a="{DRAWING}" {attributes}>'
        f"<p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:sld>"
    )


def pptx(slides: Sequence[str], notes: Mapping[int, str] | None = None) -> bytes:
    """A presentation; the files of its slides are numbered against the order of the show."""
    count = len(slides)
    ids = "".join(f'<p:sldId id="{256 + n}" r:id="r{n}"/>' for n in range(count))
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "ppt/presentation.xml": (
            f'<p:presentation xmlns:p="{PRESENTATION}" xmlns:r="{RELATIONS}">'
            f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"
        ),
        "ppt/_rels/presentation.xml.rels": relations(
            *((f"r{n}", "slide", f"slides/slide{count - n}.xml") for n in range(count))
        ),
    }
    for number, content in enumerate(slides):
        parts[f"ppt/slides/slide{count - number}.xml"] = content
        if notes and number in notes:
            parts[f"ppt/slides/_rels/slide{count - number}.xml.rels"] = relations(
                ("n", "notesSlide", f"../notesSlides/note{number}.xml")
            )
            parts[f"ppt/notesSlides/note{number}.xml"] = notes[number]
    return zipped(parts)


def xlsx(
    sheets: Mapping[str, str],
    *,
    strings: str = "",
    styles: str = "",
    states: Mapping[str, str] | None = None,
    properties: str = "",
) -> bytes:
    """A workbook; sheets by name, each the XML of its rows (or of more of the worksheet)."""
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n + 1}" r:id="s{n}" {(states or {}).get(name, "")}/>'
        for n, name in enumerate(sheets)
    )
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": (
            f'<workbook xmlns="{SPREADSHEET}" xmlns:r="{RELATIONS}">{properties}'
            f"<sheets>{listed}</sheets></workbook>"
        ),
        "xl/_rels/workbook.xml.rels": relations(
            *((f"s{n}", "worksheet", f"worksheets/s{n}.xml") for n in range(len(sheets))),
            ("t", "sharedStrings", "sharedStrings.xml"),
            ("y", "styles", "/xl/styles.xml"),
        ),
        "xl/sharedStrings.xml": f'<sst xmlns="{SPREADSHEET}">{strings}</sst>',
        "xl/styles.xml": f'<styleSheet xmlns="{SPREADSHEET}">{styles}</styleSheet>',
    }
    for number, content in enumerate(sheets.values()):
        data = content if "<sheetData" in content else f"<sheetData>{content}</sheetData>"
        parts[f"xl/worksheets/s{number}.xml"] = (
            f'<worksheet xmlns="{SPREADSHEET}">{data}</worksheet>'
        )
    return zipped(parts)


def odt(body: str, *, styles: str = "", manifest: str = "", title: str = "") -> bytes:
    """An OpenDocument text; body and automatic styles are XML."""
    names = " ".join(
        f'xmlns:{short}="{OPEN_DOCUMENT}:{long}:1.0"'
        for short, long in (
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("style", "style"),
            ("draw", "drawing"),
        )
    )
    parts: dict[str, str | bytes] = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": (
            f"<office:document-content {names}><office:automatic-styles>{styles}"
            f"</office:automatic-styles><office:body><office:text>{body}</office:text>"
            "</office:body></office:document-content>"
        ),
        "META-INF/manifest.xml": manifest or "<manifest/>",
        "meta.xml": f"<meta><title>{title}</title></meta>",
    }
    return zipped(parts)


def epub(pages: Mapping[str, str], *, metadata: str = "", items: str = "", **parts: str) -> bytes:
    """A book; pages by file name in reading order, further items of the manifest as XML."""
    manifest = "".join(
        f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in pages
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in pages)
    content: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfile full-path="OPS/book.opf"/></container>',
        "OPS/book.opf": (
            f"<package><metadata>{metadata}</metadata><manifest>{manifest}{items}</manifest>"
            f"<spine>{spine}</spine></package>"
        ),
    }
    content |= {f"OPS/{name}": page for name, page in pages.items()}
    content |= {f"META-INF/{name}.xml": part for name, part in parts.items()}
    return zipped(content)
