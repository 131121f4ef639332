"""Which page a document belongs to: by when it was seen, by its date, by its path."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from rag_platform.documents import windows
from rag_platform.documents.windows import UnknownWindow
from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND, THIRD, FOURTH = (f"2026-07-0{day}" for day in (1, 2, 3, 4))


def test_windows_out_of_the_calendar_are_not_asked(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    for window in ("2026-06-30", "9999-01-01", "2026-07-01-00:00", "x"):
        with pytest.raises(UnknownWindow):
            docs.ask(window)
        with pytest.raises(UnknownWindow):
            docs.platform.raw("manuals").preview(window)
    assert docs.platform.raw("manuals")._log.written() == set()


def test_seen_windows_take_what_is_new_in_them(docs: Docs) -> None:
    docs.dated("old.md", "2026-06-01T00:00:00")
    done = docs.ask(FIRST)
    assert (done.objects, done.listed, done.waiting, done.changes) == (1, 1, 0, {"inserted": 1})
    docs.dated("new.md", "2026-05-01T00:00:00")
    done = docs.ask(SECOND)
    assert (done.objects, done.listed, done.changes) == (2, 2, {"inserted": 1})
    assert (docs.raw_keys(FIRST, 1), docs.raw_keys(SECOND, 1)) == (["old.md"], ["new.md"])


def test_a_window_that_time_passed_over_is_empty(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.ask(THIRD)
    docs.folder.write("b.md", "b")
    replayed = docs.run(FIRST)
    assert (replayed.pass_no, replayed.objects, replayed.listed) == (None, 0, 0)
    page = docs.page(FIRST)
    assert (page.listed, page.outcomes, page.standing, page.sums) == (0, {}, 0, True)
    # And stays so; the file is left to a window that asks.
    assert docs.run(FIRST).pass_no is None
    assert docs.ask(THIRD).changes == {"inserted": 1}


def test_a_page_of_a_clock_that_was_fast_closes_nothing(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fast(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=2)

    calendar = docs.platform.calendar("manuals")
    today = calendar.current()
    docs.folder.write("a.md", "a")
    with monkeypatch.context() as patch:
        patch.setattr(windows, "datetime", Fast)
        ahead = calendar.current()
        assert docs.run(ahead).changes == {"inserted": 1}
    docs.folder.write("a.md", "b")
    docs.folder.write("c.md", "c")
    assert docs.run(today).changes == {"updated": 1, "inserted": 1}
    # What was before today is history as ever.
    assert docs.run(FIRST).pass_no is None
    # And the page to come takes what is new once its time has come.
    docs.folder.remove("c.md")
    with monkeypatch.context() as patch:
        patch.setattr(windows, "datetime", Fast)
        assert docs.run(ahead).changes == {"deleted": 1}
        assert docs.run(today).pass_no is None


def test_a_replay_gives_what_was_recorded(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(FIRST)
    docs.folder.write("a.md", "b")
    docs.run(SECOND)
    docs.folder.remove("a.md")
    replayed = docs.run(FIRST)
    assert (replayed.pass_no, replayed.objects, replayed.listed, replayed.changes) == (
        None,
        1,
        1,
        {},
    )
    assert docs.raw_keys(FIRST, 1) == ["a.md"]


def test_an_old_page_may_be_asked_again(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(FIRST)
    docs.folder.write("b.md", "b")
    docs.run(SECOND)
    docs.folder.write("a.md", "anew")
    docs.folder.remove("b.md")
    refreshed = docs.run(FIRST, refresh=True)
    assert (refreshed.pass_no, refreshed.changes) == (2, {"updated": 1, "deleted": 1})
    # One object, and one known document that is gone.
    assert docs.outcomes(FIRST) == {"updated": 1, "deleted": 1}
    # The newest page finds nothing left to do.
    done = docs.run(SECOND)
    assert (done.changes, done.listed) == ({}, 1)
    assert docs.outcomes(SECOND) == {"unchanged": 1}


def test_a_refreshed_empty_page_takes_what_is_there(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(SECOND)
    docs.run(FIRST)
    docs.folder.write("b.md", "b")
    assert docs.run(FIRST, refresh=True).pass_no == 2
    assert docs.outcomes(FIRST) == {"inserted": 1, "unchanged": 1}


def test_modified_waits_for_its_own_page(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="modified")
    docs.dated("first.md", "2026-07-01T23:59:59")
    docs.dated("second.md", "2026-07-02T00:00:00")
    docs.dated("third.md", "2026-07-03T12:00:00")
    docs.dated("ancient.md", "1999-01-01T00:00:00")
    done = docs.run(FIRST)
    assert (done.objects, done.listed, done.waiting) == (4, 2, 2)
    assert docs.raw_keys(FIRST, 1) == ["ancient.md", "first.md"]
    assert docs.outcomes(FIRST) == {"inserted": 2}
    done = docs.run(SECOND)
    assert (done.objects, done.listed, done.waiting) == (4, 3, 1)
    assert docs.raw_keys(SECOND, 1) == ["second.md"]
    done = docs.run(THIRD)
    assert (done.objects, done.listed, done.waiting) == (4, 4, 0)
    assert docs.outcomes(THIRD) == {"inserted": 1, "unchanged": 3}


def test_modified_late_arrivals_are_taken_at_once(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="modified")
    docs.dated("a.md", "2026-07-01T10:00:00")
    docs.run(FIRST)
    docs.run(SECOND)
    docs.dated("late.md", "2026-07-01T11:00:00")
    assert docs.run(FIRST).pass_no is None
    done = docs.run(SECOND)
    assert (done.changes, done.waiting) == ({"inserted": 1}, 0)
    assert docs.raw_keys(SECOND, done.pass_no or 0) == ["late.md"]


def test_modified_history_filed_out_of_order(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="modified")
    for day in (1, 2, 3):
        docs.dated(f"{day}.md", f"2026-07-0{day}T10:00:00")
    for window, passes, waiting in ((THIRD, ["3.md"], 2), (FIRST, ["1.md"], 1)):
        done = docs.run(window)
        assert (done.pass_no, done.waiting) == (1, waiting)
        assert docs.raw_keys(window, 1) == passes
    done = docs.run(SECOND)
    assert (done.pass_no, done.waiting) == (1, 0)
    assert docs.raw_keys(SECOND, 1) == ["2.md"]
    assert docs.outcomes(SECOND) == {"inserted": 1, "unchanged": 2}
    # Each of them is closed now, but for the last.
    assert [docs.run(window).pass_no for window in (FIRST, SECOND, THIRD)] == [None, None, 2]


def test_modified_what_waits_keeps_its_old_text(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="modified")
    docs.dated("a.md", "2026-07-01T10:00:00", "one")
    docs.run(FIRST)
    docs.dated("a.md", "2026-07-03T10:00:00", "two")
    done = docs.run(SECOND)
    assert (done.changes, done.listed, done.waiting) == ({}, 0, 1)
    done = docs.run(THIRD)
    assert done.changes == {"updated": 1}
    assert docs.clean_rows(THIRD)["a.md"]["text"] == "two"


def test_modified_in_the_future_belongs_to_today(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="modified")
    docs.dated("a.md", "2199-01-01T00:00:00")
    today = docs.platform.calendar("manuals").current()
    assert docs.ask(FIRST).waiting == 1
    assert docs.ask(today).changes == {"inserted": 1}


def test_path_dates_and_files_without_one(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="path")
    docs.folder.write("2026/07/02/a.md", "a")
    docs.folder.write("2026-02-30/b.md", "no such day: taken by the page that sees it")
    docs.folder.write("readme.md", "no date")
    docs.folder.write("2001-01-01.md", "before the calendar")
    done = docs.run(FIRST)
    assert (done.objects, done.listed, done.waiting) == (4, 3, 1)
    assert docs.raw_keys(FIRST, 1) == ["2001-01-01.md", "2026-02-30/b.md", "readme.md"]
    assert docs.run(SECOND).changes == {"inserted": 1}


def test_path_with_hours(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="path", cadence="hourly", start="2026-07-01T06:30:00")
    docs.folder.write("2026-07-01/05/early.md", "before the first window")
    docs.folder.write("2026-07-01/07/a.md", "a")
    docs.folder.write("2026-07-01T08.md", "b")
    docs.folder.write("2026-07-02.md", "midnight")
    done = docs.run("2026-07-01-06:00")
    assert (done.listed, done.waiting) == (1, 3)
    assert docs.raw_keys("2026-07-01-06:00", 1) == ["2026-07-01/05/early.md"]
    # Out of order, and the one between is skipped.
    assert docs.run("2026-07-01-08:00").changes == {"inserted": 1}
    assert docs.run("2026-07-01-07:00").changes == {"inserted": 1}
    done = docs.run("2026-07-02-00:00")
    assert (done.changes, done.waiting) == ({"inserted": 1}, 0)
    with pytest.raises(UnknownWindow):
        docs.run("2026-07-01-05:00")


def test_path_a_move_to_a_page_to_come_is_a_deletion_until_then(make_docs: MakeDocs) -> None:
    docs = make_docs(dated_by="path")
    for name in ("a", "b", "c"):
        docs.folder.write(f"2026-07-01/{name}.md", name)
    docs.run(FIRST)
    docs.folder.rename("2026-07-01/a.md", "2026-07-03/a.md")
    done = docs.run(SECOND)
    assert (done.changes, done.waiting) == ({"deleted": 1}, 1)
    assert docs.outcomes(SECOND) == {"unchanged": 2, "deleted": 1}
    done = docs.run(THIRD)
    assert done.changes == {"inserted": 1}


def test_seen_hourly(make_docs: MakeDocs) -> None:
    docs = make_docs(cadence="hourly", start="2026-07-01T06:30:00")
    docs.folder.write("a.md", "a")
    assert docs.run("2026-07-01-06:00").pass_no == 1
    docs.folder.write("b.md", "b")
    assert docs.run("2026-07-01-07:00").changes == {"inserted": 1}
    assert docs.run("2026-07-01-06:00").pass_no is None


def test_a_modification_time_out_of_the_calendar(
    make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems keep times of the year 33658."""
    from rag_platform.documents.sources.base import ListedObject
    from rag_platform.documents.sources.kinds.folder import FolderSource

    docs = make_docs(dated_by="modified")
    docs.folder.write("a.md", "a")
    batches = FolderSource.batches

    def far(self: FolderSource, *asked: Any) -> Iterator[list[ListedObject]]:
        for batch in batches(self, *asked):
            yield [ListedObject(o.key, o.size, 1e12, o.etag) for o in batch]

    monkeypatch.setattr(FolderSource, "batches", far)
    assert docs.ask(FIRST).waiting == 1
