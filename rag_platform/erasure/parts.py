"""Documents in the stored pages: finding their rows, and writing the parts anew without them.

A part's name stands for its input, so a part that changes gives another name to all that was made
of it. The whole chain of a pass is therefore written aside first and then put in place from its
end: until the first part of it is replaced the old chain stands, from then on the new one.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from rag_platform.storage.pages import ObjectReader, PageStore, PartKey

_ROWS = 500
_PIECE = 8_000_000
_SUFFIX = ".parquet"


class Stage(Protocol):
    """What a source's parts are made by."""

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where its output for one pass is kept; None before its input is there."""


class StoredParts:
    """All parts of one source, of every stage, index version and pass, those left over included."""

    def __init__(
        self,
        source: str,
        objects: Any,
        pages: PageStore,
        *,
        stages: Callable[[PageStore], Sequence[Stage]],
    ) -> None:
        """`stages` gives those that stand on each other, over some pages: first the one that
        parses, each before those that read it."""
        self._source = source
        self._objects = objects
        self._pages = pages
        self._stages = stages

    def holding(self, keys: Collection[str]) -> Iterator[tuple[PartKey, Counter[str]]]:
        """The parts that have rows of documents, and how many of each."""
        wanted = set(keys)
        for part in self._parts():
            counts: Counter[str] = Counter()
            for batch in self._pages.read(part, columns=["key"], rows=50_000):
                counts.update(key for key in batch["key"].to_pylist() if key in wanted)
            if counts:
                yield part, counts

    def rows(self, part: PartKey, keys: Collection[str]) -> Iterator[dict[str, Any]]:
        """The rows of documents in a part."""
        for rows in self._batches(part):
            yield from (row for row in rows if row["key"] in keys)

    def remove(self, keys: Collection[str]) -> None:
        """Write every part anew that has rows of documents."""
        stages = self._stages(self._pages)
        for part, _ in list(self.holding(keys)):
            if part.path == _path(stages[0].part(part.window, part.pass_no)):
                self._switch(part.window, part.pass_no, keys)
        # What the source gave, and what stands for itself: left over, or of other settings.
        for part, _ in list(self.holding(keys)):
            if self._is_left_over(part, stages):
                self._objects.delete([part.path])
            else:
                self._copy(part, self._pages, part, keys)

    def _parts(self) -> Iterator[PartKey]:
        for batch in self._objects.list(prefix=f"pages/{self._source}/"):
            for meta in batch:
                if meta["path"].endswith(_SUFFIX):
                    yield part_of(meta["path"])

    def _switch(self, window: str, pass_no: int, keys: Collection[str]) -> None:
        """From the chain of a pass to the same without some documents."""
        import obstore

        with tempfile.TemporaryDirectory(prefix="rag_platform-") as folder:
            aside = obstore.store.LocalStore(folder)
            pages = PageStore(aside)
            made: list[PartKey] = []
            for stage, other in zip(self._stages(self._pages), self._stages(pages), strict=True):
                old = stage.part(window, pass_no)
                if old is None or self._pages.version(old) is None:
                    continue
                new = other.part(window, pass_no)
                if new is not None:
                    self._copy(old, pages, new, keys)
                    made.append(new)
            for part in reversed(made):
                self._put(part, aside)
        for part in made:
            self._pages.retire(part)

    def _put(self, part: PartKey, aside: Any) -> None:
        """Bring a part that was written aside to its place, whole."""
        import obstore

        target = obstore.open_writer(self._objects, part.path)
        with ObjectReader(aside, part.path) as written:
            while piece := written.read(_PIECE):
                target.write(piece)
        target.close()  # only now it is there

    def _is_left_over(self, part: PartKey, stages: Sequence[Stage]) -> bool:
        """Whether another part of the same stage and pass is the one that counts."""
        now = (stage.part(part.window, part.pass_no) for stage in stages)
        same = (p for p in now if p and (p.scope, p.stage) == (part.scope, part.stage))
        return any(p.path != part.path and self._pages.version(p) is not None for p in same)

    def _copy(
        self, part: PartKey, pages: PageStore, new: PartKey, without: Collection[str]
    ) -> None:
        with pages.writer(new, self._schema(part)) as writer:
            for rows in self._batches(part):
                for row in rows:
                    if row["key"] not in without:
                        writer.add(row, size=_size(row))

    def _batches(self, part: PartKey) -> Iterator[list[dict[str, Any]]]:
        for batch in self._pages.read(part, rows=_ROWS):
            yield batch.to_pylist()

    def _schema(self, part: PartKey) -> Any:
        import pyarrow.parquet as pq

        with ObjectReader(self._objects, part.path) as raw:
            return pq.ParquetFile(raw, pre_buffer=False).schema_arrow.remove_metadata()


def part_of(path: str) -> PartKey:
    """The part at a path of the store."""
    *scope, stage, window, file = path.removeprefix("pages/").split("/")
    number, _, fingerprint = file.removesuffix(_SUFFIX).partition("-")
    return PartKey(tuple(scope), stage, window, int(number), fingerprint)


def place_of(part: PartKey) -> str:
    """What a receipt calls the stage of a part."""
    return " ".join((*part.scope[1:], part.stage))


def _path(part: PartKey | None) -> str | None:
    return part.path if part else None


def _size(row: dict[str, Any]) -> int:
    return 200 + sum(len(value) for value in row.values() if isinstance(value, str | bytes))
