"""Documents made from numbers: the same number is the same document, on any machine.

Manuals of things that do not exist: headed sections of English sentences, their lengths spread as
those of real pages (a few kilobytes, some of them fifty). One in a hundred is a near copy of the
document before it, one in two hundred an exact copy, and all share notices and licences.
"""

import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

FOLDER_SIZE = 1_000
# Measured with chunks of 400 tokens, 40 of them overlap.
CHUNKS_PER_DOCUMENT = 10.0

_MEDIAN_BYTES, _SPREAD, _MOST_BYTES = 6_600, 0.9, 60_000

_NOUNS = (
    "adapter address agent alarm archive backup balance battery bearing boiler branch bridge "
    "budget buffer cabinet cable calendar camera canal carrier cartridge catalogue channel charter "
    "circuit claim clause client cluster collector column compressor condenser connector console "
    "container contract controller converter coolant counter coupling cylinder database deadline "
    "dealer deposit detector device directory display document door drawer driver edge engine "
    "entry event exhaust factory failure fan feeder field file filter flange flow folder formula "
    "frame freight function furnace fuse gasket gate gauge gear generator glossary grid handle "
    "harbour heater hinge hose identity inlet inspection insurance interface inventory invoice "
    "journal junction kernel label ladder layer ledger lever licence limit liquid listener lock "
    "machine manifest manual market measure member memory meter mirror module monitor motor "
    "network node nozzle number object office operator orchard order outlet output packet panel "
    "parcel part partner pattern payment permit pipeline piston plan platform policy port "
    "pressure price printer process product profile project protocol pump quality query queue "
    "quota radiator record recorder reference region register regulator relay release remedy "
    "report request reserve resistor resource result review ring river role roller rotor route "
    "sample scale scanner schedule schema screw seal sensor sequence server session shaft shelf "
    "signal silo socket source spindle spring staff station statement storage stream supplier "
    "surface switch system table tank target tariff tenant terminal thread ticket timer token "
    "tower track transfer transport turbine union unit user valve value vehicle vendor version "
    "vessel volume voltage warehouse warranty washer wheel window winter wire worker yard zone"
)
_VERBS = (
    "accepts adjusts announces archives balances blocks calibrates cancels checks cleans closes "
    "collects compares confirms connects controls converts copies counts covers delays delivers "
    "describes detects divides drains drives empties ends exceeds expects feeds fills follows "
    "guards handles heats holds ignores inspects isolates joins keeps lifts limits loads locks "
    "logs lowers measures meets merges mounts moves notifies opens orders passes pauses powers "
    "prevents prints protects pulls pushes raises reads receives records reduces refuses releases "
    "removes renews repairs repeats replaces reports requests resets resumes returns reviews "
    "rotates samples scans seals sends separates serves shifts signs sorts splits starts stores "
    "stops supplies supports tests tightens tracks transfers turns updates verifies warns weighs"
)
_QUALITIES = (
    "annual automatic broken central clean closed cold common complete constant correct critical "
    "daily damaged direct double dry early empty exact external faulty final flat former free "
    "full heavy hidden high hot idle internal large late left light local long loose lower main "
    "manual minor mobile monthly narrow new nominal open optional outer partial perfect permanent "
    "pending primary public quick quiet rapid rare raw ready recent regular remote right rough "
    "round safe second secondary secure separate sharp short silent simple single slow small "
    "smooth soft spare stable standard steady strong sudden temporary thick thin tight upper "
    "urgent valid vertical warm weak weekly wet wide yearly"
)
_SENTENCES = (
    "The {a} {n} of the {N} {v} the {n2} before the {n3} reaches {d} percent.",
    "When the {N} {v} a {n}, the {a} {n2} has to be checked again within {d} hours.",
    "Nobody should open the {n} while the {a} {n2} {v} its {n3}.",
    "Each {n} that the {N} {v} is written to the {n2} together with the {a} {n3}.",
    "If the {n} is {a}, set the {n2} of the {N} to {d} and wait for the {n3}.",
    "The {n} {v} the {n2}, and the {N} {v2} whatever is left in the {a} {n3}.",
    "It takes about {d} minutes until a {a} {n} of this kind {v} the whole {n2}.",
    "Before the {n} is mounted, make sure that the {a} {n2} of the {N} is empty.",
    "A {n} without a {n2} is {a} only where the {N} {v} the {n3} by itself.",
    "For a {a} {n} the {N} asks the {n2} twice and {v} the second {n3}.",
    "In the {a} region of the {n}, the {N} {v} up to {d} of the {n2} at a time.",
    "The {n2} was changed in version {d}: it now {v} the {n} and not the {a} {n3}.",
    "Most of what the {N} {v} comes from the {n}, the rest from a {a} {n2}.",
    "Write down the {n} and the {n2} that the {N} {v}, because the {a} {n3} is lost later.",
    "Where two {n} settings differ, the one of the {a} {n2} counts and {v} the other.",
    "There are {d} ways to tell the {N} which {n} it {v}, and the {n2} is the {a} one.",
)
_HEADINGS = (
    "How the {N} {v} a {n}",
    "The {a} {n}",
    "{N} and its {n2}",
    "What to do when the {n} is {a}",
    "Setting up the {n} of the {N}",
    "Limits of the {a} {n2}",
)
_BEGINNINGS = ("Bel", "Cor", "Dal", "Fen", "Gar", "Hal", "Jor", "Kel", "Lan", "Mar", "Nor", "Pel")
_MIDDLES = ("a", "e", "i", "o", "u", "ari", "eno", "ila", "ora", "uma", "ato", "isi")
_ENDS = ("bit", "con", "dex", "fer", "gon", "lux", "mat", "net", "pol", "ram", "tec", "vex")


