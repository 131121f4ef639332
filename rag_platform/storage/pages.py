"""Stage outputs: one immutable Parquet object per (stage, window, pass), in the object store.

Written and read as a stream of record batches, so that memory does not grow with the page.
"""

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    import pyarrow as pa

# A record batch is closed at whichever comes first.
BATCH_BYTES = 4_000_000
BATCH_ROWS = 2_000
# Rows come in its order, which `find` makes use of.
_ORDER = "seq"
# Where the footer of a part keeps the digest of what stands before it.
_CONTENT = b"rag_platform.content"


@dataclass(frozen=True, slots=True)
class PartKey:
    """Address of one stage's output for one pass of a page.

    `scope` is the source, or source and index. `fingerprint` stands for the step that computed
    it and for its input: where either has changed, there is no such part yet and it is computed.
    """

    scope: tuple[str, ...]
    stage: str
    window: str
    pass_no: int
    fingerprint: str

    @property
    def folder(self) -> str:
        """The folder of the page: every pass and every fingerprint of it."""
        return "/".join(("pages", *self.scope, self.stage, self.window)) + "/"

    @property
    def path(self) -> str:
        """The object's path in the store; made of settings' names and window keys only."""
        return f"{self.folder}{self.pass_no:06d}-{self.fingerprint[:16]}.parquet"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive rows of a pass's part: those from `start` up to `stop` of a row group."""

    window: str
    pass_no: int
    group: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start


