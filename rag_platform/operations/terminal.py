"""Standard error as a run leaves it alone, and our own messages on it."""

import io
import logging
import os
import re
import sys
from typing import TextIO

# What a terminal acts on instead of showing it: control characters, and those that turn the
# direction of writing.
_ACTED_ON = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text from outside, such as a document's address, as one harmless piece of a line."""
    return _ACTED_ON.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape(text: str) -> str:
    """A text from outside for rich: neither its markup nor control characters."""
    from rich.markup import escape

    return escape(printable(text))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A line; after an error that nobody expected, where it came from."""
        lines = [record.getMessage()]
        if record.exc_info and record.levelno >= logging.ERROR:
            lines += self.formatException(record.exc_info).splitlines()
        return "\n".join(map(printable, lines))


def error_stream() -> TextIO:
    """Standard error by a descriptor of its own: a run sends descriptor 2 into its log files."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (io.UnsupportedOperation, OSError, ValueError):
        return sys.stderr
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", buffering=1)


def show_log(stream: TextIO, *, verbose: bool) -> None:
    """Our own messages, such as who waits for which lock; more of them with `verbose`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("rag_platform")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
