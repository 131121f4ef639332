"""A source that tells what happened since a cursor, and not all there is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import pytest
import sqlalchemy as sa

from rag_platform.documents.access import Access
from rag_platform.documents.changelog import SourceListingRefused
from rag_platform.documents.listing import Listing
from rag_platform.documents.report import too_many_dead
from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    Place,
    Source,
    SourceUnavailable,
    Unchanged,
)
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.storage.schema import passes, source_cursors
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.documents.conftest import Docs, MakeDocs
from rag_platform_tests.documents.test_access import acls

FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))


@dataclass
class Events(Source):
    """Events (key, text, or None for gone) numbered from 1; the cursor is the last number."""

    events: list[tuple[str, str | None]] = field(default_factory=list)
    breaks_after: int | None = None
    asked: list[Any] = field(default_factory=list)
    held: int = 0
    recordings: int = 0
    lost: set[str] = field(default_factory=set)
    complete = False
    url = "events://here"

    @classmethod
    def open(cls, place: Place) -> Self:
        raise NotImplementedError

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self.asked.append((since, until))
        begin = int(since or 0)
        for number, (key, text) in enumerate(self.events[begin:], start=begin + 1):
            if self.breaks_after is not None and number > self.breaks_after:
                raise SourceUnavailable("the line went dead")
            self.held = number
            yield [ListedObject(key, len(text or ""), 5.0, f"n{number}", gone=text is None)]
        self.held = len(self.events)

    def cursor(self) -> str | None:
        return str(self.held)

    def fetch(self, key: str, known: Known | None = None) -> Fetched | Unchanged | None:
        text = None if key in self.lost else dict(self.events[: self.held])[key]
        return None if text is None else Fetched(text.encode(), 5.0, f"n{self.held}")

    def recorded(self) -> None:
        self.recordings += 1


@pytest.fixture
def told(docs: Docs, monkeypatch: pytest.MonkeyPatch) -> tuple[Docs, Events]:
    events = Events()
    monkeypatch.setattr(docs.platform, "_reader", lambda name: events)
    return docs, events


def cursor(docs: Docs) -> Any:
    with docs.platform.catalog.read() as connection:
        return connection.scalar(sa.select(source_cursors.c.cursor))


def test_what_is_not_told_is_not_gone(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one"), ("b.md", "two")]
    assert docs.run(FIRST).changes == {"inserted": 2}
    source.events += [("b.md", "two, changed"), ("c.md", "three")]
    assert docs.run(SECOND).changes == {"inserted": 1, "updated": 1}
    assert docs.outcomes(SECOND) == {"inserted": 1, "updated": 1}
    assert docs.run(THIRD).changes == {}
    assert docs.outcomes(THIRD) == {}
    assert [since for since, _ in source.asked] == [None, "2", "4"]


def test_an_event_says_what_is_gone(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [(f"{name}.md", name) for name in "abcd"]
    docs.run(FIRST)
    source.events += [("a.md", None), ("never.md", None)]
    assert docs.run(SECOND).changes == {"deleted": 1}
    assert docs.outcomes(SECOND) == {"deleted": 1}


def test_the_last_event_of_a_key_counts(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one"), ("b.md", "b"), ("a.md", None), ("b.md", "later")]
    assert docs.run(FIRST).changes == {"inserted": 1}
    assert docs.clean_rows(FIRST)["b.md"]["text"] == "later"
    source.events += [("b.md", None), ("b.md", "back")]
    assert docs.run(SECOND).changes == {"updated": 1}


def test_what_is_gone_when_it_is_read_is_gone(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one"), ("b.md", "two"), ("c.md", "three")]
    docs.run(FIRST)
    source.events += [("a.md", "one, changed"), ("new.md", "new")]
    source.lost = {"a.md", "new.md"}
    assert docs.run(SECOND).changes == {"deleted": 1}
    assert docs.outcomes(SECOND) == {"deleted": 1}


def test_too_many_removals_at_once_are_refused(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [(f"{name}.md", name) for name in "abc"]
    docs.run(FIRST)
    source.events += [(f"{name}.md", None) for name in "ab"]
    with pytest.raises(SourceListingRefused):
        docs.ask(SECOND)
    assert cursor(docs) == "3"
    assert docs.run(SECOND, allow_deletions=True).changes == {"deleted": 2}
    assert cursor(docs) == "5"


def test_broken_off_it_is_told_again(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one"), ("b.md", "two"), ("c.md", "three")]
    source.breaks_after = 2
    with pytest.raises(SourceUnavailable):
        docs.ask(FIRST)
    assert (cursor(docs), source.recordings) == (None, 0)
    source.breaks_after = None
    assert docs.run(FIRST).changes == {"inserted": 3}
    assert (cursor(docs), source.recordings) == ("3", 1)


def test_the_cursor_moves_even_where_nothing_changed(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one")]
    docs.run(FIRST)
    source.events += [("a.md", "one")]
    assert docs.run(FIRST).changes == {}
    assert cursor(docs) == "2"
    assert docs.run(FIRST).listed == 0


def test_the_page_knows_from_where_to_where_it_was_told(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one")]
    docs.run(FIRST)
    source.events += [("b.md", "two")]
    docs.run(SECOND)
    with docs.platform.catalog.read() as connection:
        rows = connection.execute(
            sa.select(passes.c.window, passes.c.since, passes.c.cursor, passes.c.complete)
        ).all()
    assert [tuple(row) for row in rows] == [(FIRST, None, "1", False), (SECOND, "1", "2", False)]


def test_refreshed_it_is_told_from_the_beginning(told: tuple[Docs, Events]) -> None:
    docs, source = told
    source.events += [("a.md", "one"), ("b.md", "two")]
    docs.run(FIRST)
    assert docs.run(FIRST, refresh=True).changes == {}
    assert source.asked[-1][0] is None
    assert docs.run(FIRST).listed == 0


def test_by_the_time_of_the_event_a_page_ends_with_its_window(
    make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = make_docs(dated_by="modified")
    events = Events(events=[("a.md", "one")])
    monkeypatch.setattr(docs.platform, "_reader", lambda name: events)
    docs.run(SECOND)
    assert events.asked == [(None, docs.platform.calendar("manuals").end(SECOND))]
    assert str(events.asked[0][1]) == "2026-07-03 00:00:00+00:00"


def test_what_the_place_says_is_unchanged_is_not_read(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that cannot tell asks each time; the answer may be: as you know it."""
    docs.folder.write("a.md", "one")
    docs.folder.write("b.md", "two")
    docs.run(FIRST)
    asked: list[tuple[str, Any]] = []
    batches = FolderSource.batches

    def untold(self: FolderSource, *since: Any) -> Iterator[list[ListedObject]]:
        for batch in batches(self, *since):
            yield [ListedObject(one.key, 0, 0.0, None) for one in batch]

    def fetch(self: FolderSource, key: str, known: Known | None = None) -> Unchanged | Fetched:
        asked.append((key, known and known.etag))
        if key == "a.md":
            assert known is not None
            return Unchanged(known.modified or 0.0, "tag")
        return Fetched(b"two, changed", 9.0, "new")

    monkeypatch.setattr(FolderSource, "batches", untold)
    monkeypatch.setattr(FolderSource, "fetch", fetch)
    assert docs.run(SECOND).changes == {"updated": 1}
    assert docs.raw_keys(SECOND, 1) == ["b.md"]
    docs.run(SECOND)
    assert asked[-2:] == [("a.md", "tag"), ("b.md", "new")]


