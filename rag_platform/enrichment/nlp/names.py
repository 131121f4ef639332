"""Names of people and organizations, told by the words around them and in them.

No list of names is used, so a name counts only where the text itself says what it is: an honorific
or a role ("Dr. Smith", "analyst Jane Smith"), a verb of speech, an organization's own words
("Bank of X", "X Inc"), a phrase such as "shares of X". What stays undecided is left out.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rag_platform.enrichment.nlp import cues

_MAX_WORDS = 8
_CONTEXT = 60  # characters before and after a name that are looked at

_UPPER = "".join(character for character in map(chr, range(0x530)) if character.isupper())
_INITIAL = rf"[{_UPPER}]\.(?:-?[{_UPPER}]\.)*"
_CAPITALISED = rf"[{_UPPER}]\w*(?:[-'\u2019&][{_UPPER}]\w*|-\w+)*"
_PARTICLE = "de la|de|del|della|di|da|dos|du|van der|van den|van de|van|von|bin|ibn|al|el|ter|ten"
_OF = "of the|of|for the|for|&"
_NAME = re.compile(
    rf"(?<![\w@/.#-])(?:{_INITIAL}|{_CAPITALISED})"
    rf"(?:\.? (?:(?:{_OF}|{_PARTICLE}) )?(?:{_INITIAL}|{_CAPITALISED})"
    r"|,? (?:Inc|Ltd|LLC|LLP|PLC|Corp|Co|GmbH|AG|NV|SA)\b)*"
)
_LINKS = frozenset(f"{_OF}|{_PARTICLE}".replace("|", " ").split())
_NO_NAME_WORD = re.compile(r"[\d&_]")


@dataclass(slots=True)
class _Candidate:
    """A name with what speaks for either reading over all its mentions, and how often it stands."""

    first: int
    person: int = 0
    organization: int = 0
    mentions: int = 0
    spellings: Counter[str] = field(default_factory=Counter)

    @property
    def is_person(self) -> bool:
        return self.person > max(0, self.organization)

    @property
    def is_organization(self) -> bool:
        return self.organization > 1 and not self.is_person


def people_and_organizations(sentences: Sequence[str]) -> tuple[list[str], list[str]]:
    """The people and the organizations that sentences name, those named most often first."""
    candidates: dict[str, _Candidate] = {}
    for number, sentence in enumerate(sentences):
        if _is_title_case(sentence):
            continue
        for name, person, organization in _mentions(sentence):
            found = candidates.setdefault(name.casefold(), _Candidate(number))
            found.person += person
            found.organization += organization
            found.mentions += 1
            found.spellings[name] += 1
    _join_short_forms(candidates)
    ranked = sorted(candidates.values(), key=lambda each: (-each.mentions, each.first))
    people = _spelled(each for each in ranked if each.is_person)
    return people, _spelled(each for each in ranked if each.is_organization)


def _spelled(candidates: Iterable[_Candidate]) -> list[str]:
    return [each.spellings.most_common(1)[0][0] for each in candidates]


def _mentions(sentence: str) -> Iterator[tuple[str, int, int]]:
    """The names of a sentence, each with its votes for a person and for an organization."""
    for match in _NAME.finditer(sentence):
        written = match[0].replace(",", "").split(" ")
        words = _without_titles(written)
        titles = {word.rstrip(".").lower() for word in written[: len(written) - len(words)]}
        titled, honoured = (
            not titles.isdisjoint(cues.TITLES),
            not titles.isdisjoint(cues.HONORIFICS),
        )
        if titled and words and words[0].lower() not in cues.KINDS_OF:
            # "President Jane Smith of Acme": the person ends where the link begins.
            words = words[: next((i for i, word in enumerate(words) if word in ("of", "for")), 8)]
        if not words or len(words) > _MAX_WORDS:
            continue
        name = " ".join(words)
        if _is_organization(words):
            yield name, 0, 3
        elif titled and _is_person(words) and (len(words) > 1 or honoured):
            yield name, 3, 0
        else:
            before = sentence[max(0, match.start() - _CONTEXT) : match.start()]
            after = sentence[match.end() : match.end() + _CONTEXT]
            yield name, *_votes(words, before, after)


def _votes(words: list[str], before: str, after: str) -> tuple[int, int]:
    """What the context says for a person and for an organization."""
    person = organization = 0
    full = len(words) > 1 and _is_person(words)
    speaks = cues.SPEECH_AFTER.match(after) or cues.SPEECH_BEFORE.search(before)
    if cues.WORKS_FOR_BEFORE.search(before) or cues.COMPANY_AFTER.match(after):
        organization = 2 if _could_be_organization(words) else 0
    elif speaks and len(words) == 1 and _could_be_organization(words):
        organization = 1
    if full:
        person += 2 * bool(cues.HUMAN_AFTER.match(after) or cues.ROLE_BEFORE.search(before))
        person += bool(speaks)
        person -= bool(cues.PLACE_BEFORE.search(before))
    return person, organization


def _without_titles(words: list[str]) -> list[str]:
    """A name without the articles, roles and honorifics that lead it."""
    titled = False
    for begin, word in enumerate(words):
        bare = word.rstrip(".").lower()
        if bare in cues.TITLES and not _is_organization(words[begin:]):
            titled = True
        elif not (bare in cues.NOT_NAMES or (titled and bare == "of")):
            return words[begin:]
    return []


def _is_organization(words: list[str]) -> bool:
    """Whether a name has an organization's own words: "Acme Inc", "Bank of Utopia"."""
    if len(words) < 2:
        return False
    first, last = words[0].lower(), words[-1].rstrip(".").lower()
    if "of" in words and first in cues.TITLES:
        return False
    return last in cues.KINDS or (first in cues.KINDS_OF and words[1] in ("of", "for"))


