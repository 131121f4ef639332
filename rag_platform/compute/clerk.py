"""Who works out what: beside the driver of a job, asked by all of its workers."""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

# So many units that fail: the rest would too, and the stage says why.
GIVE_UP = 16


class Clerk:
    """Gives every key to one unit of work at a time, and adds up what the units did.

    Who works hears from it at once when all is over; the driver, only after the many units that a
    worker was given together. A unit that is tried again after its worker was lost has its keys
    still. One thread at a time.
    """

    def __init__(self) -> None:
        self._holder: dict[bytes, int] = {}
        self._held: defaultdict[int, set[bytes]] = defaultdict(set)
        self._tries: Counter[int] = Counter()
        self._done: set[int] = set()
        self._failures = 0
        self._is_over = False
        self._figures: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def begin(self, unit: int) -> int:
        """How often a unit has been begun, this time included: more than once, its workers were
        lost. 0 where nothing is to be done: it was done before its worker was lost, or all is
        over."""
        if self._is_over or unit in self._done:
            return 0
        self._tries[unit] += 1
        return self._tries[unit]

    def end(self) -> None:
        """No unit is begun any more; those that were come to their end."""
        self._is_over = True

    def clock(self) -> float:
        """The time of the driver's machine, in seconds."""
        return time.time()

    def refused(self, unit: int, keys: Collection[bytes]) -> list[bytes]:
        """Those of some keys that another unit has. The others are this unit's from now on."""
        taken = []
        for key in keys:
            if self._holder.setdefault(key, unit) == unit:
                self._held[unit].add(key)
            else:
                taken.append(key)
        return taken

    def done(self, unit: int, window: str, figures: Mapping[str, int]) -> None:
        """Count what a unit did for a window; its keys are free, their values remembered."""
        self._figures[window].update(figures)
        self._done.add(unit)
        self._free(unit)

    def failed(self, unit: int) -> None:
        """A unit is left to the run: its keys are free. After so many all is over."""
        self._free(unit)
        self._failures += 1
        if self._failures >= GIVE_UP:
            self.end()

    def _free(self, unit: int) -> None:
        for key in self._held.pop(unit, ()):
            del self._holder[key]

    def figures(self) -> dict[str, dict[str, int]]:
        """What was done, by window."""
        return {window: dict(figures) for window, figures in self._figures.items()}
