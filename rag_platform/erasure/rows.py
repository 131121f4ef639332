"""Documents in the tables of the catalog."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rag_platform.erasure.subjects import Subject
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    enrichments,
    index_documents,
    listing,
    near_bands,
    near_documents,
    near_texts,
    reviews,
    safety_findings,
    search_log,
    step_letters,
)

# Tables whose rows about a document go, and the column that names it.
_WHOLE: tuple[tuple[sa.Table, sa.Column[Any]], ...] = (
    (documents, documents.c.doc_id),
    (dead_letters, dead_letters.c.doc_id),
    (step_letters, step_letters.c.item),
    (enrichments, enrichments.c.doc_id),
    (reviews, reviews.c.doc_id),
    (safety_findings, safety_findings.c.doc_id),
    (near_documents, near_documents.c.doc_id),
    (index_documents, index_documents.c.doc_id),
)
# What a row of the change log says of a document's content.
_CONTENT = ("sha256", "size", "modified")
_BATCH = 500


def count(
    catalog: Catalog, source: str, subject: Subject, text_hashes: Collection[str], *, redact: bool
) -> dict[str, int]:
    """How many rows each table has of a document, of its texts, and with `redact` of its address.

    `text_hashes` are those that no other document has.
    """
    with catalog.read() as connection:
        found = {
            table.name: _number(connection, table, column == subject.doc_id)
            for table, column in _WHOLE
        }
        found["near_documents: canonical"] = _number(
            connection, near_documents, near_documents.c.canonical == subject.doc_id
        )
        found["listing"] = _number(connection, listing, _listed(source, subject))
        for table in (near_texts, near_bands):
            found[table.name] = sum(
                _number(connection, table, _of_texts(table, source, batch))
                for batch in _batches(sorted(text_hashes))
            )
        found["changes: content"] = _number(connection, changes, _told(subject))
        found["search_log"] = _number(connection, search_log, _found(subject))
        if redact:
            found["changes: address"] = _number(connection, changes, _named(source, subject))
    return found


def remove(
    connection: sa.Connection,
    source: str,
    subject: Subject,
    text_hashes: Collection[str],
    *,
    heirs: Mapping[str, Subject],
    redact: bool,
) -> None:
    """Remove a document from every table.

    Its rows in the change log stay, without what they say of its content: pages are counted by
    them. Decisions on a text that another document has, by hash in `heirs`, become that one's.
    """
    for text_hash, heir in heirs.items():
        connection.execute(
            sa.update(reviews)
            .where(reviews.c.doc_id == subject.doc_id, reviews.c.text_hash == text_hash)
            .values(doc_id=heir.doc_id, key=heir.key, title=heir.key)
        )
    for table, column in _WHOLE:
        connection.execute(sa.delete(table).where(column == subject.doc_id))
    connection.execute(sa.delete(listing).where(_listed(source, subject)))
    for table in (near_texts, near_bands):
        for batch in _batches(sorted(text_hashes)):
            connection.execute(sa.delete(table).where(_of_texts(table, source, batch)))
    connection.execute(sa.update(changes).where(_told(subject)).values(dict.fromkeys(_CONTENT)))
    _forget_searches(connection, subject)
    if redact:
        _redact(connection, source, subject)


def redacted(source: str, key: str) -> str:
    """What stands for an address that is not kept: who knows the address can tell that it was
    this one, nobody else can read it."""
    address = f"{source}\n{key}".encode()
    return f"erased:{hashlib.sha256(address).hexdigest()[:32]}"


def _redact(connection: sa.Connection, source: str, subject: Subject) -> None:
    name = redacted(source, subject.key)
    for column in (changes.c.key, changes.c.moved_from):
        connection.execute(
            sa.update(changes)
            .where(changes.c.source == source, column == subject.key)
            .values({column.name: name})
        )


def _forget_searches(connection: sa.Connection, subject: Subject) -> None:
    rows = connection.execute(
        sa.select(search_log.c.id, search_log.c.results).where(_found(subject))
    ).all()
    for row in rows:
        left = [doc_id for doc_id in row.results if doc_id != subject.doc_id]
        connection.execute(
            sa.update(search_log).where(search_log.c.id == row.id).values(results=left)
        )


def _number(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    wanted = sa.select(sa.func.count()).select_from(table).where(condition)
    return int(connection.scalar(wanted) or 0)


def _listed(source: str, subject: Subject) -> sa.ColumnElement[bool]:
    return sa.and_(listing.c.source == source, listing.c.key == subject.key)


def _told(subject: Subject) -> sa.ColumnElement[bool]:
    known = (changes.c[name].is_not(None) for name in _CONTENT)
    return sa.and_(changes.c.doc_id == subject.doc_id, sa.or_(*known))


def _named(source: str, subject: Subject) -> sa.ColumnElement[bool]:
    named = sa.or_(changes.c.key == subject.key, changes.c.moved_from == subject.key)
    return sa.and_(changes.c.source == source, named)


def _found(subject: Subject) -> sa.ColumnElement[bool]:
    return sa.cast(search_log.c.results, sa.Text).like(f"%{subject.doc_id}%")


def _of_texts(table: sa.Table, source: str, hashes: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.source == source, table.c.text_hash.in_(hashes))


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
