"""What reaches a terminal."""

import io
import logging

import pytest

from rag_platform.operations.terminal import printable, show_log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ü/水.md 😀", "ü/水.md 😀"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines\ttab\r", "two\\nlines\\ttab\\r"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
    ],
)
def test_nothing_is_acted_on(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_our_log_is_harmless_and_says_where_an_error_came_from() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("rag_platform")
    before = logger.handlers, logger.level
    try:
        show_log(stream, verbose=False)
        logger.info("reading %s", "a\x1b]0;title\x07.md")
        try:
            raise RuntimeError("a\x1bb")
        except RuntimeError:
            logger.warning("left out", exc_info=True)
            logger.exception("unexpected")
    finally:
        logger.handlers, logger.level = before
    told = stream.getvalue().splitlines()
    assert told[:4] == [
        "reading a\\x1b]0;title\\x07.md",
        "left out",
        "unexpected",
        "Traceback (most recent call last):",
    ]
    assert "test_terminal.py" in told[4]
    assert told[-1] == "RuntimeError: a\\x1bb"
