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


def test_our_log_is_harmless_too() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("rag_platform")
    before = logger.handlers, logger.level
    try:
        show_log(stream, verbose=False)
        logger.info("reading %s", "a\x1b]0;title\x07.md")
    finally:
        logger.handlers, logger.level = before
    assert stream.getvalue() == "reading a\\x1b]0;title\\x07.md\n"
