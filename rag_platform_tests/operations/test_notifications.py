"""Messages for people: what a failed run says, the log, and errors without secrets."""

import logging

import pytest

from rag_platform.operations.notifications import (
    ChannelRefused,
    LogChannel,
    RunFailed,
    error_line,
)
from rag_platform.storage.outbox import Message

FAILED = RunFailed("id", "sync", "2026-07-01", "raw_docs", "disk full", "http://host/runs/id")


def message(text: str, key: str = "key") -> Message:
    return Message(1, key, 1_800_000_000.0, text)


def test_a_failed_run_says_what_why_and_where() -> None:
    assert FAILED.key == "run-failed-id"
    assert FAILED.text() == (
        "sync for 2026-07-01 failed in raw_docs\ndisk full\nhttp://host/runs/id"
    )
    assert RunFailed("id", "sync", "", "", "lost", "link").text() == "sync failed\nlost\nlink"


def test_the_log_takes_a_failed_run_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    LogChannel().send(message(FAILED.text(), FAILED.key))
    line = "sync for 2026-07-01 failed in raw_docs: disk full; http://host/runs/id"
    assert caplog.record_tuples == [("rag_platform.notifications", logging.ERROR, line)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("80 % of the budget", "80 % of the budget"),
        ("100%s of %d", "100%s of %d"),
        ("title\n one \n\n two", "title: one; two"),
        # A document's name cannot write lines of its own, nor turn the terminal's colours.
        ("a\rb\x1b[31mc\u202e", "a\\rb\\x1b[31mc\\u202e"),
    ],
)
def test_the_log_takes_all_else_as_one_line(
    text: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    LogChannel().send(message(text))
    assert caplog.record_tuples == [("rag_platform.notifications", logging.WARNING, line)]


def test_errors_are_one_line_without_secrets() -> None:
    secrets = ("token", "token-long", "")
    assert error_line(ChannelRefused("a token-long,\n a token"), secrets) == "a ***, a ***"
    assert error_line(ValueError("http://token/"), secrets) == (
        "unexpected ValueError: http://***/"
    )
    assert len(error_line(ChannelRefused("x" * 1000))) == 400
