"""Words: which of them say nothing by themselves, and how two forms of one are told."""

import functools
import re


def word_set(text: str) -> frozenset[str]:
    """The words of a list written as text."""
    return frozenset(text.split())


# Function words of English, and the words of dates and measures that no key phrase begins with.
STOP_WORDS = word_set(
    """
    a able about above according across actually after again against ago ahead all almost along
    already also although always am among an and another any anybody anyone anything are around as
    at away back be became because become becomes been before began behind being below best better
    between beyond both but by came can cannot come comes coming could did do does doing done down
    due during each early either else enough etc even ever every everyone everything few first for
    four from further gave get gets getting give given gives go goes going gone got had has have
    having he her here hers herself him himself his how however i if in indeed instead into is it
    its itself just keep kept know known last later least less let like likely little long look
    made make makes making many may maybe me might mine more most much must my myself near nearly
    need neither never new next no nobody non none nor not nothing now of off often old on once one
    only onto or other others otherwise our ours ourselves out over own part per perhaps please put
    quite rather really said same saw say saying says second see seem seemed seems seen several
    shall she should since so some somebody someone something sometimes soon still such take taken
    takes taking tell than that the their theirs them themselves then there therefore these they
    thing things think this those though three through throughout thus till to today together told
    tomorrow too took toward towards two under until up upon us use used uses using very via want
    wanted wants was way we well went were what whatever when whenever where whether which while
    who whole whom whose why will with within without won would yes yesterday yet you your yours
    yourself
    monday tuesday wednesday thursday friday saturday sunday january february march april june july
    august september october november december day days week weeks month months year years time
    times
    don doesn didn isn wasn weren aren couldn wouldn shouldn hasn haven hadn won ain
    """
)

WORD = re.compile(r"[^\W\d_]{3,}")
_ENDINGS = ("ies", "ing", "es", "ed", "s")


@functools.lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A lower-case English word without its common endings, so that plurals meet singulars."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def stems(text: str) -> list[str]:
    """The stems of the words of a text, in order, function words left out."""
    return [stem(word) for word in WORD.findall(text.lower()) if word not in STOP_WORDS]
