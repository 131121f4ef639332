"""What goes wrong in a soak and when: a plan that is the same for the same seed."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# What may happen, and for how many seconds it lasts (nothing: an instant).
KINDS: dict[str, tuple[float, float]] = {
    "run_killed": (0, 0),
    "daemon_killed": (2, 15),
    "code_server_killed": (2, 15),
    "webserver_killed": (2, 15),
    "database_killed": (5, 40),
    "database_restarted": (0, 0),
    "object_store_killed": (5, 40),
    "rate_limit_storm": (45, 90),
    "error_storm": (45, 90),
    "network_storm": (45, 90),
    "disk_full": (60, 100),
    "daemon_clock_forward": (20, 40),
    "daemon_clock_back": (20, 40),
    "wrong_clock_at_start": (20, 40),
}

_STORM_S = 60.0
_EVENTS = 3


@dataclass(frozen=True, slots=True)
class Event:
    """Something that goes wrong `after_s` seconds into its round, for `seconds`."""

    after_s: float
    kind: str
    seconds: float

    @property
    def ends_s(self) -> float:
        """When it is over, in seconds into its round."""
        return self.after_s + self.seconds


@dataclass(frozen=True, slots=True)
class Round:
    """A storm, after which everything must be good again by itself."""

    number: int
    events: tuple[Event, ...]


def plan(seed: int, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[Round]:
    """Round after round, without end, with three events each.

    Kinds come as from a deck of cards: every one before any comes again.
    """
    dice = random.Random(seed)
    deck: list[str] = []
    for number in itertools.count(1):
        events: list[Event] = []
        while len(events) < min(_EVENTS, len(kinds)):
            if not deck:
                deck = dice.sample(list(kinds), len(kinds))
            kind = deck.pop()
            if any(event.kind == kind for event in events):
                deck.insert(0, kind)
                continue
            begin = round(dice.uniform(0, _STORM_S), 1)
            events.append(Event(begin, kind, round(dice.uniform(*KINDS[kind]), 1)))
        yield Round(number, tuple(sorted(events, key=lambda event: event.after_s)))