def _is_person(words: list[str]) -> bool:
    """Whether the words may be a personal name: one to four capitalised words and particles."""
    names = [word for word in words if word not in _LINKS]
    if not 1 <= len(names) <= 4 or not {"of", "for", "&"}.isdisjoint(words):
        return False
    return all(map(_is_name_word, names)) and not names[-1].endswith(".")


def _is_name_word(word: str) -> bool:
    if word.endswith("."):
        return True
    ordinary = word.lower() in cues.NOT_NAMES or word.lower() in cues.TITLES
    return not (ordinary or word.isupper() or _NO_NAME_WORD.search(word))


def _could_be_organization(words: list[str]) -> bool:
    """Not so for "U.S.", "UK" and words that begin a sentence."""
    name = " ".join(words)
    return len(name) > 2 and "." not in name and name.lower() not in cues.NOT_NAMES | cues.KINDS


def _join_short_forms(candidates: dict[str, _Candidate]) -> None:
    """Count "Smith" as "Jane Smith", and "Acme" as "Acme Inc", where the text has both.

    A name whose last word goes on alone while its first word never does is told to be a person's.
    """
    words = {key: each for key, each in candidates.items() if " " not in key}
    taken: set[str] = set()
    for key, each in candidates.items():
        first, _, last = key.rpartition(" ")
        if not first:
            continue
        first = first.split(" ")[0]
        alone = words.get(last)
        if alone and first not in words and not each.organization and each.person >= 0:
            name = each.spellings.most_common(1)[0][0].split(" ")
            each.person += len(name) > 1 and _is_person(name)
        short = last if each.is_person else first if each.is_organization else ""
        if short in words:
            each.mentions += words[short].mentions
            taken.add(short)
    for short in taken:
        del candidates[short]


def _is_title_case(sentence: str) -> bool:
    """Whether capitals say nothing, since most words have one."""
    words = [word for word in sentence.split(" ") if word[:1].isalpha()]
    capitals = sum(word[0].isupper() for word in words)
    return len(words) > 2 and capitals > (0.7 if len(words) > 5 else 0.99) * len(words)
