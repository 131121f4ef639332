"""Files of a person's own, written whole or not at all."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class NotSaved(PlatformError):
    """A file cannot be written."""


def save_lines(rows: list[dict[str, Any]], path: Path) -> None:
    """Write JSON lines. Raises `NotSaved`."""
    with whole(path) as place:
        place.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def keep_bad(bad: Sequence["DataclassInstance"], path: Path, *, what: str) -> str | None:
    """Write records that are no `what`, by their reasons; without any no file is left.

    Tells how many there are and why. Raises `NotSaved`.
    """
    if not bad:
        path.unlink(missing_ok=True)
        return None
    rows = [asdict(row) for row in bad]
    save_lines(rows, path)
    reasons = Counter(row["reason"] for row in rows).most_common(3)
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    return f"{len(rows):,} records are no {what} ({told}), see {path}"


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
