"""Messages for people."""

import logging

import pytest

from rag_platform.operations.notifications import LogNotifier, Notice, Notifier, RunFailed

FAILED = RunFailed("id", "sync", "2026-07-01", "raw_docs", "disk full", "http://host/runs/id")


def test_a_line_for_a_person() -> None:
    assert FAILED.text() == (
        "sync for 2026-07-01 failed in raw_docs: disk full (http://host/runs/id)"
    )
    assert RunFailed("id", "sync", "", "", "lost", "link").text() == "sync failed: lost (link)"


def test_the_log_is_the_embedded_default(caplog: pytest.LogCaptureFixture) -> None:
    notifier: Notifier = LogNotifier()
    notifier.send(FAILED)
    assert caplog.record_tuples == [("rag_platform.notifications", logging.ERROR, FAILED.text())]


def test_a_notice_is_one_line_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    LogNotifier().send(Notice("80 % of\n the budget"))
    line = "80 % of the budget"
    assert caplog.record_tuples == [("rag_platform.notifications", logging.WARNING, line)]


def test_a_message_with_a_percent_sign_is_written_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    LogNotifier().send(RunFailed("id", "sync", "", "", "100%s of %d", "link"))
    assert caplog.messages == ["sync failed: 100%s of %d (link)"]
