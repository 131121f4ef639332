"""Cookies that nobody else can make."""

import pytest

from rag_platform.console.sessions import Sessions, key_of


def sessions(now: float = 1_000.0, **more: float) -> Sessions:
    return Sessions(b"key", hours=more.get("hours", 1), now=lambda: now)


def test_what_is_written_is_read() -> None:
    made = sessions()
    session = made.new(user="ann", said="Grüße; \u202e\nend")
    cookie = made.written(session)
    assert made.read(cookie) == session
    assert sessions(now=4_599.0).read(cookie) == session
    # It stands in a header as it is.
    assert all(33 <= ord(each) < 127 and each not in '",;\\' for each in cookie)


@pytest.mark.parametrize("cookie", [None, "", ".", "e30=.", "ü.ü", "a.b.c"])
def test_what_was_not_written_here_is_none(cookie: str | None) -> None:
    assert sessions().read(cookie) is None


def test_no_letter_of_it_can_be_changed() -> None:
    made = sessions()
    cookie = made.written(made.new(user="ann"))
    for place in range(len(cookie)):
        for letter in "Aa.=":
            if letter != cookie[place]:
                assert made.read(cookie[:place] + letter + cookie[place + 1 :]) is None


def test_it_is_over_in_time_and_does_not_begin_later() -> None:
    cookie = sessions().written(sessions().new())
    assert sessions(now=4_600.0).read(cookie) is None
    assert sessions(now=990.0).read(cookie) is None


def test_a_line_to_show_is_cut_to_what_a_browser_keeps() -> None:
    made = sessions()
    cookie = made.written(made.new(user="x" * 64, said="\u202e" * 10_000))
    assert len(cookie) < 4_000
    assert made.read(cookie) is not None


def test_ended_ones_are_forgotten_when_they_are_too_old_anyway() -> None:
    now = [1_000.0]
    made = Sessions(b"key", hours=1, now=lambda: now[0])
    for _ in range(3):
        session = made.new()
        made.end(session)
        assert made.read(made.written(session)) is None
        now[0] += 2_000.0
    assert len(made._ended) == 2


def test_a_key_comes_of_the_token() -> None:
    assert key_of("a token") == key_of("a token") != key_of("another")
    assert key_of(None) != key_of(None)
