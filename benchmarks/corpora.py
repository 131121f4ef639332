"""Real documentation trees and their daily edits, unpacked from `.tar.zst` archives.

A corpus folder holds `base_<date>.tar.zst` (the tree at the end of that day) and
`deltas/<date>.tar.zst` (`manifest.json` with the day's changes, `files/<path>` with new content).
"""

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

WINDOW_BYTES = 2**27  # the archives are written with a long window (zstd --long=27)


@contextmanager
def open_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """The members of a `.tar.zst`, as a stream: read them in order, once."""
    import zstandard  # not in our own environment

    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    with (
        path.open("rb") as raw,
        decompressor.stream_reader(raw) as plain,
        tarfile.open(fileobj=plain, mode="r|") as archive,
    ):
        yield archive


def unpack_base(corpus: Path, folder: Path) -> int:
    """Replace `folder` by the base tree of `corpus`; returns the number of documents."""
    bases = sorted(corpus.glob("base_*.tar.zst"))
    if len(bases) != 1:
        raise FileNotFoundError(f"{corpus}: expected one base_<date>.tar.zst, found {len(bases)}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_archive(bases[0]) as archive:
        archive.extractall(folder, filter="data")
    return sum(1 for _ in folder.rglob("*.md"))


def days(corpus: Path) -> list[str]:
    """The days with changes, oldest first."""
    return sorted(path.name.removesuffix(".tar.zst") for path in corpus.glob("deltas/*.tar.zst"))


def apply_day(corpus: Path, day: str, folder: Path) -> dict[str, int]:
    """Bring `folder` to the end of `day`; returns how many documents were added, modified, ...

    Raises ValueError when a file does not have the hash that the manifest promises.
    """
    root = folder.resolve()
    changes: list[dict[str, str]] = []
    contents: dict[str, bytes] = {}
    with open_archive(corpus / "deltas" / f"{day}.tar.zst") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is None:
                continue
            if member.name.removeprefix("./") == "manifest.json":
                changes = json.load(stream)["changes"]
            else:
                contents[member.name.removeprefix("./").removeprefix("files/")] = stream.read()
    counts: dict[str, int] = {}
    for change in changes:
        name, status = change["path"], change["status"]
        target = _inside(root, name)
        counts[status] = counts.get(status, 0) + 1
        if status == "D":
            target.unlink(missing_ok=True)
            continue
        if hashlib.sha256(contents[name]).hexdigest() != change["sha256"]:
            raise ValueError(f"{day}: {name} does not have the hash of the manifest")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[name])
    return counts


def _inside(root: Path, name: str) -> Path:
    target = (root / PurePosixPath(name)).resolve()
    if not target.is_relative_to(root):
        raise ValueError(f"{name} lies outside of the corpus")
    return target
