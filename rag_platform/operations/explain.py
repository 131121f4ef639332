"""Errors in one line: what, where, and what to do."""

import errno

from rag_platform.errors import PlatformError

_DISK_FULL = ("database or disk is full", "No space left on device")
_DISK_ADVICE = "The disk is full: free some space, then run again; what was written is whole"
_LONGEST = 600


def explain(error: BaseException) -> list[str]:
    """The problem in a line; settings may have several."""
    if isinstance(error, PlatformError):
        return [first_line(line) for line in str(error).splitlines() if line.strip()]
    if is_disk_full(error):
        where = getattr(error, "filename", None)
        return [f"{where}: {_DISK_ADVICE}." if where else f"{_DISK_ADVICE}."]
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename}: {error.strerror}. Check the path and this user's rights."]
    if "readonly database" in str(error):
        return [
            "a database cannot be written. Check this user's rights in RAG_PLATFORM_HOME and "
            "DAGSTER_HOME."
        ]
    return [
        f"unexpected {type(error).__name__}: {first_line(str(error))} "
        "(rag-platform --debug shows where)"
    ]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that no space is left."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(found) for words in _DISK_FULL):
            return True
        found = found.__cause__ or found.__context__
    return False


def first_line(text: str) -> str:
    """The first line of a text that may hold a statement or a traceback after it."""
    lines = text.strip().splitlines()
    line = " ".join(lines[0].split())[:_LONGEST] if lines else "no message"
    known = any(words in text for words in _DISK_FULL)
    return f"{line}. {_DISK_ADVICE}" if known and _DISK_ADVICE not in line else line
