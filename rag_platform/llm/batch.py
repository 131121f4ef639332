"""Answers for a backfill at half the price, through the service's Batch API, into the cache."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag_platform.errors import PlatformError
from rag_platform.llm.batch_api import BatchApi, BatchesRefused, RemoteBatch
from rag_platform.llm.batch_rows import Batch, BatchRows, Item
from rag_platform.llm.batch_sending import (
    LOCK,
    LOCK_TIMEOUT_S,
    MOST_ITEMS,
    BatchSender,
    batch_price,
)
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.client import (
    AttemptFailed,
    ChatAnswer,
    ChatClient,
    Complaint,
    Usage,
    read_answer,
)
from rag_platform.llm.completion import Ask
from rag_platform.llm.connection import Connection
from rag_platform.llm.errors import ModelUnavailable
from rag_platform.llm.gateway import Call, Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.sender import Sent, Tally
from rag_platform.storage.catalog import Catalog

logger = logging.getLogger(__name__)

_MOST_FAILED_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """How a batch is waited for, in seconds.

    It is looked at after `first_s`, then at growing intervals up to `longest_s`, until `most_s`
    after it was made: a service ends it within 24 hours. A request that was sent is in the
    service's list after `settling_s`; one that failed is tried again after `retry_s` and more.
    """

    first_s: float = 5.0
    longest_s: float = 300.0
    most_s: float = 25 * 3600.0
    settling_s: float = 60.0
    retry_s: float = 2.0


@dataclass(slots=True)
class Prefetched:
    """What became of the questions.

    `known` were in the cache before, `answered` came in a batch. `failed` go the ordinary way, and
    so do `ordinary` ones, whose answers are not kept. `deferred` have no room in the budget.
    """

    known: int = 0
    answered: int = 0
    failed: int = 0
    ordinary: int = 0
    deferred: int = 0


class Batches:
    """Asks for many answers in batches, so that the gateway then finds them in its cache.

    A batch and its questions are in the catalog, and reserved in the ledger at half the listed
    price, before anything is sent. After a kill the same questions find their batch again, by its
    name at the service where its address was not noted yet, and nothing is sent twice. The gateway
    makes of an answer what it makes of any other; its repairs and samples are asked for at once,
    at the full price. What a batch does not answer is released and goes the ordinary way.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        gateway: Gateway,
        budget: Budget,
        prices: Prices,
        cache: AnswerCache,
        catalog: Catalog,
        run_id: str,
        purpose: str,
        pace: Pace | None = None,
        most_items: int = MOST_ITEMS,
    ) -> None:
        self._gateway = gateway
        self._pace = pace or Pace()
        self._api = BatchApi(connection, first_wait_s=self._pace.retry_s)
        self._rows = BatchRows(catalog, self._api.endpoint)
        self._budget = budget
        self._prices = prices
        self._cache = cache
        self._catalog = catalog
        self._purpose = purpose
        self._client = ChatClient(connection)
        self._sender = BatchSender(
            api=self._api,
            client=self._client,
            rows=self._rows,
            budget=budget,
            prices=prices,
            catalog=catalog,
            run_id=run_id,
            purpose=purpose,
            lease_s=self._pace.most_s,
            settling_s=self._pace.settling_s,
            most_items=most_items,
        )

    def prefetch(self, asks: Iterable[Ask[Any]]) -> Prefetched:
        """Have the questions answered in batches, and wait for that.

        What the budget has no room for is sent in a next batch, once the first has shown what it
        really costs. Raises `UnknownPrice`, and `ModelUnavailable` where the service does not
        answer or a batch does not end: the next run goes on with the same batch.
        """
        figures = Prefetched()
        if self._gateway.is_extractive:
            return figures
        calls = self._calls(asks, figures)
        tried: set[bytes] = set()
        while True:
            tried |= self._take_over(calls)
            pending = self._unanswered(calls)
            left = [call for key, call in pending.items() if key not in tried]
            try:
                if not left or not self._send(left):
                    break
            except BatchesRefused as refusal:
                logger.warning("%s: %s What is left goes the ordinary way.", self._purpose, refusal)
                tried |= {call.key for call in left}
        figures.failed = len(pending.keys() & tried)
        figures.deferred = len(pending) - figures.failed
        figures.answered = len(calls) - len(pending)
        return figures

    def _calls(self, asks: Iterable[Ask[Any]], figures: Prefetched) -> dict[bytes, Call[Any]]:
        """What is to be asked, by the key that its answer will have in the cache."""
        calls: dict[bytes, Call[Any]] = {}
        for ask in asks:
            call = self._gateway.prepare(ask)
            if not call.prompt.cache_hours:
                figures.ordinary += 1
            elif self._cache.get(call.key) is not None:
                figures.known += 1
            else:
                calls[call.key] = call
        return calls

    def _unanswered(self, calls: Mapping[bytes, Call[Any]]) -> dict[bytes, Call[Any]]:
        return {key: call for key, call in calls.items() if self._cache.get(key) is None}

    def _send(self, calls: Sequence[Call[Any]]) -> bool:
        groups: defaultdict[str, list[Call[Any]]] = defaultdict(list)
        for call in calls:
            groups[self._gateway.route(call).chain[0].model].append(call)
        sent = [self._sender.send(model, group) for model, group in groups.items()]
        return any(sent)

    def _take_over(self, calls: Mapping[bytes, Call[Any]]) -> set[bytes]:
        """Wait for the batches that hold any of the calls; returns the keys that were in them.

        Those that a run left behind, all booked or long ago, are closed on the way.
        """
        tried: set[bytes] = set()
        for batch in self._rows.under_way():
            open_items = self._rows.open_items(batch.id)
            if any(item.key in calls for item in open_items):
                tried |= self._finish(batch, calls, is_patient=True)
            elif not open_items or batch.created_at + self._pace.most_s < time.time():
                try:
                    self._finish(batch, {}, is_patient=False)
                except PlatformError as error:
                    logger.warning("%s: an old batch stays open (%s)", self._purpose, error)
        return tried

    def _finish(
        self, batch: Batch, calls: Mapping[bytes, Call[Any]], *, is_patient: bool
    ) -> set[bytes]:
        """Wait for one batch and take its answers over; returns its keys, if it was sent at all."""
        remote_id = batch.remote_id or self._sender.adopted(batch)
        remote = self._ended(batch, remote_id, is_patient=is_patient) if remote_id else None
        if remote is None:
            return set()
        with self._catalog.exclusive(LOCK, timeout_s=LOCK_TIMEOUT_S):
            tried = self._ingest(batch, remote, calls)
        self._api.forget(remote)
        return tried

    def _ended(self, batch: Batch, remote_id: str, *, is_patient: bool) -> RemoteBatch | None:
        """The batch when it has ended; None where that is not waited for."""
        wait, failures = self._pace.first_s, 0
        while True:
            try:
                remote = self._api.look(remote_id)
            except ModelUnavailable:
                failures += 1
                if failures == _MOST_FAILED_LOOKS:
                    raise
            else:
                failures = 0
                if remote is None or remote.has_ended:
                    return remote or RemoteBatch(remote_id, "gone", (), None)
            if not is_patient:
                return None
            if time.time() + wait > batch.created_at + self._pace.most_s:
                raise ModelUnavailable(
                    f"{self._purpose}: batch {remote_id} at {self._api.endpoint} has not ended in "
                    f"{self._pace.most_s / 3600:.0f} h. Cancel it at the service, and run again: "
                    "what it has answered is kept."
                )
            time.sleep(wait)
            wait = min(2 * wait, self._pace.longest_s)

    def _ingest(
        self, batch: Batch, remote: RemoteBatch, calls: Mapping[bytes, Call[Any]]
    ) -> set[bytes]:
        """Book and keep the answers of a batch; returns the keys of its questions.

        Without those that are to be asked in another dialect, in a batch again.
        """
        waiting = {item.custom_id: item for item in self._rows.open_items(batch.id)}
        keys, kept = {item.key for item in waiting.values()}, 0
        dialect = self._client.dialect(batch.model)
        for line in self._lines(remote):
            if item := waiting.pop(str(line.get("custom_id")), None):
                call = calls.get(item.key)
                kept += self._take(batch, item, line, call)
                complaint = _complaint(line)
                if call and complaint:
                    again = self._client.learns(batch.model, dialect, complaint, call.request)
                    keys -= {item.key} if again else set()
        for item in waiting.values():
            # One that a completed batch does not speak of may have been billed.
            self._release(item, remote.status, is_billed=remote.status in ("completed", "gone"))
            self._rows.close(batch.id, item, "expired")
        self._rows.end(batch.id, "ended")
        told = (self._purpose, remote.id, remote.status, kept, len(keys))
        logger.info("%s: batch %s is %s, %s of %s answers kept", *told)
        return keys

    def _lines(self, remote: RemoteBatch) -> Iterator[dict[str, Any]]:
        for file in remote.files:
            try:
                yield from self._api.answers(file)
            except BatchesRefused as refusal:
                if refusal.status != 404:
                    raise
                logger.warning("%s: a file of %s is gone", self._purpose, remote.id)

    def _take(
        self, batch: Batch, item: Item, line: Mapping[str, Any], call: Call[Any] | None
    ) -> bool:
        """Book one line; whether its answer is in the cache now.

        A question that nobody asks any more is booked all the same.
        """
        response = line.get("response")
        body = response.get("body") if isinstance(response, dict) else None
        if not isinstance(response, dict) or response.get("status_code") != 200:
            self._release(item, _reason(line), is_billed=False)
            self._rows.close(batch.id, item, "failed")
            return False
        tally = Tally(item.prompt, item.call_id, attempts=1)
        answer: ChatAnswer | None = None
        try:
            answer = read_answer(json.dumps(body).encode())
            usage = answer.usage
        except AttemptFailed as failure:
            logger.info("%s: %s %s", self._purpose, batch.model, failure)
            usage = failure.usage
        self._settle(batch, item, usage or item.bound, tally)
        is_kept = answer is not None and call is not None and self._keep(call, answer, tally)
        self._rows.close(batch.id, item, "done" if is_kept else "failed")
        return is_kept

    def _keep(self, call: Call[Any], answer: ChatAnswer, tally: Tally) -> bool:
        """Make of an answer what the gateway makes of it, and put that in its cache."""
        route = self._gateway.route(call)
        try:
            completion = self._gateway.finish(
                call, route, Sent(answer, route.chain[0], None), tally
            )
        except PlatformError as error:
            logger.warning("%s", error)
            return False
        self._gateway.keep(call, completion)
        return True

    def _settle(self, batch: Batch, item: Item, usage: Usage, tally: Tally) -> None:
        price = batch_price(self._prices, batch.model, usage)
        tally.input_tokens += usage.input_tokens
        tally.output_tokens += usage.output_tokens
        tally.microusd += price
        # Not again, where a process was killed between this and closing the item.
        if self._rows.is_reserved(item):
            self._budget.settle(
                item.reservation,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                microusd=price,
            )

    def _release(self, item: Item, why: str, *, is_billed: bool) -> None:
        if self._rows.is_reserved(item):
            close = self._budget.lost if is_billed else self._budget.fail
            close(item.reservation, error=f"batch {why}")


def _complaint(line: Mapping[str, Any]) -> Complaint | None:
    """What the service says against a question; None where it took it."""
    response = line.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(status, int) or not isinstance(error, dict):
        return None
    code, param, message = (error.get(name) for name in ("code", "param", "message"))
    return Complaint(
        status,
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
        str(message),
    )


def _reason(line: Mapping[str, Any]) -> str:
    """Why a question was not answered, in a word and without content."""
    response, error = line.get("response"), line.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if isinstance(status, int):
        return f"http_{status}"
    code = error.get("code") if isinstance(error, dict) else None
    return code[:40] if isinstance(code, str) and code.isascii() else "error"
