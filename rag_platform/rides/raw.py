"""raw_rides: the rides of a day, from whatever files hold them, checked and in one form."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from rag_platform.rides.days import Days, dates_in
from rag_platform.rides.files import NotReadable, RideFile, RideFiles, digest
from rag_platform.rides.reading import READING_FINGERPRINT, Part, Window, read_parts
from rag_platform.rides.records import BadRow
from rag_platform.rides.schema import ride_schema
from rag_platform.rides.tables import RAW, DayTables, DayWriter
from rag_platform.storage.letters import MAX_LETTERS, Letter, WindowLetters

_ONE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RawFigures:
    """What the files had for a day. `records` counts those of all files that were looked at."""

    files: int
    unreadable_files: int
    records: int
    rides: int
    bad: int
    other_days: int
    reasons: dict[str, int]

    @property
    def bad_share(self) -> float:
        """Bad records among those of the day, 0 to 1."""
        return self.bad / (self.rides + self.bad) if self.bad else 0.0

    @property
    def conserved(self) -> bool:
        """Whether every record has become exactly one of a ride, a bad one, one of another day."""
        return self.records == self.rides + self.bad + self.other_days

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "RawFigures":
        """As they were kept with the day's table; the rides are the table's own rows."""
        kept = {name: facts[name] for name in cls.__slots__ if name != "rides"}
        return cls(rides=facts["rows"], **kept)


class RawRides:
    """Writes the rides of a day."""

    def __init__(
        self,
        files: RideFiles,
        adapter: str,
        *,
        days: Days,
        tables: DayTables,
        letters: WindowLetters,
    ) -> None:
        self._files = files
        self._adapter = adapter
        self._days = days
        self._tables = tables
        self._letters = letters

    def run(self, key: str) -> RawFigures:
        """Read all files that concern a day, and replace its table and its dead letters.

        Raises `SourceUnavailable`, `FileChanged`, `UnknownDay`.
        """
        day = self._days.check(key)
        files = [file for file in self._files.list() if file.concerns(day)]
        taken = _Day()
        with self._tables.writer(RAW, day, ride_schema()) as writer:
            for file in files:
                self._read(file, day, writer, taken)
            writer.facts |= {
                "digest": self.state(files),
                "files": len(files),
                "unreadable_files": taken.unreadable,
                "records": taken.records,
                "bad": sum(taken.reasons.values()),
                "other_days": taken.others,
                "reasons": dict(sorted(taken.reasons.items())),
            }
        self._letters.replace(RAW, day.isoformat(), taken.letters, fingerprint=READING_FINGERPRINT)
        return self.figures(day)

    def figures(self, day: date) -> RawFigures:
        """Those of the last run over a day. Raises `DayMissing`."""
        return RawFigures.of(self._tables.facts(RAW, day))

    def state(self, files: list[RideFile]) -> str:
        """What a day's table is made of: files and the way to read them."""
        return f"{READING_FINGERPRINT}/{self._adapter}/{self._days.zone.key}/{digest(files)}"

    def changed(self, look_back: int) -> dict[str, str]:
        """Of the last days those whose files are not what their table was made of, by their key,
        with their files' state. A day that never ran is none of them."""
        today = self._days.today()
        listed = self._files.list()
        found = {}
        for day in self._days.before(today, look_back):
            facts = self._tables.known_facts(RAW, day)
            state = self.state([file for file in listed if file.concerns(day)])
            if facts is not None and facts["digest"] != state:
                found[day.isoformat()] = state
        return found

    def _read(self, file: RideFile, day: date, writer: DayWriter, taken: "_Day") -> None:
        window = self._window(file, day)
        try:
            with self._files.local(file) as path:
                parts = read_parts(path, file.name, self._adapter, seen=taken.seen, window=window)
                for part in parts:
                    writer.add(part.rides)
                    taken.add(part, file.name, day)
        except NotReadable as error:
            if window.takes_file:
                taken.refuse(file.name, day, BadRow(None, error.reason, error.detail))

    def _window(self, file: RideFile, day: date) -> Window:
        begins, ends = self._days.bounds(day)
        span = dates_in(file.name)
        if span is None:
            return Window(begins, ends)
        return Window(
            begins,
            ends,
            earliest=self._days.bounds(span.first - _ONE)[0],
            latest=self._days.bounds(span.last + _ONE)[1],
            takes_untold=day == span.first,
            takes_file=day in span,
            names_day=span.first == span.last,
        )


class _Day:
    """What was met while a day's files were read."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.records = 0
        self.others = 0
        self.unreadable = 0
        self.reasons: Counter[str] = Counter()
        self.letters: list[Letter] = []

    def add(self, part: Part, name: str, day: date) -> None:
        self.records += part.records
        self.others += part.others
        for row in part.bad:
            self.refuse(name, day, row)

    def refuse(self, name: str, day: date, row: BadRow) -> None:
        if row.number is None:
            self.unreadable += 1
        else:
            self.reasons[row.reason] += 1
        if len(self.letters) < MAX_LETTERS:
            # A file may be a problem of several days, a record is of one.
            where = day.isoformat() if row.number is None else str(row.number)
            self.letters.append(Letter(f"{name}#{where}", row.reason, row.detail))
