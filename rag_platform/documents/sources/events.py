"""Events of a feed: what their JSON holds, and a spool that keeps them until they were recorded."""

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from rag_platform.documents.sources.base import Fetched, ListedObject, SourceUnavailable

MAX_KEY_BYTES: Final = 1_024
_MAX_TAGS: Final = 1_000
_MAX_TAG_BYTES: Final = 1_024
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BATCH: Final = 1_000
_LISTED: Final = ("key", "size", "modified", "etag", "failure", "detail", "gone", "acl")
_CACHE_KB: Final = 16_000
# Seconds since 1970 stay below this for three thousand years; larger numbers are milliseconds.
_MOST_SECONDS: Final = 100_000_000_000


def parse_json(content: bytes) -> Any:
    """What a JSON text holds; ValueError where it is none, however it is broken."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def at(value: Any, path: str) -> Any:
    """What stands at a path such as `data.items.0.id`; None where nothing does. "" is the whole."""
    for name in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def key_of(value: Any) -> str | None:
    """A key written as text or as a whole number; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**18 else None
    return value if isinstance(value, str) else None


def bytes_of(value: Any) -> bytes | None:
    """Text as UTF-8; None for anything else, and for what is no Unicode text."""
    try:
        return value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


def key_problem(key: str) -> str | None:
    """Why a text cannot be the key of a document; None where it can."""
    if not key.strip():
        return "it is empty"
    if _CONTROL.search(key):
        return "it holds control characters"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "it is no Unicode text"
    return f"it is longer than {MAX_KEY_BYTES:,} bytes" if size > MAX_KEY_BYTES else None


def tags_of(value: Any) -> tuple[str, ...]:
    """Readers' tags: a list of words, or words between commas. Nobody where it is neither, or
    more than travels with every point."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > _MAX_TAGS:
        return ()
    if not all(map(_is_tag, words)):
        return ()
    return tuple(sorted({word.strip() for word in words if word.strip()}))


def _is_tag(word: Any) -> bool:
    written = bytes_of(word)
    return written is not None and len(written) <= _MAX_TAG_BYTES


def seconds_of(value: Any) -> float | None:
    """A time as seconds since 1970, from ISO text (UTC where it names no zone), seconds or
    milliseconds; None where it is none of them."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = 0 <= value < _MOST_SECONDS * 1_000
        return float(value if value < _MOST_SECONDS else value / 1_000) if inside else None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


class Spool:
    """The last event of each key, on a temporary file of SQLite's that has no name: it is gone
    with the process, and memory does not grow with it.

    Within a `lane` (a partition of a topic) the event put last is the last. Of several lanes the
    latest by time counts, so that the order in which lanes are read does not matter.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.executescript(
            f"""
            pragma journal_mode = off;
            pragma synchronous = off;
            pragma cache_size = -{_CACHE_KB};
            create table events (
                key text, lane integer, modified real, size integer, etag text, failure text,
                detail text, gone integer, acl text, media_type text, content blob,
                primary key (key, lane)
            );
            create view newest as select rowid, * from events where not exists (
                select 1 from events as other where other.key = events.key
                and (other.modified, other.lane) > (events.modified, events.lane)
            );
            """
        )

    def put(
        self, event: ListedObject, content: bytes = b"", *, media_type: str = "", lane: int = 0
    ) -> None:
        """Keep an event, and the bytes of its document."""
        acl = None if event.acl is None else json.dumps(event.acl)
        row = (
            *(event.key, lane, event.modified, event.size, event.etag, event.failure),
            *(event.detail, event.gone, acl, media_type, content),
        )
        with self._open():
            self._database.execute(
                "insert or replace into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
        self.bytes += len(event.key) + len(content)

    def batches(self) -> Iterator[list[ListedObject]]:
        """The last event of each key, in batches."""
        last = 0
        while True:
            with self._open():
                rows = self._database.execute(
                    f"select rowid, {', '.join(_LISTED)} from newest where rowid > ? "
                    f"order by rowid limit {_BATCH}",
                    (last,),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [_listed(row[1:]) for row in rows]

    def read(self, key: str) -> Fetched | None:
        """The document of a key; None where its last event is that it has gone, or there is none.

        May be called from several threads.
        """
        with self._open():
            row = self._database.execute(
                "select content, modified, etag, media_type from newest where key = ? and not gone",
                (key,),
            ).fetchone()
        return None if row is None else Fetched(*row)

    def close(self) -> None:
        """Give the file's room back."""
        self._database.close()

    @contextmanager
    def _open(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:
            raise SourceUnavailable(
                f"keeping what was read until it is recorded failed ({error}); nothing was "
                "recorded. Give the folder in TMPDIR more room."
            ) from error


def _listed(row: tuple[Any, ...]) -> ListedObject:
    facts = dict(zip(_LISTED, row, strict=True))
    acl = facts.pop("acl")
    gone = bool(facts.pop("gone"))
    return ListedObject(**facts, gone=gone, acl=None if acl is None else tuple(json.loads(acl)))
