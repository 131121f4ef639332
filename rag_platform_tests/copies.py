"""Copies of what is dear to make: folders of state, new collections, new Dagster instances."""

import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

from rag_platform.storage.vectors import edge

_make = edge._create
_templates = tempfile.TemporaryDirectory(prefix="templates-")


def new_collection(folder: Path, *, dimension: int, fingerprint: str) -> None:
    """What `edge._create` does, which waits for the disk at each index of a field."""
    unfinished = edge._unfinished(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(_template(dimension), unfinished, copy_function=sparse)
    recipe = {"dimension": dimension, "fingerprint": fingerprint}
    (unfinished / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    unfinished.rename(folder)


@functools.cache
def _template(dimension: int) -> Path:
    folder = Path(_templates.name, str(dimension))
    _make(folder, dimension=dimension, fingerprint="template")
    return folder


def new_instance(home: Path) -> Path:
    """A DAGSTER_HOME whose databases are there, and empty; Dagster takes a second to make them."""
    shutil.copytree(_instance(), home)
    return home


@functools.cache
def _instance() -> Path:
    import dagster as dg

    folder = Path(_templates.name, "dagster")
    folder.mkdir()
    dg.DagsterInstance.local_temp(str(folder)).dispose()
    return folder


def sparse(source: str, target: str) -> str:
    """What `shutil.copy2` does, but holes stay holes: an engine's files are little else."""
    with open(source, "rb") as read, open(target, "wb") as write:
        at, end = 0, os.fstat(read.fileno()).st_size
        write.truncate(end)
        while at < end:
            try:
                start = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError:  # a hole to the end
                break
            at = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            read.seek(start)
            write.seek(start)
            write.write(read.read(at - start))
    shutil.copystat(source, target)
    return target
