"""Requests and receipts, the newest first."""

import uuid

import sqlalchemy as sa

from rag_platform.erasure.receipts import newest
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import erasures


def test_the_newest_come_first_a_page_at_a_time(shared: Catalog) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    with shared.begin() as connection:
        for doc_id, source in ((first, "notes"), (second, "wiki"), (first, "notes")):
            connection.execute(
                sa.insert(erasures).values(
                    source=source, doc_id=doc_id, requested_at=1.0, requested_by="ann", reason="r"
                )
            )
    numbers = [one.id for one in newest(shared)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 3
    assert [one.id for one in newest(shared, most=2)] == numbers[:2]
    assert [one.id for one in newest(shared, before=numbers[1])] == numbers[2:]
    assert [one.doc_id for one in newest(shared, doc_id=first)] == [first, first]
    assert [one.doc_id for one in newest(shared, sources=["wiki"])] == [second]
    assert newest(shared, sources=[]) == []
