"""Batches on their way to the service: reserved and written down first, and never sent twice."""

import json
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from rag_platform.errors import PlatformError
from rag_platform.llm.batch_api import BatchApi, BatchesRefused, RemoteBatch
from rag_platform.llm.batch_rows import Batch, BatchRows, Item
from rag_platform.llm.budget import Attempt, Budget, BudgetExceeded
from rag_platform.llm.client import ChatClient, Usage
from rag_platform.llm.errors import ModelUnavailable
from rag_platform.llm.gateway import Call
from rag_platform.llm.prices import Prices
from rag_platform.storage.catalog import Catalog

logger = logging.getLogger(__name__)

# One process at a time sends, and takes answers over.
LOCK = "llm_batches"
LOCK_TIMEOUT_S = 3600.0

# A service takes 50,000 requests and 200 MB a file; smaller ones end sooner.
MOST_ITEMS = 1_000
_MOST_BYTES = 100_000_000
_CREATIONS = 3


class BatchSender:
    """Puts questions for one model into batches and sends them.

    `lease_s` is the longest that a batch takes, `settling_s` the time after which one that was
    sent is in the service's list.
    """

    def __init__(
        self,
        *,
        api: BatchApi,
        client: ChatClient,
        rows: BatchRows,
        budget: Budget,
        prices: Prices,
        catalog: Catalog,
        run_id: str,
        purpose: str,
        lease_s: float,
        settling_s: float,
        most_items: int,
    ) -> None:
        self._api = api
        self._client = client
        self._rows = rows
        self._budget = budget
        self._prices = prices
        self._catalog = catalog
        self._run_id = run_id
        self._purpose = purpose
        self._lease_s = lease_s
        self._settling_s = settling_s
        self._most_items = most_items

    def send(self, model: str, calls: Iterable[Call[Any]]) -> bool:
        """Send what the budget has room for; False when nothing is under way.

        Raises `UnknownPrice` and `BatchesRefused` with nothing reserved, and `ModelUnavailable`
        where it is not known whether a batch was taken.
        """
        is_under_way = False
        for part in self._parts(model, calls):
            with self._catalog.exclusive(LOCK, timeout_s=LOCK_TIMEOUT_S):
                is_under_way |= self._send_part(model, part)
        return is_under_way

    def adopted(self, batch: Batch) -> str | None:
        """The address of a batch whose sender died; None, and released, if it was never sent."""
        # Its sender holds the lock for as long as it lives.
        with self._catalog.exclusive(LOCK, timeout_s=LOCK_TIMEOUT_S):
            now = [each for each in self._rows.under_way() if each.id == batch.id]
            if not now or now[0].remote_id:
                return now[0].remote_id if now else None
            remote = self._api.find(batch.id, since=batch.created_at)
            if remote is None:
                unsettled = now[0].updated_at + self._settling_s - time.time()
                if unsettled > 0:
                    time.sleep(unsettled)
                    remote = self._api.find(batch.id, since=batch.created_at)
            if remote is None:
                self._abandon(batch.id)
                return None
            self._rows.sent(batch.id, remote.id)
            return remote.id

    def _parts(self, model: str, calls: Iterable[Call[Any]]) -> Iterator[list[Call[Any]]]:
        """The calls of each batch."""
        part: list[Call[Any]] = []
        size = 0
        for call in calls:
            length = len(self._line(model, call))
            if part and (len(part) == self._most_items or size + length > _MOST_BYTES):
                yield part
                part, size = [], 0
            part.append(call)
            size += length
        if part:
            yield part

    def _send_part(self, model: str, calls: Sequence[Call[Any]]) -> bool:
        """Send one batch; False when none of it fits in the budget, nor is under way already."""
        name = uuid.uuid4().hex
        items, others = self._reserve(name, model, calls)
        if not items:
            return others
        keys = {item.key for item in items}
        try:
            file = self._api.upload(self._line(model, call) for call in calls if call.key in keys)
        except PlatformError:
            self._abandon(name)  # without its file it cannot be there
            raise
        self._rows.touch(name)
        try:
            remote = self._create(name, file)
        except BatchesRefused:
            self._abandon(name)
            raise
        self._rows.sent(name, remote.id)
        logger.info("%s: %s with %s questions is under way", self._purpose, remote.id, len(items))
        return True

    def _line(self, model: str, call: Call[Any]) -> bytes:
        line = {
            "custom_id": call.key.hex(),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": self._client.body(model, call.request),
        }
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _reserve(
        self, name: str, model: str, calls: Sequence[Call[Any]]
    ) -> tuple[list[Item], bool]:
        """The questions that are to be sent, written down; and whether others are under way."""
        attempts = {call.key: self._attempt(model, call) for call in calls}
        items, refused = [], None
        with self._budget.transaction() as connection:
            under_way = self._rows.open_keys(connection, attempts)
            for call in calls:
                if call.key in under_way:
                    continue
                attempt = attempts[call.key]
                try:
                    reservation = self._budget.reserve_in(connection, attempt)
                except BudgetExceeded:
                    refused = refused or attempt
                    continue
                bound = Usage(call.request.input_bound, call.request.max_tokens)
                assert attempt.call_id
                items.append(Item(call.key, reservation, attempt.call_id, call.prompt.label, bound))
            if items:
                self._rows.write(
                    connection,
                    batch_id=name,
                    model=model,
                    run_id=self._run_id,
                    purpose=self._purpose,
                    items=items,
                )
        if refused:
            # Told to people as every refusal is, now that the others are written down.
            with suppress(BudgetExceeded), self._budget.transaction() as connection:
                self._budget.check_in(connection, refused)
        return items, bool(under_way)

    def _attempt(self, model: str, call: Call[Any]) -> Attempt:
        bound = Usage(call.request.input_bound, call.request.max_tokens)
        return Attempt(
            endpoint=self._api.endpoint,
            model=model,
            run_id=self._run_id,
            purpose=self._purpose,
            tokens=bound.input_tokens + bound.output_tokens,
            microusd=batch_price(self._prices, model, bound),
            call_id=uuid.uuid4().hex,
            prompt=call.prompt.label,
            lease_s=self._lease_s,
        )

    def _create(self, name: str, file: str) -> RemoteBatch:
        """The batch at the service; looked for before it is sent once more."""
        for _ in range(_CREATIONS):
            try:
                return self._api.create(name, file)
            except ModelUnavailable as error:
                failure = error
            time.sleep(self._settling_s)
            if found := self._api.find(name, since=time.time()):
                return found
        raise failure

    def _abandon(self, name: str) -> None:
        """Release what was reserved for a batch that was never sent."""
        for item in self._rows.open_items(name):
            if self._rows.is_reserved(item):
                self._budget.fail(item.reservation, error="never sent")
            self._rows.close(name, item, "failed")
        self._rows.end(name, "abandoned")


def batch_price(prices: Prices, model: str, usage: Usage) -> int:
    """Micro-dollars of an answer in a batch: half of what it costs at once, rounded up.

    That is what OpenAI bills, and services that take its batches. Raises `UnknownPrice`.
    """
    full = prices.microusd(
        model, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens
    )
    return -(-full // 2)
