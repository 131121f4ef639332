"""Packages on this machine's disk, by the hash of their manifest."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rag_platform.training.packaging import UnusablePackage, verify

# Those that were not used for longest are removed.
_KEPT = 40


class Packages:
    """A folder of packages that were downloaded and checked; they are checked at every use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, sha256: str, fetch: Callable[[Path], Path], *, about: str) -> Path:
        """The package with a manifest of this hash: from the disk, else as it is fetched.

        `fetch` puts it below a folder and returns where. Raises `UnusablePackage` for one that was
        changed.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise UnusablePackage(f"{about}: has no hash of its package.")
        kept = self._folder / sha256
        if kept.is_dir():
            try:
                verify(kept, sha256)
            except UnusablePackage:
                shutil.rmtree(kept)
            else:
                os.utime(kept)
                return kept
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self._folder) as folder:
            found = fetch(Path(folder))
            verify(found, sha256, about=about)
            try:
                found.rename(kept)
            except OSError:
                if not kept.is_dir():  # else another process was faster
                    raise
        self._prune()
        return kept

    def _prune(self) -> None:
        kept = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)
