"""What the JSON of events holds, and the spool that keeps them."""

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.sources.base import ListedObject, SourceUnavailable
from rag_platform.documents.sources.events import (
    Spool,
    at,
    bytes_of,
    key_of,
    key_problem,
    parse_json,
    seconds_of,
    tags_of,
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"a": [{"b": 1}, None], "c.d": 2}),
        ("a.0.b", 1),
        ("a.0", {"b": 1}),
        ("a.1.b", None),
        ("a.2", None),
        ("a.-1", None),
        ("a.x", None),
        ("a.0.b.c", None),
        ("c.d", None),
        ("x", None),
    ],
)
def test_paths(path: str, found: Any) -> None:
    assert at({"a": [{"b": 1}, None], "c.d": 2}, path) == found


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"1" * 5_000])
def test_broken_json(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|nested|decode|digits"):
        parse_json(content)


@pytest.mark.parametrize(
    ("value", "key"),
    [("a", "a"), (7, "7"), (0, "0"), (True, None), (1.5, None), (10**18, None), ([], None)],
)
def test_keys(value: Any, key: str | None) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize("key", ["", " ", "a\x00b", "a\nb", "\ud800", "ü" * 513])
def test_what_is_no_key(key: str) -> None:
    assert key_problem(key)


@pytest.mark.parametrize("key", ["a", "a b", "../x", "ü" * 512, "a/b#c?d"])
def test_what_is_a_key(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("b, a,,b", ("a", "b")),
        (["b", "a "], ("a", "b")),
        ("", ()),
        (None, ()),
        (["a", 1], ()),
        ({"a": 1}, ()),
        (5, ()),
        (["a", "\ud800"], ()),
        (["x" * 1_024], ("x" * 1_024,)),
        (["x" * 1_025], ()),
        (["a"] * 1_001, ()),
    ],
)
def test_readers_are_nobody_where_they_are_not_told(value: Any, tags: tuple[str, ...]) -> None:
    assert tags_of(value) == tags


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T02:00:01+02:00", 1.0),
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000_500, 1_700_000_000.5),
        (0.5, 0.5),
        ("yesterday", None),
        ("1969-12-31T23:59:59", -1.0),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_times(value: Any, seconds: float | None) -> None:
    assert seconds_of(value) == seconds


def test_text_that_is_none() -> None:
    assert bytes_of("ü") == b"\xc3\xbc"
    others: list[Any] = ["\ud800", 5, None, []]
    assert [bytes_of(value) for value in others] == [None] * 4


def event(key: str, modified: float, etag: str | None = "e", **more: Any) -> ListedObject:
    return ListedObject(key, 1, modified, etag, **more)


def test_what_is_kept_comes_back() -> None:
    spool = Spool()
    first = event("a", 1.5, None, failure="bad", detail="why", acl=("x", "y"))
    second = event("b", 2.0, gone=True, acl=())
    spool.put(first)
    spool.put(second, b"no document")
    spool.put(event("c", 3.0), b"bytes", media_type="text/html")
    assert list(spool.batches()) == [[first, second, event("c", 3.0)]]
    fetched = spool.read("c")
    assert fetched is not None
    assert (fetched.content, fetched.modified, fetched.etag) == (b"bytes", 3.0, "e")
    assert fetched.media_type == "text/html"
    assert (spool.read("b"), spool.read("never"), spool.bytes) == (None, None, 19)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 3)), max_size=20)
)
def test_the_last_of_the_newest_lane_counts(put: list[tuple[str, int, int]]) -> None:
    """Of each lane its last event; of the lanes the latest by time, then the higher."""
    spool = Spool()
    lanes: dict[str, dict[int, tuple[int, int, int]]] = {}
    for number, (key, lane, time) in enumerate(put):
        spool.put(event(key, time, f"{number}"), f"{number}".encode(), lane=lane)
        lanes.setdefault(key, {})[lane] = (time, lane, number)
    wanted = {key: max(of.values())[2] for key, of in lanes.items()}
    found = {one.key: one.etag for batch in spool.batches() for one in batch}
    assert found == {key: str(number) for key, number in wanted.items()}
    for key, number in wanted.items():
        fetched = spool.read(key)
        assert fetched is not None
        assert fetched.content == str(number).encode()


def test_many_events_come_in_batches_and_from_threads() -> None:
    spool = Spool()
    for number in range(2_500):
        spool.put(event(f"{number}", 1.0), json.dumps(number).encode())
    assert [len(batch) for batch in spool.batches()] == [1_000, 1_000, 500]
    wrong: list[int] = []

    def check(first: int) -> None:
        for number in range(first, 2_500, 4):
            fetched = spool.read(f"{number}")
            if fetched is None or fetched.content != str(number).encode():
                wrong.append(number)

    threads = [threading.Thread(target=check, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_full_disk_says_so() -> None:
    spool = Spool()
    spool._database.execute("pragma max_page_count = 16")
    with pytest.raises(SourceUnavailable, match=r"full.*TMPDIR"):
        spool.put(event("a", 1.0), b"x" * 1_000_000)
