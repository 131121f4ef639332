"""Fitted objects of scikit-learn in files of skops: no code is loaded but of types that are named.

skops names the members of its zip file by addresses, so one object gives other bytes each time.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def dump(fitted: Any, path: Path) -> None:
    """Write a fitted object, compressed."""
    import skops.io

    skops.io.dump(fitted, path, compression=zipfile.ZIP_DEFLATED)


def load(path: Path, trusted: Sequence[str]) -> Any:
    """A fitted object. Raises an error of skops for types besides its own and the trusted ones."""
    import skops.io

    return skops.io.load(path, trusted=list(trusted))
