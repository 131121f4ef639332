"""Batches in the catalog: what was prepared, what was sent, and what came of each question."""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.llm.client import Usage
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import ledger, llm_batch_items, llm_batches

_LOOKUP = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a batch: the key of its answer, its reservation and the most it may use."""

    key: bytes
    reservation: int
    call_id: str
    prompt: str
    bound: Usage

    @property
    def custom_id(self) -> str:
        """Its name within the batch."""
        return self.key.hex()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch under way; `remote_id` is None until it is known that the service has it."""

    id: str
    model: str
    remote_id: str | None
    created_at: float
    updated_at: float


class BatchRows:
    """The batches of one endpoint; each method is one transaction if it is not given one."""

    def __init__(self, catalog: Catalog, endpoint: str) -> None:
        self._catalog = catalog
        self._endpoint = endpoint

    def under_way(self) -> list[Batch]:
        """Every batch that has not ended, the oldest first."""
        wanted = (
            sa.select(llm_batches)
            .where(
                llm_batches.c.endpoint == self._endpoint,
                llm_batches.c.status.in_(["preparing", "sent"]),
            )
            .order_by(llm_batches.c.created_at)
        )
        with self._catalog.read() as connection:
            return [
                Batch(row.id, row.model, row.remote_id, row.created_at, row.updated_at)
                for row in connection.execute(wanted)
            ]

    def open_keys(self, connection: sa.Connection, keys: Collection[bytes]) -> set[bytes]:
        """Those of the keys that a batch under way is to answer."""
        found: set[bytes] = set()
        for part in _parts(list(keys)):
            rows = connection.scalars(
                sa.select(llm_batch_items.c.cache_key)
                .join(llm_batches, llm_batches.c.id == llm_batch_items.c.batch_id)
                .where(
                    llm_batches.c.endpoint == self._endpoint,
                    llm_batch_items.c.cache_key.in_(part),
                    llm_batch_items.c.status == "open",
                )
            )
            found.update(bytes(key) for key in rows)
        return found

    def open_items(self, batch_id: str) -> list[Item]:
        """The questions that nothing has come of yet."""
        wanted = sa.select(llm_batch_items).where(
            llm_batch_items.c.batch_id == batch_id, llm_batch_items.c.status == "open"
        )
        with self._catalog.read() as connection:
            return [_item(row) for row in connection.execute(wanted)]

    def write(
        self,
        connection: sa.Connection,
        *,
        batch_id: str,
        model: str,
        run_id: str,
        purpose: str,
        items: Sequence[Item],
    ) -> None:
        """A new batch and its questions, about to be sent."""
        now = time.time()
        connection.execute(
            llm_batches.insert(),
            {
                "id": batch_id,
                "endpoint": self._endpoint,
                "model": model,
                "run_id": run_id,
                "purpose": purpose,
                "status": "preparing",
                "created_at": now,
                "updated_at": now,
            },
        )
        connection.execute(llm_batch_items.insert(), [_row(batch_id, item) for item in items])

    def touch(self, batch_id: str) -> None:
        """Note that the batch is sent at this moment."""
        self._change(batch_id)

    def sent(self, batch_id: str, remote_id: str) -> None:
        """Note what the service calls the batch."""
        self._change(batch_id, status="sent", remote_id=remote_id)

    def end(self, batch_id: str, status: str) -> None:
        """The batch has `ended`, or was `abandoned`."""
        self._change(batch_id, status=status)

    def close(self, batch_id: str, item: Item, status: str) -> None:
        """What came of a question: done, failed or expired."""
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(llm_batch_items)
                .where(
                    llm_batch_items.c.batch_id == batch_id,
                    llm_batch_items.c.custom_id == item.custom_id,
                )
                .values(status=status)
            )

    def is_reserved(self, item: Item) -> bool:
        """Whether its reservation is still to be closed."""
        with self._catalog.read() as connection:
            status = connection.scalar(
                sa.select(ledger.c.status).where(ledger.c.id == item.reservation)
            )
        return status == "reserved"

    def _change(self, batch_id: str, **values: Any) -> None:
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(llm_batches)
                .where(llm_batches.c.id == batch_id)
                .values(updated_at=time.time(), **values)
            )


def _row(batch_id: str, item: Item) -> dict[str, Any]:
    request = {
        "call_id": item.call_id,
        "prompt": item.prompt,
        "input_tokens": item.bound.input_tokens,
        "output_tokens": item.bound.output_tokens,
    }
    return {
        "batch_id": batch_id,
        "custom_id": item.custom_id,
        "cache_key": item.key,
        "ledger_id": item.reservation,
        "request": json.dumps(request),
        "status": "open",
    }


def _item(row: sa.Row[Any]) -> Item:
    request = json.loads(row.request)
    bound = Usage(request["input_tokens"], request["output_tokens"])
    return Item(bytes(row.cache_key), row.ledger_id, request["call_id"], request["prompt"], bound)


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _LOOKUP):
        yield keys[start : start + _LOOKUP]
