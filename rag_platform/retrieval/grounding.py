"""Whether a quote stands where an answer says that it does.

What a model says of its sources counts for nothing until it was found there. A quote has to be in
the passage that it names, both as the model was shown it and as the document has it: so what was
kept from the model cannot be quoted, nor what a passage only claims to be another one.
"""

from rag_platform.encoders.sentences import one_line
from rag_platform.llm.untrusted import REMOVED_INSTRUCTION, REMOVED_MARK, neutralize

# Letters and digits that a quote has at least: fewer stand in any text.
LEAST_QUOTE = 8


def shown(text: str) -> str:
    """A passage as it may stand in a prompt among others, with nothing that reaches beyond it."""
    # A comment that a passage leaves open would hide the passages behind it.
    return neutralize(text).text.replace("<!--", "<! --")


def located(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quote begins and ends in a passage of a document; None where it does not stand.

    White space counts as a space, and characters that do not show count for nothing. A quote is
    told from its passage by at least `LEAST_QUOTE` letters and digits.
    """
    wanted = one_line(quote)
    if sum(map(str.isalnum, wanted)) < LEAST_QUOTE:
        return None
    if REMOVED_INSTRUCTION in wanted or REMOVED_MARK in wanted:
        return None
    if wanted not in one_line(shown(text)):
        return None
    return _place(wanted, text)


def _place(wanted: str, text: str) -> tuple[int, int] | None:
    """Where a line stands in a text, found character by character."""
    line: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        seen = one_line(f".{character}.")[1:-1]  # kept between: alone, a space would be stripped
        if seen == " " and (not line or line[-1] == " "):
            continue
        if seen:
            line.append(seen)
            places.append(place)
    at = "".join(line).find(wanted)
    return (places[at], places[at + len(wanted) - 1] + 1) if at >= 0 else None
