"""Clauses of policies, contracts and statutes: which lines begin one, and how deep it lies."""

import re
from dataclasses import dataclass
from typing import Final

_LONGEST_LABEL = 80
# Words that name a division, in English, German, French and Spanish, by how high it stands.
_HIGH = (
    "part|teil|chapter|kapitel|title|titel|book|buch|schedule|annex|anhang|anlage|appendix|exhibit"
    "|partie|chapitre|annexe|parte|cap[ií]tulo|t[ií]tulo|anexo"
)
_MIDDLE = (
    "article|artikel|art\\.|section|sect\\.|sec\\.|abschnitt|clause|klausel|rule|regel|paragraph"
    "|ziffer|cl[aá]usula|art[ií]culo|secci[oó]n"
)
# Letters in capitals only: "Rule a" begins a sentence.
_NUMBER = r"(?:[0-9]{1,4}[a-z]?(?:[.-][0-9]{1,4}[a-z]?){0,6}|(?-i:[IVXLC]{1,7}|[A-Z]))"
_LEAD = r"[ \t>*_]{0,6}"
_NAMED = re.compile(
    rf"{_LEAD}(?:(?P<high>{_HIGH})|(?P<middle>{_MIDDLE}))[ \t]{{1,3}}(?P<number>{_NUMBER})(?![\w])",
    re.IGNORECASE,
)
_SIGN = re.compile(rf"{_LEAD}§{{1,2}}[ \t]{{0,3}}(?P<number>[0-9]{{1,4}}[a-z]?)(?![\w])")
_DOTTED = re.compile(
    rf"{_LEAD}(?P<number>[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{0,6}})(?P<end>[.)]?)"
    r"(?:[*_]{1,2})?[ \t]+\S"
)
_ROMAN = re.compile(rf"{_LEAD}(?P<number>[IVXLC]{{1,7}})[.)][ \t]+\S")
_ITEM = re.compile(rf"{_LEAD}(?:\(([a-z]{{1,2}}|[ivxlc]{{1,5}}|[0-9]{{1,2}})\)|[a-z]\))[ \t]+\S")

# An item of a list within a clause: a place to cut where the clause is too long.
ITEM: Final = 7


@dataclass(frozen=True, slots=True)
class Clause:
    """The beginning of a clause. `level` is 1 for a part or chapter, 2 for an article or section,
    3 for `4.`, 4 for `4.2`, at most 6; `ITEM` for one of a list. `label` is its number, with its
    caption where the line is nothing else."""

    level: int
    label: str
    is_caption: bool


def clause_of(line: str) -> Clause | None:
    """The clause that a line begins, or None. Of `4 apples` nothing is known, of `4.` it is."""
    head = line[:200]
    if named := _NAMED.match(head):
        return _clause(line, 1 if named["high"] else 2 + named["number"].count("."), named)
    if sign := _SIGN.match(head):
        return _clause(line, 2, sign)
    if dotted := _DOTTED.match(head):
        depth = dotted["number"].count(".") + 1
        if depth > 1 or dotted["end"]:
            return _clause(line, 2 + depth, dotted)
    if roman := _ROMAN.match(head):
        return _clause(line, 2, roman)
    if item := _ITEM.match(head):
        return Clause(ITEM, item.group().strip(" \t>*_")[:8], False)
    return None


def _clause(line: str, level: int, found: re.Match[str]) -> Clause:
    bare = " ".join(line.strip(" \t>*_").replace("**", "").replace("__", "").split())
    is_caption = len(bare) <= _LONGEST_LABEL and not bare.endswith((".", ";", ",", ":"))
    number = line[: found.end("number")].strip(" \t>*_")
    return Clause(min(level, 6), bare if is_caption else number, is_caption)
