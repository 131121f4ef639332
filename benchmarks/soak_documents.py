"""The source of a soak: documents that somebody edits all the time, and what must be found of them.

Every sentence that is written begins with a word that stands nowhere else. So what an index should
hold can be told from the source alone, without a chunker: each of those words once per document.
"""

import logging
import random
import re
import string
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

MARK = re.compile(r"\bzq[a-z]{8}\b")
_WORDS = re.findall(
    r"\w+",
    "the water river stone bread winter table window garden letter evening market road bridge "
    "teacher harbour lamp forest music paper island morning kitchen travel story doctor village "
    "and with under over before after slowly often never always brings holds opens finds keeps",
)
_MOST, _FEWEST, _MOST_BROKEN = 70, 40, 4
_BROKEN = b"%PDF-1.7\nthis is no document"

Marks = Counter[str]


class Writer:
    """Makes documents and changes them, by its dice."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def document(self) -> bytes:
        """A new one, of two to six sections."""
        title = " ".join(self._dice.choices(_WORDS, k=3))
        parts = [f"# {title} {self._word()}"]
        for number in range(self._dice.randint(2, 6)):
            parts += [f"## Part {number + 1}", *(self._paragraph() for _ in range(2))]
        return "\n\n".join(parts).encode() + b"\n"

    def edited(self, content: bytes) -> bytes:
        """One paragraph written anew, added or removed."""
        parts = content.decode().rstrip("\n").split("\n\n")
        places = [n for n, part in enumerate(parts) if not part.startswith("#")]
        place = self._dice.choice(places)
        match self._dice.choice(("anew", "anew", "more", "less")):
            case "more":
                parts.insert(place, self._paragraph())
            case "less" if len(places) > 2:
                del parts[place]
            case _:
                parts[place] = self._paragraph()
        return "\n\n".join(parts).encode() + b"\n"

    def _paragraph(self) -> str:
        return " ".join(self._sentence() for _ in range(self._dice.randint(2, 4)))

    def _sentence(self) -> str:
        words = self._dice.choices(_WORDS, k=self._dice.randint(8, 16))
        return f"{self._word().capitalize()} {' '.join(words)}."

    def _word(self) -> str:
        return "zq" + "".join(self._dice.choices(string.ascii_lowercase, k=8))


class Editor(threading.Thread):
    """Edits a bucket until it is told to rest; what fails is left to the next edit."""

    def __init__(self, client: Any, bucket: str, dice: random.Random, every_s: float) -> None:
        super().__init__(daemon=True)
        self._client, self._bucket, self._dice = client, bucket, dice
        self._every_s = every_s
        self._writer = Writer(dice)
        self._number = 0
        self._working = threading.Event()
        self._idle = threading.Event()
        self.edits = 0
        self.failed = 0

    def fill(self, count: int) -> None:
        """The documents that are there at first, two of them broken."""
        for _ in range(count):
            self._put(self._new_key(), self._writer.document())
        for number in range(2):
            self._put(f"broken/{number}.pdf", _BROKEN + bytes([number]))

    def work(self) -> None:
        """Begin, or go on."""
        self._idle.clear()
        self._working.set()

    def rest(self) -> None:
        """Stop; returns once the last edit has ended."""
        self._working.clear()
        self._idle.wait()

    def run(self) -> None:
        """Edit."""
        while True:
            if not self._working.is_set():
                self._idle.set()
                self._working.wait()
            try:
                self._edit()
                self.edits += 1
            except Exception as error:  # the store is one of the things that are killed
                self.failed += 1
                logger.debug("an edit failed: %s", error)
            threading.Event().wait(self._dice.uniform(0, 2 * self._every_s))

    def _edit(self) -> None:
        keys = documents(self._client, self._bucket)
        sound = sorted(key for key in keys if key.endswith(".md"))
        broken = sorted(keys - set(sound))
        what = self._dice.choices(
            ("edit", "add", "remove", "move", "copy", "break"), (8, 3, 2, 1, 1, 1)
        )[0]
        if what == "break":
            if len(broken) > 1 and (len(broken) >= _MOST_BROKEN or self._dice.random() < 0.5):
                self._delete(self._dice.choice(broken))
            else:
                self._number += 1
                self._put(f"broken/{self._number}.pdf", _BROKEN + str(self._number).encode())
            return
        if what in ("add", "copy") and len(sound) >= _MOST:
            what = "remove"
        if what == "remove" and len(sound) <= _FEWEST:
            what = "add"
        if what == "add":
            self._put(self._new_key(), self._writer.document())
            return
        key = self._dice.choice(sound)
        if what == "remove":
            self._delete(key)
            return
        content = _content(self._client, self._bucket, key)
        if what == "edit":
            self._put(key, self._writer.edited(content))
            return
        self._put(self._new_key(), content)
        if what == "move":
            self._delete(key)

    def _new_key(self) -> str:
        self._number += 1
        return f"{self._dice.choice('abc')}/{self._number:05d}.md"

    def _put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def _delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)


def documents(client: Any, bucket: str) -> set[str]:
    """The keys of a bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def contents(client: Any, bucket: str) -> dict[str, bytes]:
    """Everything in a bucket."""
    return {key: _content(client, bucket, key) for key in documents(client, bucket)}


def _content(client: Any, bucket: str, key: str) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())


def marks_of(text: str) -> Marks:
    """The words of a text that stand nowhere else."""
    return Counter(MARK.findall(text.lower()))


def expected(source: Mapping[str, bytes]) -> dict[str, Marks]:
    """What must be searchable of the documents of a source, by key."""
    sound = {key: content for key, content in source.items() if key.endswith(".md")}
    return {key: marks_of(content.decode()) for key, content in sound.items()}


def found(points: Iterable[Mapping[str, Any]]) -> dict[str, Marks]:
    """What the points of an index hold, by key."""
    held: dict[str, Marks] = {}
    for point in points:
        held.setdefault(point["key"], Counter()).update(marks_of(point["text"]))
    return held


def differences(wanted: Mapping[str, Marks], held: Mapping[str, Marks]) -> list[str]:
    """What is lost, stale or doubled, a line each; none where an index is what it must be."""
    problems = []
    for key in sorted(wanted.keys() | held.keys()):
        want, have = wanted.get(key, Counter()), held.get(key, Counter())
        if key not in held and want:
            problems.append(f"{key}: lost")
        elif key not in wanted:
            problems.append(f"{key}: stale, its document is gone")
        elif want != have:
            lost, extra = want - have, have - want
            doubled = sum(n for mark, n in extra.items() if mark in want)
            stale = extra.total() - doubled
            problems.append(f"{key}: {lost.total()} lost, {stale} stale, {doubled} doubled")
    return problems
