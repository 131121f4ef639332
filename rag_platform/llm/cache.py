"""Answers that were paid for, for a time: by a digest over everything that decides them."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import llm_cache

_PURGE_EVERY_S = 3600.0


def cache_key(**parts: Any) -> bytes:
    """A digest of 32 bytes; other parts have another, since JSON tells them apart."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


class AnswerCache:
    """A persistent map from `cache_key` to JSON with a time to live.

    Calls of this process that ask the same at the same time wait for one of them (`flight`). Two
    processes may still both pay for a question that neither has an answer to: a lock between them
    for as long as a model thinks would cost more than the rare second answer.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._flights: dict[bytes, tuple[threading.Lock, int]] = {}
        self._purged = 0.0

    def get(self, key: bytes) -> Any:
        """The value, or None where there is none that still counts."""
        wanted = sa.select(llm_cache.c.value).where(
            llm_cache.c.key == key, llm_cache.c.expires_at > time.time()
        )
        with self._catalog.read() as connection:
            value = connection.scalar(wanted)
        return None if value is None else json.loads(value)

    def put(self, key: bytes, value: Any, *, hours: float) -> None:
        """Keep a value for so long; expired ones are removed once an hour on the way."""
        now = time.time()
        row = {
            "key": key,
            "value": json.dumps(value, separators=(",", ":")),
            "created_at": now,
            "expires_at": now + hours * 3600,
        }
        with self._catalog.begin() as connection:
            if now - self._purged > _PURGE_EVERY_S:
                self._purged = now
                connection.execute(llm_cache.delete().where(llm_cache.c.expires_at <= now))
            self._catalog.upsert(connection, llm_cache, [row])

    @contextlib.contextmanager
    def flight(self, key: bytes) -> Iterator[None]:
        """One caller of this process at a time for a key; look for its answer in here again."""
        with self._lock:
            mine, callers = self._flights.get(key, (threading.Lock(), 0))
            self._flights[key] = mine, callers + 1
        try:
            with mine:
                yield
        finally:
            with self._lock:
                mine, callers = self._flights[key]
                if callers == 1:
                    del self._flights[key]
                else:
                    self._flights[key] = mine, callers - 1
