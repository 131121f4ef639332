"""Office equations (ECMA-376 part 1, 22.1) in the notation of TeX, their signs as Unicode."""

from typing import Any, Final

from rag_platform.documents.parsing.package import attribute, descend, local, value
from rag_platform.documents.parsing.text import words

NO_TEXT: Final = words(
    "rPr ctrlPr fPr radPr naryPr dPr sSupPr sSubPr sSubSupPr sPrePr accPr barPr funcPr groupChrPr"
    " limLowPr limUppPr mPr eqArrPr boxPr borderBoxPr phantPr del delText instrText"
)


def equation(element: Any) -> str:
    """One line between dollar signs; empty where the equation is."""
    written = " ".join(_linear(element).split())
    return f"${written}$" if written else ""


def _linear(element: Any) -> str:
    name = local(element)
    if name == "t":
        return element.text or ""
    if name in NO_TEXT:
        return ""
    if name == "f":
        return f"\\frac{{{_part(element, 'num')}}}{{{_part(element, 'den')}}}"
    if name == "rad":
        degree = _part(element, "deg")
        return f"\\sqrt{f'[{degree}]' if degree else ''}{{{_part(element, 'e')}}}"
    if name == "nary":
        sign = value(element, "naryPr", "chr") or "\u222b"
        return f"{sign}{_scripts(element)} {_part(element, 'e')}"
    if name in ("sSup", "sSub", "sSubSup", "limLow", "limUpp"):
        return f"{_part(element, 'e')}{_scripts(element)}"
    if name == "sPre":
        return f"{_scripts(element)}{_part(element, 'e')}"
    if name == "d":
        return _delimited(element)
    if name == "m":
        rows = (child for child in element if local(child) == "mr")
        return "; ".join(", ".join(_children(row, "e")) for row in rows)
    if name == "eqArr":
        return "; ".join(_children(element, "e"))
    if name == "func":
        return f"{_part(element, 'fName')} {_part(element, 'e')}"
    return "".join(map(_linear, element))


def _part(element: Any, name: str) -> str:
    found = descend(element, name)
    return "" if found is None else "".join(map(_linear, found))


def _children(element: Any, name: str) -> list[str]:
    return ["".join(map(_linear, child)) for child in element if local(child) == name]


def _scripts(element: Any) -> str:
    """What stands below and above, also the limits of an operator."""
    is_above = local(element) == "limUpp"
    limit = _part(element, "lim")
    below = _part(element, "sub") or ("" if is_above else limit)
    above = _part(element, "sup") or (limit if is_above else "")
    return (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")


def _delimited(element: Any) -> str:
    properties = descend(element, "dPr")
    found = (
        {} if properties is None else {local(each): attribute(each, "val") for each in properties}
    )
    separator = found.get("sepChr", "|")
    inner = separator.join(_children(element, "e"))
    return f"{found.get('begChr', '(')}{inner}{found.get('endChr', ')')}"
