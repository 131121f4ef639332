"""Dead letters at a glance, and word of a page that has many."""

from typing import Any

import sqlalchemy as sa

from rag_platform.operations.dead_letters import Count, overview, tell_of_many
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema import dead_letters, step_letters


def letter(catalog: Catalog, number: int, **values: Any) -> None:
    row = {
        "doc_id": f"00000000-0000-4000-8000-{number:012}",
        "source": "manuals",
        "key": f"{number}.pdf",
        "window": "2026-07-01",
        "pass_no": 1,
        "seq": number,
        "stage": "parsed_docs",
        "reason": "corrupt",
        "detail": "broken",
        "fingerprint": "f",
        "attempts": 1,
        "first_at": float(number),
        "last_at": 9e9,
    }
    with catalog.begin() as connection:
        connection.execute(sa.insert(dead_letters).values(row | values))


def test_overview_counts_documents_and_records(shared: Catalog) -> None:
    assert (overview(shared).total, overview(shared).oldest) == (0, None)
    for number, reason in enumerate(["corrupt", "encrypted", "corrupt"], start=5):
        letter(shared, number, reason=reason)
    step = {
        "source": "rides",
        "item": "day.csv#4",
        "stage": "raw_rides",
        "key": "day.csv#4",
        "window": "2026-07-02",
        "reason": "no_time",
        "detail": "-",
        "fingerprint": "f",
        "attempts": 3,
        "first_at": 2.0,
        "last_at": 2.0,
    }
    with shared.begin() as connection:
        connection.execute(sa.insert(step_letters).values(step))
    found = overview(shared, newest=3)
    assert found.counts == (
        Count("manuals", "parsed_docs", "corrupt", 2, 5.0),
        Count("manuals", "parsed_docs", "encrypted", 1, 6.0),
        Count("rides", "raw_rides", "no_time", 1, 2.0),
    )
    assert (found.total, found.oldest) == (4, 2.0)
    assert [row.key for row in found.newest] == ["7.pdf", "6.pdf", "5.pdf"]


def test_people_are_told_of_many_once_and_again_at_ten_times_as_many(catalog: Catalog) -> None:
    outbox = Outbox(catalog)

    def told() -> list[str]:
        return tell_of_many(catalog, outbox, "manuals", ["2026-07-01", "2026-07-02"])

    for number in range(19):
        letter(catalog, number)
    assert told() == []
    for number, reason in enumerate("aabcd", start=19):
        letter(catalog, number, reason=reason)
    assert told() == [
        "manuals 2026-07-01: 24 dead letters\ncorrupt 19, a 2, b 1, and others\n"
        "See: rag-platform dead-letters --source manuals"
    ]
    for number in range(24, 199):
        letter(catalog, number)
    assert told() == []
    letter(catalog, 199)
    assert [text.splitlines()[0] for text in told()] == ["manuals 2026-07-01: 200 dead letters"]
    assert len(outbox.pending()) == 2
