"""Golden queries: questions whose right documents are known, in the form of the BEIR collections.

    queries.jsonl   {"_id": "1", "text": "...", "slice": "short"}    `slice` may be left out
    qrels.tsv       query-id <tab> corpus-id <tab> score, below a line of these names

A corpus id is the key of a document in its source, with its extension or without: `184` and
`184.txt` both mean the document `184.txt`. `report.pdf#page=12` means that page of it. Either file
may be gzipped, with `.gz` at the end of its name.
"""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rag_platform.errors import PlatformError
from rag_platform.storage.objects import S3Connection, display_url, explain, open_store

# Of a larger set, so many queries are taken, by their hash: always the same ones. The embedded
# engine is held while they are asked.
MOST_QUERIES = 2_000
MOST_SLICES = 50
_MOST_BYTES = 64 * 1024 * 1024
_PAGE = "#page="


class BadGolden(PlatformError):
    """A golden set cannot be read."""


@dataclass(frozen=True, slots=True)
class GoldenQuery:
    """A query with the grades, 1 and more, of its right documents; "" for no slice."""

    id: str
    text: str
    slice: str
    grades: Mapping[str, int]

    def unit(self, key: str, page: int | None) -> str:
        """What a passage of this document counts as: the page or the document that is right for the
        query, by the name that it has there; else a page where the query asks for pages."""
        by_page = page is not None and any(_PAGE in name for name in self.grades)
        places = (f"{_PAGE}{page}", "") if by_page else ("",)
        names = [f"{name}{place}" for place in places for name in (key, _bare(key))]
        return next((name for name in names if name in self.grades), names[0])


@dataclass(frozen=True)
class Golden:
    """A set of queries about the documents of one source. `digest` changes with any of them.

    `known` are all documents and pages that are right for some query.
    """

    name: str
    source: str
    queries: tuple[GoldenQuery, ...]
    digest: str
    known: frozenset[str]

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The documents that the set asks for and that are not among `keys`, sorted."""
        there = {name for key in keys for name in (key, _bare(key))}
        return sorted({name.partition(_PAGE)[0] for name in self.known} - there)


def read_golden(name: str, url: str, *, source: str, s3: S3Connection | None = None) -> Golden:
    """The golden set in a folder or below an S3 prefix. Raises `BadGolden`.

    Queries without a right document are left out: no search can do well or badly on them.
    """
    store = open_store(url, s3)
    place = f"golden set {name} ({display_url(url)})"
    grades = _grades(_read(store, "qrels.tsv", place), place)
    queries = [
        GoldenQuery(query, text, part, grades[query])
        for query, text, part in _queries(_read(store, "queries.jsonl", place), place)
        if query in grades
    ]
    if not queries:
        raise BadGolden(f"{place}: no query has a relevant document; check the ids in qrels.tsv.")
    return golden_of(name, source, queries)


def golden_of(name: str, source: str, queries: list[GoldenQuery]) -> Golden:
    """The set of these queries, at most `MOST_QUERIES`. Raises `BadGolden` for ids met twice."""
    if len({query.id for query in queries}) < len(queries):
        raise BadGolden(f"golden set {name}: a query id stands there twice; ids must differ.")
    chosen = sorted(queries, key=lambda query: hashlib.sha256(query.id.encode()).digest())
    kept = tuple(sorted(chosen[:MOST_QUERIES], key=lambda query: query.id))
    if len({query.slice for query in kept}) > MOST_SLICES:
        raise BadGolden(f"golden set {name}: more than {MOST_SLICES} slices; give queries fewer.")
    written = [[q.id, q.text, q.slice, sorted(q.grades.items())] for q in kept]
    digest = hashlib.sha256(json.dumps([source, written]).encode()).hexdigest()
    known = frozenset(document for query in kept for document in query.grades)
    return Golden(name, source, kept, digest, known)


def _bare(key: str) -> str:
    """A key without the extension of its name."""
    folder, separator, name = key.rpartition("/")
    return folder + separator + (name.rpartition(".")[0] or name)


def _read(store: Any, name: str, place: str) -> str:
    """A file of the set, plain or gzipped, as text."""
    from obstore.exceptions import BaseError

    for path in (name, f"{name}.gz"):
        try:
            found = store.get(path)
            if found.meta["size"] > _MOST_BYTES:
                raise BadGolden(f"{place}: {path} is larger than {_MOST_BYTES:,} bytes.")
            content = bytes(found.bytes())
        except FileNotFoundError:
            continue
        except (BaseError, OSError) as error:
            raise BadGolden(f"{place}: {path}: {explain(error)}") from error
        return _text(content, path, place)
    raise BadGolden(f"{place}: {name} (or {name}.gz) is not there. See docs/settings.md, `golden`.")


def _text(content: bytes, path: str, place: str) -> str:
    try:
        if path.endswith(".gz"):
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise BadGolden(f"{place}: {path} inflates to more than {_MOST_BYTES:,} bytes.")
        return content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadGolden(f"{place}: {path} is no UTF-8 text (gzipped or not).") from error


def _queries(text: str, place: str) -> Iterator[tuple[str, str, str]]:
    """Id, text and slice of each query."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{place}: queries.jsonl: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadGolden(f'{where}: not JSON. Write {{"_id": "1", "text": "..."}}.') from error
        if not isinstance(row, dict):
            raise BadGolden(f'{where}: not an object. Write {{"_id": "1", "text": "..."}}.')
        query, asked, part = row.get("_id"), row.get("text"), row.get("slice", "")
        if not (isinstance(query, str) and isinstance(asked, str) and asked.strip()):
            raise BadGolden(f"{where}: `_id` and `text` must be text, and not empty.")
        if not isinstance(part, str) or part == "all":
            raise BadGolden(f"{where}: `slice` must be text, and another word than `all`.")
        yield query, asked, part


def _grades(text: str, place: str) -> dict[str, dict[str, int]]:
    """The right documents of each query. A score of 0 or less says that a document is wrong."""
    rows = csv.reader(text.splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE)
    grades: dict[str, dict[str, int]] = {}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            query, document, score = row
            grade = int(score)
        except ValueError as error:
            raise BadGolden(
                f"{place}: qrels.tsv: line {number}: needs query-id, corpus-id and a whole "
                "number, with tabs between."
            ) from error
        if grade > 0:
            grades.setdefault(query, {})[document] = grade
    return grades