def test_dead_letters_are_measured_against_what_is_known(told: tuple[Docs, Events]) -> None:
    """A page of a feed lists what happened, and the dead letters of all pages are few of all."""
    docs, source = told
    source.events += [(f"{number}.md", f"text {number}") for number in range(9)]
    source.events += [("a.pdf", "%PDF-1.7 broken")]
    docs.run(FIRST)
    source.events += [("b.pdf", "%PDF-1.7 broken, too")]
    docs.run(SECOND)
    docs.run(THIRD)
    assert docs.outcomes(THIRD) == {}
    assert [too_many_dead(docs.page(day), 0.2) for day in (FIRST, SECOND, THIRD)] == [None] * 3
    says = "2 of 11 known documents are dead letters, over the share of 10%"
    assert [too_many_dead(docs.page(day), 0.1) for day in (SECOND, THIRD)] == [says] * 2


@pytest.mark.parametrize("access", [Access(("hr",)), Access(("staff",), ".access.yaml")])
def test_other_rules_reach_what_is_not_told_again(
    told: tuple[Docs, Events], access: Access
) -> None:
    docs, source = told
    source.events += [(".access.yaml", "'*.md': [hr]"), ("a.md", "one"), ("b.md", "two")]
    docs.run(FIRST)
    assert [*acls(docs).values()] == [None, None, None]
    limits = docs.platform.settings.limits
    listing = Listing(
        SOURCE, source, max_bytes=limits.max_bytes, catalog=docs.platform.catalog, access=access
    )
    listing.ask(since="3")
    rules_file = ["staff"] if access.file else ["hr"]
    assert acls(docs) == {".access.yaml": rules_file, "a.md": ["hr"], "b.md": ["hr"]}
    source.tells_readers = True  # then nothing else says who they are
    Listing(SOURCE, source, max_bytes=limits.max_bytes, catalog=docs.platform.catalog).ask("3")
    assert acls(docs)["a.md"] == ["hr"]
