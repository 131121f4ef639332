"""Any order of decisions, each perhaps killed, and then said again or not, against a stack."""

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.training.errors import NoSuchModel
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry, Version
from rag_platform_tests.catalogs import new_catalog

VERSIONS = ("1", "2", "3", "4")
_names = (f"model_{number}" for number in itertools.count())


class Killed(BaseException):
    """Stands for SIGKILL within a process: nothing handles it."""


class Fuse:
    """Ends the process, so to say, before the n-th step that changes something."""

    def __init__(self) -> None:
        self.left = 0

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class MemoryRegistry:
    """Aliases and tags of versions that are all there and whole."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.pointers: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {number: {} for number in VERSIONS}

    def aliases(self, model: str) -> dict[str, str]:
        return dict(self.pointers)

    def set_alias(self, model: str, alias: str, number: str) -> None:
        self.fuse.burn()
        self.pointers[alias] = number

    def delete_alias(self, model: str, alias: str) -> None:
        self.fuse.burn()
        self.pointers.pop(alias, None)

    def tag_version(self, model: str, number: str, key: str, value: str) -> None:
        self.fuse.burn()
        self.tags[number][key] = value

    def version(self, model: str, number: str) -> Version:
        return Version(model, number, f"run {number}", dict(self.tags[number]))

    registered = version

    def folder(self, version: Version) -> Path:
        return Path()

    def version_url(self, version: Version) -> None:
        return None


class Fused(Catalog):
    """A catalog whose commits may be the end."""

    fuse: Fuse

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with super().begin() as connection:
            yield connection
            self.fuse.burn()


class Expected:
    """What should be: those that serve, one on top of the other, and the challenger."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.challenger: str | None = None
        self.share = 0
        self.entered: set[str] = set()

    def state(self) -> tuple[str | None, str | None, int | None]:
        """The champion, the challenger and its share."""
        champion = self.served[-1] if self.served else None
        return champion, self.challenger, self.share if self.challenger else None

    def enter(self, version: str) -> bool:
        if version not in (*self.served[-1:], self.challenger) and version not in self.entered:
            if self.served:
                self.challenger, self.share = version, 0
            else:
                self.served.append(version)
            self.entered.add(version)
        return True

    def step(self, share: int) -> bool:
        self.share = share
        return self.challenger is not None

    def promote(self, version: str | None) -> bool:
        version = version or self.challenger
        if version is None:
            return False
        if self.served[-1:] != [version]:
            self.served.append(version)
            self.challenger = None
        self.entered.add(version)
        return True

    def rollback(self) -> bool:
        if self.challenger is not None and self.share > 0:
            self.challenger = None
            return True
        if len(self.served) < 2:
            return False
        self.served.pop()
        self.challenger = None
        return True

    def withdraw(self) -> bool:
        was_there, self.challenger = self.challenger is not None, None
        return was_there


_version = st.sampled_from(VERSIONS)
_decision = st.one_of(
    st.tuples(st.just("enter"), _version),
    st.tuples(st.just("step"), st.sampled_from([5, 25, 50])),
    st.tuples(st.just("promote"), st.none() | _version),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("withdraw")),
)


@pytest.fixture
def fused(tmp_path: Path) -> Iterator[Fused]:
    catalog = Fused(new_catalog(tmp_path / "catalog.db"), lock_folder=tmp_path)
    catalog.fuse = Fuse()
    yield catalog
    catalog.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(_decision, st.integers(0, 6), st.booleans()), min_size=3, max_size=14))
def test_there_is_always_one_champion_and_the_right_one(
    fused: Fused, script: list[tuple[tuple[Any, ...], int, bool]]
) -> None:
    model, fuse, expected = next(_names), fused.fuse, Expected()
    registry = MemoryRegistry(fuse)
    promotions = Promotions(fused, cast("ModelRegistry", registry), Outbox(fused))
    for number, ((action, *args), turn, again) in enumerate(script):
        before = copy.deepcopy(expected)
        is_possible = getattr(expected, action)(*args)

        def call(action: str = action, args: list[Any] = args, number: int = number) -> Any:
            method = getattr(promotions, action)
            return method(model, *args, actor="ann", reason=f"decision {number}")

        fuse.left = turn
        try:
            call()
        except Killed:
            champions = (before.state()[0], expected.state()[0])
            assert registry.pointers.get("champion") in champions
            fuse.left = 0
            if again:
                call()
            else:
                promotions.settle(model)
                if _state(promotions, model) == before.state():
                    expected = before
        except NoSuchModel:
            assert not is_possible
            expected = before
        fuse.left = 0
        champion, challenger, _ = state = _state(promotions, model)
        assert state == expected.state()
        aliases = {"champion": champion, "challenger": challenger}
        assert registry.pointers == {name: at for name, at in aliases.items() if at}
        rows = [row for row in promotions.history(model) if row.reason == f"decision {number}"]
        assert len(rows) <= 1


def _state(promotions: Promotions, model: str) -> tuple[str | None, str | None, int | None]:
    champion, rollout = promotions.champion(model), promotions.rollout(model)
    tried = (rollout.challenger, rollout.share) if rollout else (None, None)
    return champion.number if champion else None, *tried
