"""Every error becomes a line that says what, where and what to do."""

import errno
import sqlite3

import pytest
import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.operations.explain import explain, first_line
from rag_platform.settings import SettingsError

FULL = "The disk is full: free some space, then run again; what was written is whole."


def disk_full_in_sqlite() -> BaseException:
    try:
        raise sa.exc.OperationalError(
            "insert into memo", {}, sqlite3.OperationalError("database or disk is full")
        )
    except sa.exc.OperationalError as error:
        return error


def wrapped(error: BaseException) -> BaseException:
    try:
        try:
            raise error
        except BaseException as inner:
            raise RuntimeError("step failed") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (PlatformError("memo: gone. Bring it back."), ["memo: gone. Bring it back."]),
        (SettingsError("a.yaml:1: one", "a.yaml:2: two"), ["a.yaml:1: one", "a.yaml:2: two"]),
        (OSError(errno.ENOSPC, "No space left on device"), [FULL]),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"), [f"/data/x: {FULL}"]),
        (disk_full_in_sqlite(), [FULL]),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), [FULL]),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            ["/data/x: Permission denied. Check the path and this user's rights."],
        ),
        (
            KeyError("page"),
            ["unexpected KeyError: 'page' (rag-platform --debug shows where)"],
        ),
        (
            ValueError("bad\n[SQL: insert secret]"),
            ["unexpected ValueError: bad (rag-platform --debug shows where)"],
        ),
    ],
)
def test_an_error_is_told_in_lines(error: BaseException, lines: list[str]) -> None:
    assert explain(error) == lines


def test_the_first_line_of_a_long_message() -> None:
    assert first_line("\n  disk   gone \nTraceback") == "disk gone"
    assert first_line("") == "no message"
    assert first_line("x" * 5000) == "x" * 600
    told = first_line("(sqlite3.OperationalError) database or disk is full\n[SQL: insert]")
    assert told == (
        "(sqlite3.OperationalError) database or disk is full. The disk is full: free some space, "
        "then run again; what was written is whole"
    )
