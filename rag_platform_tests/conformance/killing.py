"""Named points of the pipeline at which a test ends it, by SIGKILL or by an exception."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import _Sink
from rag_platform.storage.vectors.base import Collection
from rag_platform.storage.vectors.edge import EdgeCollection
from rag_platform.storage.vectors.server import ServerCollection

COMMIT = "catalog.commit"
_METHODS: dict[str, list[tuple[type[Any], str]]] = {
    "memo.put_many": [(Memo, "put_many")],
    "page.write": [(_Sink, "commit")],
    "collection.present": [(Collection, "present")],
    "collection.upsert": [(EdgeCollection, "_write"), (ServerCollection, "_write")],
    "collection.delete": [(EdgeCollection, "_remove"), (ServerCollection, "_remove")],
}
POINTS = (COMMIT, *_METHODS)


class Killed(BaseException):
    """Stands for SIGKILL within a process: nothing handles it."""


class Counter:
    """How often a point was passed, and whether it is now the turn to act."""

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.passed = 0

    def is_due(self) -> bool:
        self.passed += 1
        return self.passed == self.turn


@contextlib.contextmanager
def tripped(point: str, turn: int, *, after: bool, act: Callable[[], object]) -> Iterator[Counter]:
    """Within the block, the turn-th passage of a point acts, before or after its work.

    Before the work of `catalog.commit` means: everything of the transaction done but its commit.
    """
    counter = Counter(turn)
    with pytest.MonkeyPatch.context() as patch:
        if point == COMMIT:
            patch.setattr(Catalog, "begin", _transaction(Catalog.begin, counter, after, act))
        else:
            for owner, name in _METHODS[point]:
                patch.setattr(owner, name, _method(getattr(owner, name), counter, after, act))
        yield counter


def raise_killed() -> None:
    """End the run as far as this process can."""
    raise Killed


def _transaction(
    begin: Callable[..., Any], counter: Counter, after: bool, act: Callable[[], object]
) -> Callable[..., Any]:
    @contextlib.contextmanager
    def tripping(self: Catalog) -> Iterator[Any]:
        with begin(self) as connection:
            yield connection
            due = counter.is_due()
            if due and not after:
                act()
        if due and after:
            act()

    return tripping


def _method(
    method: Callable[..., Any], counter: Counter, after: bool, act: Callable[[], object]
) -> Callable[..., Any]:
    def tripping(*args: Any, **kwargs: Any) -> Any:
        due = counter.is_due()
        if due and not after:
            act()
        result = method(*args, **kwargs)
        if due and after:
            act()
        return result

    return tripping
