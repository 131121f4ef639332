"""What was paid for once: results of expensive steps, by content and step fingerprint."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import sqlalchemy as sa

from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import memo

# Below SQLite's default limit of 32,766 variables, and a plan that PostgreSQL keeps small.
_LOOKUP = 1_000

# Of some keys those whose values the caller is to work out, because nobody else is at it: asked
# before the memo is, so that what another has let go of is found there. `set` where one works.
Claim = Callable[[Collection[bytes]], Collection[bytes]]


def memo_key(kind: str, fingerprint: str, content: bytes, tenant: str = DEFAULT_TENANT) -> bytes:
    """The 32-byte key of one result.

    Every part is prefixed with its length, so that no two different keys are one: queries and
    passages, models and prompts differ in `kind` and `fingerprint`. What one tenant paid for is
    no other's.
    """
    digest = hashlib.sha256()
    parts = [kind.encode(), fingerprint.encode(), content]
    if tenant != DEFAULT_TENANT:
        parts.append(tenant.encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


class Memo:
    """A persistent map from `memo_key` to bytes; the first value written stays."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are known."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, bytes] = {}
        with self._catalog.read() as connection:
            for start in range(0, len(wanted), _LOOKUP):
                part = wanted[start : start + _LOOKUP]
                rows = connection.execute(
                    sa.select(memo.c.key, memo.c.value).where(memo.c.key.in_(part))
                )
                found.update((bytes(key), bytes(value)) for key, value in rows)
        return found

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that have a value; cheaper than reading the values."""
        wanted = list(dict.fromkeys(keys))
        found: set[bytes] = set()
        with self._catalog.read() as connection:
            for start in range(0, len(wanted), _LOOKUP):
                part = wanted[start : start + _LOOKUP]
                rows = connection.execute(sa.select(memo.c.key).where(memo.c.key.in_(part)))
                found.update(bytes(key) for (key,) in rows)
        return found

    def put_many(self, values: Mapping[bytes, bytes]) -> None:
        """Keep the values, durable in one transaction when this returns."""
        now = time.time()
        rows = [{"key": k, "value": v, "created_at": now} for k, v in values.items()]
        with self._catalog.begin() as connection:
            self._catalog.upsert(connection, memo, rows, update=())
