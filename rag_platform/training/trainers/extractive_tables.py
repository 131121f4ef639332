"""Figures of a table that a question asks for, by the row, the years and what is to be done.

Reports are asked for cells of some years, for their change, its percentage and their average, and
for the years of a row. Anything else is answered with the cell.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag_platform.training.tasks.answers import SCALES, Answer, Scale, cells, words

_YEAR = re.compile(r"\b(?:19|20)[0-9]{2}\b")
_SPAN = re.compile(r"\b((?:19|20)[0-9]{2})\s*(?:-|\u2013|to|through)\s*((?:19|20)[0-9]{2})\b")
_SHORT_YEAR = re.compile(r"\bFY?[\u2019']?([0-9]{2})\b")
_FIGURE = re.compile(
    r"\(?-?\s*(?:US)?[$€£]?\s*\(?-?(?P<digits>[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)\s*%?\s*\)?\s*%?"
)
_SCALE = re.compile(r"\b(thousand|million|billion)s?\b|\b(000)s?\b|[$€£](m|k)\b", re.I)
_PROSE_SCALE = re.compile(
    r"\bin (?:US |U\.S\. )?[$€£]?(?:dollars )?(?:in )?(thousand|million|billion)s?\b", re.I
)
_SCALES = {"000": "thousand", "k": "thousand", "m": "million"}
_CHANGE = re.compile(r"\b(?:change|increase|decrease|difference|growth)", re.I)
_PERCENT = re.compile(r"\bpercent|%", re.I)
_AVERAGE = re.compile(r"\b(?:average|mean)\b", re.I)
_WHICH_YEARS = re.compile(r"\b(?:which|what) (?:fiscal |financial )?(?:year|period)s?\b", re.I)
_MOST = re.compile(r"\b(?:largest|highest|greatest|most|higher|larger|greater)\b", re.I)
_LEAST = re.compile(r"\b(?:smallest|lowest|least|lower|smaller)\b", re.I)
_LONGEST_SPAN = 20


@dataclass(frozen=True, slots=True)
class _Cell:
    """A figure as it is written, its value, and the year of its column, if that has one."""

    text: str
    value: float
    year: str

    @property
    def term(self) -> str:
        """The figure as it stands in a formula."""
        digits = _FIGURE.fullmatch(self.text)
        return f"{'-' if self.value < 0 else ''}{digits['digits'] if digits else self.text}"


class Table:
    """A table: the parts of a context that are its rows, and the prose that stands around it."""

    def __init__(self, rows: Mapping[str, str], prose: str) -> None:
        self._rows = {name: cells(text) for name, text in rows.items()}
        # Rows that have figures, by the text that says what these are of.
        self.labels = {name: row[0] for name, row in self._rows.items() if _is_data(row)}
        first = next(iter(self.labels), None)
        names = list(self._rows)
        self._heads = names[: names.index(first)] if first else names
        others = [" ".join(row) for name, row in self._rows.items() if name not in self.labels]
        self._scale = _scale(_SCALE, " ".join(others)) or _scale(_PROSE_SCALE, prose)

    def answer(self, name: str, question: str) -> Answer | None:
        """What a row says to a question; None where it has no figure for it."""
        found = self._cells(name, question)
        if _WHICH_YEARS.search(question):
            return self._which_years(name, question, found)
        wanted = _of_years(found, _years(question))
        if not wanted:
            return None
        if len(wanted) == 2 and _CHANGE.search(question):
            return self._change(name, question, wanted)
        scale: Scale = "" if any("%" in cell.text for cell in wanted) else self._scale
        if len(wanted) > 1 and _AVERAGE.search(question):
            formula = f"({' + '.join(cell.term for cell in wanted)}) / {len(wanted)}"
            mean = sum(cell.value for cell in wanted) / len(wanted)
            return _result(name, mean, scale or self._of_percent(wanted), formula)
        return _answer([name], [cell.text for cell in wanted], scale=scale)

    def _change(self, name: str, question: str, wanted: Sequence[_Cell]) -> Answer | None:
        before, after = sorted(wanted, key=lambda cell: cell.year)
        change = after.value - before.value
        formula = f"({after.term} - {before.term})"
        if not _PERCENT.search(question):
            return _result(name, change, self._of_percent(wanted) or self._scale, formula)
        if not before.value:
            return None
        return _result(name, 100 * change / before.value, "percent", f"{formula} / {before.term}")

    def _which_years(self, name: str, question: str, found: Sequence[_Cell]) -> Answer | None:
        dated = [cell for cell in found if cell.year]
        if not dated:
            return None
        if _MOST.search(question):
            dated = [max(dated, key=lambda cell: cell.value)]
        elif _LEAST.search(question):
            dated = [min(dated, key=lambda cell: cell.value)]
        years = list(dict.fromkeys(cell.year for cell in dated))
        heads = [head for head in self._heads if set(years) & set(_dated(self._rows[head]))]
        return _answer([name, *heads], years)

    def _cells(self, name: str, question: str) -> list[_Cell]:
        """The figures of a row; of columns of the same year those whose head fits best."""
        asked = set(words(question).split())
        best: dict[str, tuple[int, _Cell]] = {}
        for place, text in enumerate(self._rows[name][1:], start=1):
            value = _value(text)
            if value is None:
                continue
            heads = [row[place] for row in map(self._rows.__getitem__, self._heads) if row[place:]]
            year = next(iter(_dated(heads)), "")
            fit = len(asked & set(words(" ".join(heads)).split()))
            if year not in best or fit > best[year][0]:
                best[year] = fit, _Cell(text, value, year)
        return [cell for _, cell in best.values()]

    def _of_percent(self, wanted: Sequence[_Cell]) -> Scale:
        return "percent" if all("%" in cell.text for cell in wanted) else ""


def _of_years(found: Sequence[_Cell], years: Sequence[str]) -> list[_Cell]:
    """The cells of these years; the first one where no year is asked for, or told."""
    by_year = {cell.year: cell for cell in found if cell.year}
    if not years or not by_year:
        return list(found[:1])
    return [by_year[year] for year in years if year in by_year]


def _years(question: str) -> list[str]:
    """The years that a question names, in its order; those between two where a span is meant."""
    span = _SPAN.search(question)
    if span and not _CHANGE.search(question):
        first, last = sorted((int(span[1]), int(span[2])))
        if last - first <= _LONGEST_SPAN:
            return [str(year) for year in range(first, last + 1)]
    return _dated([question])


def _dated(texts: Sequence[str]) -> list[str]:
    """The years in some texts, each once; FY19 is 2019."""
    text = _SHORT_YEAR.sub(r"20\1", " ".join(texts))
    return list(dict.fromkeys(_YEAR.findall(text)))


def _is_data(row: Sequence[str]) -> bool:
    """Whether a row has a label and figures other than years."""
    figures = [cell for cell in row[1:] if _value(cell) is not None]
    return bool(row[0]) and any(not _YEAR.fullmatch(cell) for cell in figures)


def _value(text: str) -> float | None:
    figure = _FIGURE.fullmatch(text)
    if figure is None:
        return None
    value = float(figure["digits"].replace(",", ""))
    return -value if set("(-") & set(text[: figure.start("digits")]) else value


def _scale(pattern: re.Pattern[str], text: str) -> Scale:
    found = pattern.search(text)
    word = next(filter(None, found.groups()), "").lower() if found else ""
    return next((scale for scale in SCALES if scale == _SCALES.get(word, word)), "")


def _result(name: str, value: float, scale: Scale, formula: str) -> Answer:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return _answer([name], [text], scale=scale, derivation=formula)


def _answer(
    cites: list[str], answer: list[str], *, scale: Scale = "", derivation: str = ""
) -> Answer:
    return Answer(derivation=derivation, answer=answer, scale=scale, cites=cites, refused=False)
