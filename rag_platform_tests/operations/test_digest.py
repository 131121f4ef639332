"""The week in one message, its figures counted by hand."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.operations.digest import Week, digest
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import dead_letters, reviews, step_letters
from rag_platform.storage.schema_models import deliveries, ledger

WEEK = Week(date(2026, 11, 23))
ID = "00000000-0000-4000-8000-00000000000"


def at(day: str, hour: int = 12) -> float:
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC).timestamp()


def text(catalog: Catalog, failed: dict[str, int] | None = None, *models: str) -> list[str]:
    return digest(catalog, WEEK, failed_runs=failed or {}, model_lines=lambda: models).split("\n")


def add(catalog: Catalog, table: sa.Table, **values: Any) -> None:
    """A row; what is not given is of no interest."""
    plain: dict[type, Any] = {str: "x", int: 1, float: 0.0, dict: {}, bool: False}
    for column in table.columns:
        if column.name not in values and not column.nullable and column.autoincrement is not True:
            values[column.name] = plain.get(column.type.python_type)
    with catalog.begin() as connection:
        connection.execute(sa.insert(table).values(**values))


def spend(catalog: Catalog, day: str, model: str, microusd: int) -> None:
    values = {"day": day, "model": model, "settled_microusd": microusd, "status": "settled"}
    add(catalog, ledger, at=at(day), **values)


def test_the_week_is_the_seven_days_before() -> None:
    assert str(WEEK) == "2026-11-16 to 2026-11-22"
    assert WEEK.key == "digest-2026-11-23"
    assert WEEK.seconds == (at("2026-11-16", 0), at("2026-11-23", 0))


def test_a_quiet_week(shared: Catalog) -> None:
    assert text(shared) == [
        "Week of 2026-11-16 to 2026-11-22: 0 runs failed, 0 reviews open, $0.00 for models",
        "Failed runs: 0",
        "Models:",
        "  none",
        "Cost of language models: $0.00 (the week before: $0.00)",
        "Reviews: 0 open, 0 of them overdue",
        "Dead letters: 0, 0 of them new",
    ]


def test_a_week_with_everything(shared: Catalog) -> None:
    for day, model, microusd in [
        ("2026-11-16", "small", 100_000),
        ("2026-11-22", "small", 150_000),
        ("2026-11-20", "large", 2_000_000),
        ("2026-11-23", "large", 9_000_000),
        ("2026-11-15", "large", 30_000),
        ("2026-11-09", "large", 40_000),
        ("2026-11-08", "large", 7_000_000),
    ]:
        spend(shared, day, model, microusd)
    for number, (status, due) in enumerate(
        [("open", "2026-11-22"), ("open", "2026-11-25"), ("approved", "2026-11-20")]
    ):
        add(shared, reviews, doc_id=f"{ID}{number}", status=status, due_at=at(due))
    for number, (source, reason, first) in enumerate(
        [
            ("manuals", "encrypted", "2026-11-17"),
            ("manuals", "corrupt", "2026-11-01"),
            ("faq", "pii", "2026-11-22"),
        ]
    ):
        letter = {"source": source, "reason": reason, "first_at": at(first)}
        add(shared, dead_letters, doc_id=f"{ID}{number}", **letter)
    for number, first in enumerate(["2026-11-18", "2026-11-19", "2026-11-23"]):
        letter = {"source": "rides", "reason": "no_time", "first_at": at(first)}
        add(shared, step_letters, item=str(number), **letter)
    for number, (channel, day, status, error) in enumerate(
        [
            ("slack", "2026-11-17", "given_up", "invalid_auth"),
            ("slack", "2026-11-18", "given_up", "channel_not_found"),
            ("mail", "2026-11-18", "sent", None),
            ("mail", "2026-11-15", "given_up", "550"),
        ]
    ):
        note = {"channel": channel, "at": at(day), "status": status, "error": error}
        add(shared, deliveries, notification_id=number, **note)
    lines = text(shared, {"a": 1, "b": 3, "c": 1}, "intent: version 2,\n accuracy 0.93", "ner: -")
    assert lines == [
        "Week of 2026-11-16 to 2026-11-22: 5 runs failed, 2 reviews open, $2.25 for models",
        "Failed runs: 5",
        "  b: 3",
        "  a: 1",
        "  c: 1",
        "Models:",
        "  intent: version 2, accuracy 0.93",
        "  ner: -",
        "Cost of language models: $2.25 (the week before: $0.07)",
        "  large: $2.00",
        "  small: $0.25",
        "Reviews: 2 open, 1 of them overdue",
        "Dead letters: 6, 4 of them new, the oldest since 2026-11-01",
        "  rides: 2 new (no_time 2)",
        "  faq: 1 new (pii 1)",
        "  manuals: 1 new (encrypted 1)",
        "Messages given up: 2",
        "  slack: 2, channel_not_found",
    ]


def test_long_lists_are_cut(catalog: Catalog) -> None:
    lines = text(catalog, {f"job{number:02}": 1 for number in range(13)})
    assert lines[2] == "  job00: 1"
    assert lines[12] == "  and 3 more"


def test_the_most_frequent_reasons_are_named(catalog: Catalog) -> None:
    for number, reason in enumerate("ccaabbd"):
        letter = {"source": "s", "reason": reason, "first_at": at("2026-11-17")}
        add(catalog, dead_letters, doc_id=f"{ID}{number}", **letter)
    assert text(catalog)[-1] == "  s: 7 new (a 2, b 2, c 2, others)"


def test_an_error_of_the_models_is_not_hidden(catalog: Catalog) -> None:
    def broken() -> list[str]:
        raise ConnectionError("MLflow is away")

    with pytest.raises(ConnectionError):
        digest(catalog, WEEK, failed_runs={}, model_lines=broken)