class _Words:
    """Words with how often they come: that of rank r as 1/r."""

    def __init__(self, words: str) -> None:
        self._words = words.split()
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._words) + 1)))

    def some(self, random_: random.Random, count: int) -> list[str]:
        return random_.choices(self._words, cum_weights=self._weights, k=count)


_NOUN, _VERB, _QUALITY = _Words(_NOUNS), _Words(_VERBS), _Words(_QUALITIES)


def path_of(corpus: Path, number: int) -> Path:
    """Where a document lies."""
    return corpus / f"{number // FOLDER_SIZE:04d}" / f"{number:07d}.md"


def document(number: int, revision: int = 0) -> str:
    """The text of a document in Markdown; another revision differs in one paragraph."""
    if number % 100 == 98:
        return _written(number - 1, changed=True)
    if number % 200 == 199:
        return _written(number - 2)
    return _written(number, changed=revision > 0)


def write(path: Path, text: str) -> None:
    """One file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _written(number: int, *, changed: bool = False) -> str:
    random_ = random.Random(number)
    name = _name(random_)
    size = min(int(random_.lognormvariate(0, _SPREAD) * _MEDIAN_BYTES), _MOST_BYTES)
    paragraphs = [f"# {_filled('{N}, the {a} {n}', random_, name)}", _notice(number % 40)]
    length = 0
    while length < size:
        if random_.random() < 0.4 or len(paragraphs) == 2:
            paragraphs.append("## " + _filled(random_.choice(_HEADINGS), random_, name))
        paragraphs.append(_paragraph(random_, name))
        length += len(paragraphs[-1])
    if changed:
        place = random.Random(~number).randrange(3, len(paragraphs))
        paragraphs[place] = _paragraph(random.Random(~number), name)
    paragraphs += ["## Licence", _licence(number % 5)]
    return "\n\n".join(paragraphs) + "\n"


def _paragraph(random_: random.Random, name: str) -> str:
    sentences = random_.choices(_SENTENCES, k=random_.randint(2, 7))
    return " ".join(_filled(sentence, random_, name) for sentence in sentences)


def _filled(sentence: str, random_: random.Random, name: str) -> str:
    nouns = _NOUN.some(random_, 3)
    verbs = _VERB.some(random_, 2)
    return sentence.format(
        n=nouns[0],
        n2=nouns[1],
        n3=nouns[2],
        v=verbs[0],
        v2=verbs[1],
        a=_QUALITY.some(random_, 1)[0],
        d=random_.randint(2, 9_999),
        N=name if random_.random() < 0.7 else _name(random_),
    )


def _name(random_: random.Random) -> str:
    """One of some 250,000 names."""
    parts = (_BEGINNINGS, _MIDDLES, _ENDS, _MIDDLES, _ENDS)
    return "".join(random_.choice(part) for part in parts)


def _notice(number: int) -> str:
    return "> " + _paragraph(random.Random(-1 - number), "manufacturer")


def _licence(number: int) -> str:
    random_ = random.Random(-1_000 - number)
    return "\n\n".join(_paragraph(random_, "licensee") for _ in range(3))


def queries(numbers: Iterator[int]) -> list[tuple[int, str]]:
    """Questions whose answer stands in one document: its number, and words of a sentence of it."""
    found = []
    for number in numbers:
        random_ = random.Random(number + 7)
        lines = [line for line in document(number).split("\n") if len(line) > 200]
        sentences = random_.choice(lines).rstrip(".").split(". ")
        found.append((number, random_.choice(sentences)))
    return found
