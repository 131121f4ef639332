"""A Markdown page as HTML, DOCX or PDF, byte for byte the same on every run.

Development only: DOCX needs python-docx, PDF needs reportlab.
"""

import html
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import datetime

SITE = "https://opentelemetry.io"
ATTRIBUTION = (
    "Text: The OpenTelemetry Authors, github.com/open-telemetry/opentelemetry.io, CC-BY-4.0; "
    "converted from Markdown."
)
STAMP = datetime(2026, 7, 1)

_SKIPPED = re.compile(r"<!--.*?-->|^\[[^\]]+\]:[ \t]*\n?[ \t]*\S+$", re.DOTALL | re.MULTILINE)
_SHORTCODE = re.compile(r"\{\{[%<].*?[%>]\}\}", re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]+)\](?:\([^()\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_MARKS = re.compile(r"(?<!\\)(\*\*|`|\[!\w+\])|\\(?=[\[\]*_`<|])")
_TYPOGRAPHY = {"\u2192": "->", "\u2265": ">=", "\u2264": "<=", "\u2705": "yes", "\u274c": "no"}


@dataclass(frozen=True)
class Block:
    """A piece of a page: `kind` is heading, paragraph, item or code; `level` is a heading's."""

    kind: str
    text: str
    level: int = 0


@dataclass(frozen=True)
class Page:
    title: str
    description: str
    blocks: tuple[Block, ...]


def read_page(markdown: str) -> Page:
    """Parses the subset of Markdown that the documentation uses; shortcodes are left out."""
    _, front, body = markdown.split("---\n", 2)
    body = _SKIPPED.sub("", _SHORTCODE.sub("", body))
    blocks: list[Block] = []
    table: list[list[str]] = []
    pending: list[str] = []
    code: list[str] | None = None

    def flush() -> None:
        if pending:
            blocks.append(_block(pending))
            pending.clear()
        if table:
            blocks.extend(_rows(table))
            table.clear()

    for raw in body.splitlines():
        line = re.sub(r"^\s*>\s?", "", raw) if code is None else raw
        if line.lstrip().startswith("```"):
            if code is None:
                flush()
                code = []
            else:
                blocks.append(Block("code", "\n".join(code)))
                code = None
        elif code is not None:
            code.append(line)
        elif not line.strip():
            flush()
        elif line.startswith("|"):
            cells = [_plain(c.strip()) for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            table.append(cells)
        elif re.match(r"#{1,6} |\s*([-*]|\d+\.) ", line):
            flush()
            pending.append(line)
        else:
            pending.append(line)
    flush()
    return Page(_field(front, "title"), _field(front, "description"), tuple(blocks))


def _field(front: str, name: str) -> str:
    match = re.search(rf"^{name}:\s*(?:[>|]-?\n)?((?:.|\n  )+)", front, re.MULTILINE)
    return " ".join(match[1].split()).strip("'\"") if match else ""


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text)).strip()


def _block(lines: list[str]) -> Block:
    text = " ".join(line.strip() for line in lines)
    if heading := re.match(r"(#{1,6}) (.*?)(?:\s*\{#.*\})?$", text):
        return Block("heading", _plain(heading[2]), len(heading[1]))
    if item := re.match(r"(?:[-*]|\d+\.)\s+(.*)", text):
        return Block("item", _plain(item[1]))
    return Block("paragraph", _plain(text))


def _rows(table: list[list[str]]) -> list[Block]:
    """A table as one item a row: the first cell, then `header: cell` of the others."""
    header, *rows = [r for r in table if not all(re.fullmatch(r":?-+:?", c) for c in r)]
    return [
        Block(
            "item",
            "; ".join(
                [row[0], *(f"{h}: {c}" for h, c in zip(header[1:], row[1:], strict=False) if c)]
            ),
        )
        for row in rows
    ]


def to_html(page: Page, key: str, *, build: str) -> bytes:
    """A site's page: banner, navigation and footer around the article; `build` in the footer."""
    tags = {"paragraph": "p", "item": "li", "code": "pre"}
    parts: list[str] = []
    for block in page.blocks:
        tag = tags.get(block.kind) or f"h{block.level}"
        parts.append(f"      <{tag}>{html.escape(block.text, quote=False)}</{tag}>")
    article = re.sub(
        r"((?:      <li>.*?</li>\n?)+)", r"      <ul>\n\1      </ul>\n", "\n".join(parts)
    )
    sections = ("Docs", "Ecosystem", "Status", "Community", "Training", "Blog")
    menu = "\n".join(f'      <li><a href="/{s.lower()}/">{s}</a></li>' for s in sections)
    title = html.escape(page.title)
    text = f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>{title} | OpenTelemetry</title>
  <meta name="description" content="{html.escape(page.description)}">
  <link rel="canonical" href="{SITE}/{key}">
</head>
<body>
  <div class="cookie-banner" role="dialog">This site uses cookies. <button>Accept all</button></div>
  <header>
    <a class="brand" href="/">OpenTelemetry</a>
    <nav><ul>
{menu}
    </ul></nav>
    <form role="search"><input type="search" placeholder="Search this site"></form>
  </header>
  <aside class="sidebar"><nav><ul>
      <li><a href="../">Up</a></li>
      <li><a href="/docs/what-is-opentelemetry/">What is OpenTelemetry?</a></li>
      <li><a href="/docs/getting-started/">Getting Started</a></li>
  </ul></nav></aside>
  <main>
    <article>
      <h1>{title}</h1>
{article}
    </article>
  </main>
  <section class="feedback">Helpful? <button>Yes</button> <button>No</button></section>
  <footer>
    <ul><li><a href="/privacy/">Privacy</a></li><li><a href="/terms/">Terms of use</a></li></ul>
    <p>{ATTRIBUTION}</p>
    <p>Build {build}. Edit this page. View page source. Create child page.</p>
  </footer>
</body>
</html>
"""
    return text.encode()


def to_docx(page: Page) -> bytes:
    from docx import Document
    from docx.shared import Pt

    document = Document()
    core = document.core_properties
    core.title, core.author, core.comments = page.title, "The OpenTelemetry Authors", ATTRIBUTION
    core.created = core.modified = STAMP
    document.add_heading(page.title, 0)
    for block in page.blocks:
        if block.kind == "heading":
            document.add_heading(block.text, min(block.level, 4))
        elif block.kind == "code":
            run = document.add_paragraph().add_run(block.text)
            run.font.name, run.font.size = "Courier New", Pt(9)
        else:
            style = "List Bullet" if block.kind == "item" else None
            document.add_paragraph(block.text, style=style)
    document.add_paragraph(ATTRIBUTION)
    buffer = io.BytesIO()
    document.save(buffer)
    return _without_clock(buffer.getvalue())


def _without_clock(archive: bytes) -> bytes:
    """The same ZIP with one fixed time on every member."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            if name == "docProps/thumbnail.jpeg":  # the template's picture, not of this page
                continue
            info = zipfile.ZipInfo(name, STAMP.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            data = source.read(name)
            if name == "_rels/.rels":
                data = re.sub(rb"<Relationship [^>]*thumbnail[^>]*/>", b"", data)
            target.writestr(info, data)
    return out.getvalue()


def to_pdf(page: Page) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Paragraph, SimpleDocTemplate, XPreformatted

    sheet = getSampleStyleSheet()
    body = ParagraphStyle("body", sheet["BodyText"], fontSize=9.5, leading=12.5, splitLongWords=1)
    item = ParagraphStyle("item", body, leftIndent=14, bulletIndent=4)
    code = ParagraphStyle("code", sheet["Code"], fontSize=7.5, leading=9.5)
    story = [Paragraph(_latin(page.title), sheet["Title"])]
    for block in page.blocks:
        text = _latin(block.text)
        if block.kind == "heading":
            story.append(Paragraph(text, sheet[f"Heading{min(block.level, 4)}"]))
        elif block.kind == "item":
            story.append(Paragraph(text, item, bulletText="\u2022"))
        elif block.kind == "code":
            story.append(XPreformatted(text, code))
        else:
            story.append(Paragraph(text, body))
    story.append(Paragraph(_latin(ATTRIBUTION), body))

    def footer(canvas: Canvas, template: SimpleDocTemplate) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawCentredString(A4[0] / 2, 28, f"{_latin_raw(page.title)} - page {template.page}")

    buffer = io.BytesIO()
    template = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        title=page.title,
        author="The OpenTelemetry Authors",
        subject=ATTRIBUTION,
        invariant=1,  # no clock and no random identifier in the file
    )
    template.build(story, onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


def _latin_raw(text: str) -> str:
    """What the PDF's built-in fonts can show."""
    for sign, plain in _TYPOGRAPHY.items():
        text = text.replace(sign, plain)
    return text.encode("cp1252", "ignore").decode("cp1252")


def _latin(text: str) -> str:
    return html.escape(_latin_raw(text), quote=False)