class PageStore:
    """Reads and writes parts."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._versions: dict[str, tuple[str | None, str]] = {}

    def version(self, key: PartKey) -> str | None:
        """A digest of the part's content; None when it was never written to its end.

        Of the content, not of the object's times: a storage that was copied or restored from a
        backup has the same parts.
        """
        import pyarrow.parquet as pq

        try:
            meta = self._store.head(key.path)
        except FileNotFoundError:
            return None
        known = self._versions.get(key.path)
        if known is None or known[0] != meta["e_tag"]:
            with ObjectReader(self._store, key.path) as raw:
                footer = pq.ParquetFile(raw, pre_buffer=False).metadata.metadata or {}
            if _CONTENT not in footer:
                return None
            known = self._versions[key.path] = (meta["e_tag"], footer[_CONTENT].decode())
        return known[1]

    def newest(self, key: PartKey) -> PartKey | None:
        """The part of the same pass that is stored, whatever its fingerprint; None without any."""
        prefix = f"{key.folder}{key.pass_no:06d}-"
        found = [
            meta
            for batch in self._store.list(prefix=key.folder)
            for meta in batch
            if meta["path"].startswith(prefix)
        ]
        if not found:
            return None
        path = max(found, key=lambda meta: meta["last_modified"])["path"]
        return replace(key, fingerprint=path[len(prefix) :].removesuffix(".parquet"))

    def writer(self, key: PartKey, schema: "pa.Schema") -> "PartWriter":
        """A context that appends rows and makes the part visible, whole, when it ends well."""
        return PartWriter(self._store, key, schema)

    def read(
        self,
        key: PartKey,
        *,
        columns: list[str] | None = None,
        rows: int = BATCH_ROWS,
        only: Stretch | None = None,
    ) -> "Iterator[pa.RecordBatch]":
        """The part's batches, in the order they were written, or those of `only` some rows.

        A stretch that ends behind the part's end is cut there. Raises `PartGone`.
        """
        import pyarrow.parquet as pq

        with ObjectReader(self._store, key.path) as raw:
            file = pq.ParquetFile(raw, pre_buffer=False)
            for group in range(file.num_row_groups):
                if only is not None and only.group != group:
                    continue
                batches = file.iter_batches(
                    batch_size=rows,
                    row_groups=[group],
                    columns=columns,
                    use_threads=False,
                )
                yield from batches if only is None else _cut(batches, only.start, only.stop)

    def stretches(self, key: PartKey, rows: int) -> Iterator[Stretch]:
        """The whole part in stretches of at most `rows` rows. Raises `PartGone`."""
        import pyarrow.parquet as pq

        with ObjectReader(self._store, key.path) as raw:
            meta = pq.ParquetFile(raw, pre_buffer=False).metadata
        for group in range(meta.num_row_groups):
            size = meta.row_group(group).num_rows
            for start in range(0, size, rows):
                yield Stretch(key.window, key.pass_no, group, start, min(start + rows, size))

    def find(
        self,
        key: PartKey,
        column: str,
        values: Collection[Any],
        *,
        columns: list[str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The rows whose `column` has one of some values, as dicts of `columns` or of all.

        Of a row group without one nothing but that column is read; by `seq` not even that, as a
        part says from where to where it goes in each. Raises `PartGone`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        with ObjectReader(self._store, key.path) as raw:
            file = pq.ParquetFile(raw, pre_buffer=False)
            place = file.schema.names.index(column)
            for group in range(file.num_row_groups):
                bounds = file.metadata.row_group(group).column(place).statistics
                if bounds and not any(bounds.min <= value <= bounds.max for value in values):
                    continue  # and nothing was read of it
                held = file.read_row_group(group, columns=[column], use_threads=False)[column]
                wanted = pc.is_in(held, pa.array(list(values), held.type))
                if pc.any(wanted).as_py():
                    rows = file.read_row_group(group, columns=columns, use_threads=False)
                    yield from rows.filter(wanted).to_pylist()

    def retire(self, key: PartKey) -> None:
        """Remove outputs of the same pass by earlier fingerprints of the step."""
        prefix = f"{key.folder}{key.pass_no:06d}-"
        stale = [
            meta["path"]
            for batch in self._store.list(prefix=key.folder)
            for meta in batch
            if meta["path"].startswith(prefix) and meta["path"] != key.path
        ]
        if stale:
            self._store.delete(stale)


def _cut(batches: "Iterable[pa.RecordBatch]", start: int, stop: int) -> "Iterator[pa.RecordBatch]":
    """The rows from `start` up to `stop` of some batches that follow each other."""
    before = 0
    for batch in batches:
        first, last = max(start - before, 0), min(stop - before, batch.num_rows)
        if first < last:
            yield batch.slice(first, last - first)
        before += batch.num_rows
        if before >= stop:
            return


class PartGone(PlatformError):
    """A part is not there, or not any more."""

    transient = True


class PartWriter:
    """Collects rows into record batches and streams them into one Parquet object."""

    def __init__(self, store: Any, key: PartKey, schema: "pa.Schema") -> None:
        self._store = store
        self._key = key
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self.rows = 0

    def __enter__(self) -> "PartWriter":
        import pyarrow.parquet as pq

        self._sink = _Sink(self._store, self._key.path)
        self._parquet = pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=False,
            write_statistics=[_ORDER] if _ORDER in self._schema.names else False,
        )
        return self

    def add(self, row: dict[str, Any], *, size: int) -> None:
        """Append one row of about `size` bytes."""
        self._rows.append(row)
        self._bytes += size
        self.rows += 1
        if self._bytes >= BATCH_BYTES or len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            columns = [pa.array([r[f.name] for r in self._rows], f.type) for f in self._schema]
            self._parquet.write_batch(pa.record_batch(columns, schema=self._schema))
        self._rows, self._bytes = [], 0

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
            self._parquet.add_key_value_metadata({_CONTENT: self._sink.digest()})
        self._parquet.close()
        if kind is None:
            self._sink.commit()


class _Sink(io.RawIOBase):
    """An object that appears in the store only when it is committed."""

    def __init__(self, store: Any, path: str) -> None:
        import obstore

        self._writer = obstore.open_writer(store, path)
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._digest.update(content)
        return self._writer.write(content)

    def digest(self) -> str:
        """SHA-256 of what was written so far, hexadecimal."""
        return self._digest.hexdigest()

    def commit(self) -> None:
        self._writer.close()


class ObjectReader(io.RawIOBase):
    """Random access to an object; obstore's reader lacks parts of Python's file protocol."""

    def __init__(self, store: Any, path: str) -> None:
        import obstore

        try:
            self._reader = obstore.open_reader(store, path)
        except FileNotFoundError as error:
            raise PartGone(
                f"{path}: not in the storage. Another run over the same window may have replaced "
                "it; run again from raw_docs."
            ) from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(None if size is None or size < 0 else size)
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()
