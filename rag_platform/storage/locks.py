"""A lock that one process holds at a time, and that the kernel frees when the process dies."""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rag_platform.errors import PlatformError

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_REPORT_EVERY_S = 15.0


class LockTimeout(PlatformError):
    """Another process or thread held the lock for longer than we were told to wait."""

    transient = True


class LockUnavailable(PlatformError):
    """The lock file cannot be made or locked, whoever holds it."""


@contextlib.contextmanager
def exclusive(path: Path, *, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block.

    Waits at most `timeout_s` seconds (0 asks once) and logs whom it waits for. Excludes other
    processes and other threads of this one alike; it is not re-entrant. The file stays behind
    when the lock is released: removing it would let two holders in. Raises `LockTimeout`, or
    `LockUnavailable` where the file cannot be made or its filesystem has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each holder opens the file anew: flock belongs to the opening, so threads exclude
        # each other too, and the kernel releases it with the process, however that ends.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unavailable(path, purpose, error) from error
    try:
        _acquire(handle, path, timeout_s=timeout_s, purpose=purpose)
        try:
            _write_holder(handle, path, purpose)
            yield
        finally:
            # Said aloud, since a child forked meanwhile shares this opening of the file.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path, *, timeout_s: float, purpose: str) -> None:
    started = time.monotonic()
    next_report = started
    while not _try_lock(handle, path, purpose):
        now = time.monotonic()
        waited = now - started
        if waited >= timeout_s:
            raise LockTimeout(
                f"{purpose}: {path} is {_holder(path)}; gave up after {waited:.1f} s. "
                "Wait until that ends, stop it, or raise `lock_timeout_s`."
            )
        if now >= next_report:
            logger.info("%s: waiting for %s, %s", purpose, path, _holder(path))
            next_report = now + _REPORT_EVERY_S
        time.sleep(min(_POLL_S, timeout_s - waited))


def _try_lock(handle: int, path: Path, purpose: str) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _unavailable(path, purpose, error) from error
    return True


def _write_holder(handle: int, path: Path, purpose: str) -> None:
    holder = {
        "pid": os.getpid(),
        "purpose": purpose,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
    except OSError as error:
        raise _unavailable(path, purpose, error) from error


def _holder(path: Path) -> str:
    """Who holds the lock, as far as the file tells; it may be caught between two holders."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"held by pid {holder['pid']} since {holder['since']} ({holder['purpose']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "held by another process"


def _unavailable(path: Path, purpose: str, error: OSError) -> LockUnavailable:
    return LockUnavailable(
        f"{purpose}: {path} cannot be locked ({error.strerror}). "
        "Check that its folder is writable, has space, and is on a filesystem with locks."
    )
