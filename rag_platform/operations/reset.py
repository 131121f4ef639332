"""Throwing the state away: everything below RAG_PLATFORM_HOME, if nobody uses it."""

import contextlib
import shutil
from pathlib import Path

from rag_platform.errors import PlatformError
from rag_platform.storage.locks import exclusive

# What the platform puts into its state folder. Anything else there is somebody's own.
_OURS = frozenset(
    {
        "catalog.db",
        "catalog.db-shm",
        "catalog.db-wal",
        "dagster",
        "demo",
        "locks",
        "mlflow.db",
        "models",
        "storage",
        "vectors",
    }
)


class ResetRefused(PlatformError):
    """The folder holds what is not the platform's; nothing was removed."""


def removable(home: Path) -> list[str]:
    """What `remove` would remove, by name; empty where there is no state. Raises ResetRefused."""
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise ResetRefused(f"{home}: not a folder of its own; nothing removed. Remove it by hand.")
    if not home.exists():
        return []
    found = sorted(entry.name for entry in home.iterdir())
    foreign = [name for name in found if name not in _OURS]
    if foreign:
        shown = ", ".join(foreign[:5])
        raise ResetRefused(
            f"{home}: does not look like a state folder of rag_platform, it holds {shown}; "
            "nothing removed. Check RAG_PLATFORM_HOME, or move that away."
        )
    return found


def remove(home: Path) -> None:
    """Remove the state folder. Raises `ResetRefused`, and `LockTimeout` while a run uses it."""
    names = removable(home)
    with contextlib.ExitStack() as held:
        for lock in [*home.glob("locks/*.lock"), *home.glob("vectors/*.lock")]:
            held.enter_context(exclusive(lock, timeout_s=0, purpose="reset"))
        # The catalog last: until it is gone a reset that was cut short is seen and can go on.
        for name in sorted(names, key=lambda name: name.startswith("catalog.db")):
            path = home / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    home.rmdir()
