"""Standard error as a run leaves it alone, and our own messages on it."""

import io
import logging
import os
import sys
from typing import TextIO


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
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("rag_platform")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
