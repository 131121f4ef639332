"""Files of a person's own, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_platform.errors import PlatformError


class NotSaved(PlatformError):
    """A file cannot be written."""


def save_lines(rows: list[dict[str, Any]], path: Path) -> None:
    """Write JSON lines. Raises `NotSaved`."""
    with whole(path) as place:
        place.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is written. Raises `NotSaved`."""
    try:
        number, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(number)
        place = Path(name)
        try:
            yield place
            place.chmod(0o666 & ~_umask())
            place.replace(path)
        finally:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
