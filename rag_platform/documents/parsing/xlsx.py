"""XLSX to Markdown: a page for each visible sheet, with its tables; cells as a reader sees them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from rag_platform.documents.parsing.blocks import (
    document,
    join_pages,
    markdown_table,
)
from rag_platform.documents.parsing.package import (
    Package,
    attribute,
    core_properties,
    descend,
    elements,
    local,
    opened,
    relations,
)
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
)

MAIN: Final = "xl/workbook.xml"
SHEETS: Final = ("worksheet", "xlMacrosheet", "dialogsheet")
MAX_COLUMN: Final = 16_384
COLUMN: Final = re.compile(r"[A-Z]{1,3}")
# Number formats of ECMA-376 part 1, 18.8.30 that need no entry in the styles.
DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
PERCENT: Final = {9: 0, 10: 2}
QUOTED: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
# Day 0 of serial dates; the first of them stands before Excel's 29 February 1900, which never was.
EPOCHS: Final = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}

Row = dict[int, str]


@dataclass
class Book:
    """What the cells of a workbook refer to; `dates` and `percents` say how a style is shown."""

    package: Package
    strings: list[str] = field(default_factory=list)
    dates: set[int] = field(default_factory=set)
    percents: dict[int, int] = field(default_factory=dict)
    epoch: datetime = EPOCHS[False]
    hidden: int = 0


def parse_xlsx(data: bytes, limits: ParseLimits) -> Parsed:
    """The visible sheets; empty rows end a table, empty columns are left out.

    Hidden sheets, rows and columns are left out and counted. Values are those that the program
    stored last: formulas are not computed. Refuses: `corrupt`, `encrypted`, `inflates`,
    `hostile_xml`, `too_many_pages`.
    """
    with opened(data, limits, "XLSX") as package:
        metadata = core_properties(package)
        book = Book(package)
        text, starts = join_pages(_sheets(book, limits), limits)
    return document(Kind.XLSX, text, metadata, starts=starts, hidden=book.hidden)


def _sheets(book: Book, limits: ParseLimits) -> Iterator[str]:
    package = book.package
    main = next(
        (each.target for each in relations(package, "") if each.type == "officeDocument"), MAIN
    )
    if main not in package.names:
        raise ParseRefused(Reason.CORRUPT, "a zip archive without a workbook")
    sheets = []
    for element in elements(package, main):
        if local(element) == "sheet":
            sheets.append((attribute(element, "name"), _state(element), _relation_id(element)))
        elif local(element) == "workbookPr":
            book.epoch = EPOCHS[attribute(element, "date1904") in ("1", "true")]
    targets = {}
    for relation in relations(package, main):
        targets[relation.id] = relation
        if relation.type == "sharedStrings":
            book.strings = [
                _string(each) for each in elements(package, relation.target, frozenset({"si"}))
            ]
        elif relation.type == "styles":
            _read_styles(book, relation.target)
    for name, is_shown, target in sheets:
        if target not in targets:
            raise ParseRefused(Reason.CORRUPT, "a sheet of the workbook is missing")
        if targets[target].type not in SHEETS:
            continue  # a chart
        rows = _rows(book, targets[target].target)
        if not is_shown:
            book.hidden += sum(len(text) for row in rows for text in row.values())
            continue
        tables = [_table(rows, limits) for rows in _split(rows)]
        yield "\n\n".join([f"# {' '.join(name.split())}", *tables]) if tables else ""


def _state(sheet: Any) -> bool:
    return attribute(sheet, "state") not in ("hidden", "veryHidden")


def _relation_id(sheet: Any) -> str:
    return next((str(found) for name, found in sheet.attrib.items() if name.endswith("}id")), "")


def _string(item: Any) -> str:
    """The text of a shared or inline string without its phonetic guides."""
    return "".join(
        text.text or ""
        for text in item.iter("{*}t")
        if not any(True for _ in text.iterancestors("{*}rPh"))
    )


def _read_styles(book: Book, name: str) -> None:
    custom: dict[int, str] = {}
    for element in elements(book.package, name, frozenset({"numFmt", "cellXfs"})):
        if local(element) == "numFmt":
            custom[_number(attribute(element, "numFmtId"))] = attribute(element, "formatCode")
            continue
        for index, style in enumerate(element):
            number = _number(attribute(style, "numFmtId"))
            code = QUOTED.sub("", custom.get(number, "")).lower().partition(";")[0]
            if number in DATES or re.search("[ymdhs]", code.replace("general", "")):
                book.dates.add(index)
            elif number in PERCENT:
                book.percents[index] = PERCENT[number]
            elif "%" in code:
                book.percents[index] = len(code.partition(".")[2].rstrip("%"))


def _number(written: str) -> int:
    return int(written) if written.isdecimal() and len(written) < 9 else -1


def _rows(book: Book, name: str) -> Iterator[Row]:
    """The cells of each row that have a value, by column; an empty row where rows are skipped."""
    hidden: set[int] = set()
    before = 0
    for element in elements(book.package, name, frozenset({"row", "col"})):
        if local(element) == "col":
            if attribute(element, "hidden") in ("1", "true"):
                first, last = _number(element.get("min", "")), _number(element.get("max", ""))
                hidden.update(range(first, min(last, MAX_COLUMN) + 1))
            continue
        cells = _cells(book, element)
        number = _number(element.get("r", ""))
        number = number if number > before else before + 1
        if attribute(element, "hidden") in ("1", "true"):
            book.hidden += sum(map(len, cells.values()))
            continue
        book.hidden += sum(len(text) for column, text in cells.items() if column in hidden)
        if number > before + 1:
            yield {}
        before = number
        yield {column: text for column, text in cells.items() if column not in hidden}


def _cells(book: Book, row: Any) -> Row:
    cells: Row = {}
    column = 0
    for cell in row.iterchildren("{*}c"):
        letters = COLUMN.match(cell.get("r", ""))
        column = _column(letters[0]) if letters else column + 1
        if text := " ".join(_cell_text(book, cell).split()):
            cells[column] = text
    return cells


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _cell_text(book: Book, cell: Any) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = descend(cell, "is")
        return "" if inline is None else _string(inline)
    stored = descend(cell, "v")
    text = "" if stored is None else (stored.text or "").strip()
    if kind == "s":
        index = _number(text)
        return book.strings[index] if 0 <= index < len(book.strings) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(text, text)
    return _shown(book, text, _number(cell.get("s", "0"))) if kind == "n" else text


def _shown(book: Book, text: str, style: int) -> str:
    """A number as a reader sees it: a date, a percentage, or at most 15 digits."""
    try:
        number = float(text)
    except ValueError:
        return text
    if style in book.dates and 0 <= number < 2_958_466:  # up to the year 9999
        return _date(book.epoch, number)
    if style in book.percents:
        return f"{number:.{min(book.percents[style], 15)}%}"
    return text if text.isdecimal() else f"{number:.15g}"


def _date(epoch: datetime, number: float) -> str:
    try:
        moment = epoch + timedelta(seconds=round(number * 86_400))
    except OverflowError:  # after the year 9999
        return f"{number:.15g}"
    if number < 1:
        return f"{moment:%H:%M:%S}"
    return (
        f"{moment:%Y-%m-%d}"
        if moment.time() == datetime.min.time()
        else f"{moment:%Y-%m-%d %H:%M:%S}"
    )


def _split(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Runs of rows without an empty one."""
    run: list[Row] = []
    for row in rows:
        if row:
            run.append(row)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _table(rows: list[Row], limits: ParseLimits) -> str:
    """Markdown of a run of rows; a first row of one cell above a wider table is its caption."""
    columns = sorted(set().union(*rows))
    if len(columns) * len(rows) > limits.max_inflated_bytes // 3:
        raise ParseRefused(
            Reason.INFLATES, f"a table of {len(rows):,} rows and {len(columns):,} columns; refused"
        )
    captions: list[str] = []
    while len(columns) > 1 and len(rows) > 1 and len(rows[0]) == 1:
        captions += rows[0].values()
        rows = rows[1:]
    return "\n\n".join(
        [*captions, markdown_table([[row.get(column, "") for column in columns] for row in rows])]
    )
