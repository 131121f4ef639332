"""Who serves: exactly one champion, whatever is killed, and a ledger that says how it came."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema_models import rollouts
from rag_platform.training import registry as registry_module
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable
from rag_platform.training.packaging import UnusablePackage
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry
from rag_platform_tests.training.put import Put, own
from rag_platform_tests.training.test_registry import tamper
from rag_platform_tests.training.tiny import NAME

FORKS = multiprocessing.get_context("fork")
BY: dict[str, Any] = {"actor": "ann", "reason": "because"}


def enter(promotions: Promotions, version: str, **given: Any) -> str:
    return promotions.enter(NAME, version, **{"actor": "training", "reason": "passed", **given})


def actions(promotions: Promotions) -> list[tuple[str, str, str | None]]:
    """What happened, without the registrations."""
    rows = promotions.history(NAME)
    return [(r.action, r.version, r.champion) for r in rows if r.action != "registered"]


@pytest.fixture
def three(put: Put) -> list[str]:
    return [put(threshold).number for threshold in (0.1, 0.2, 0.3)]


@pytest.fixture
def outbox(catalog: Catalog) -> Outbox:
    return Outbox(catalog)


def test_the_first_version_serves_and_the_next_is_tried(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    assert enter(promotions, "1", run_id="run", facts={"n": 1}) == "champion"
    assert registry.aliases(NAME) == {"champion": "1"}
    assert promotions.rollout(NAME) is None
    assert enter(promotions, "2") == "challenger"
    assert registry.aliases(NAME) == {"champion": "1", "challenger": "2"}
    rollout = promotions.rollout(NAME)
    assert rollout is not None
    assert (rollout.challenger, rollout.share, rollout.units, rollout.counted_day) == (
        "2",
        0,
        0,
        None,
    )
    champion, challenger = promotions.champion(NAME), promotions.challenger(NAME)
    assert champion is not None
    assert challenger is not None
    assert (champion.number, challenger.number) == ("1", "2")
    assert actions(promotions) == [("promoted", "1", "1"), ("challenger", "2", "1")]
    row = promotions.history(NAME)[-2]
    assert (row.actor, row.run_id, row.reason, row.facts) == ("training", "run", "passed", {"n": 1})
    assert json.loads(json.dumps(row.as_json()))["facts"] == {"n": 1}


def test_a_version_enters_once(promotions: Promotions, three: list[str]) -> None:
    assert enter(promotions, "1") == enter(promotions, "1") == "champion"
    assert enter(promotions, "2") == enter(promotions, "2") == "challenger"
    assert enter(promotions, "3") == "challenger"
    assert actions(promotions)[1:] == [
        ("challenger", "2", "1"),
        ("withdrawn", "2", "1"),
        ("challenger", "3", "1"),
    ]
    assert enter(promotions, "2") == "retired"
    promotions.promote(NAME, **BY)
    assert enter(promotions, "1") == "retired"
    assert enter(promotions, "3") == "champion"
    assert actions(promotions)[4:] == [("promoted", "3", "3")]


def test_a_challenger_goes_its_way_to_champion(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    enter(promotions, "1")
    enter(promotions, "2")
    for day, units in (("2026-11-01", 30), ("2026-11-02", 40), ("2026-11-02", 40)):
        counted = promotions.count(NAME, "2", day=day, units=units)
    assert counted is not None
    assert counted.units == 70
    step = promotions.step(NAME, 25, version="2", **BY)
    assert (step.action, step.share, step.champion) == ("step", 25, "1")
    assert promotions.step(NAME, 25, version="2", **BY) == step
    late = promotions.count(NAME, "2", day="2026-11-01", units=5)
    assert late is not None
    assert (late.share, late.units) == (25, 0)
    assert promotions.count(NAME, "3", day="2026-11-03", units=5) is None
    row = promotions.promote(NAME, **BY)
    assert (row.action, row.version) == ("promoted", "2")
    assert promotions.promote(NAME, **BY) == promotions.promote(NAME, "2", **BY) == row
    assert registry.aliases(NAME) == {"champion": "2"}
    assert promotions.rollout(NAME) is None
    assert promotions.count(NAME, "2", day="2026-11-03", units=5) is None


def test_a_version_by_number_takes_the_place_of_a_challenger(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    for number in ("1", "2"):
        enter(promotions, number)
    promotions.promote(NAME, "3", **BY)
    assert registry.aliases(NAME) == {"champion": "3"}
    assert actions(promotions)[2:] == [("withdrawn", "2", "1"), ("promoted", "3", "3")]


def test_rolling_back_walks_through_those_that_served(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    for number in three:
        promotions.promote(NAME, number, **BY)
    assert promotions.rollback(NAME, actor="ann", reason="one").version == "2"
    assert promotions.rollback(NAME, actor="ann", reason="one").version == "2"
    promotions.promote(NAME, "3", **BY)
    assert promotions.rollback(NAME, actor="ann", reason="two").version == "2"
    row = promotions.rollback(NAME, actor="ann", reason="three")
    assert (row.action, row.version, row.champion) == ("rolled_back", "1", "1")
    assert registry.aliases(NAME) == {"champion": "1"}
    with pytest.raises(NoSuchModel, match="none served before version 1"):
        promotions.rollback(NAME, actor="ann", reason="four")
    assert registry.aliases(NAME) == {"champion": "1"}


def test_rolling_back_a_challenger_that_answers_leaves_the_champion(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    promotions.promote(NAME, "1", **BY)
    promotions.promote(NAME, "2", **BY)
    enter(promotions, "3")
    promotions.step(NAME, 5, **BY)
    row = promotions.rollback(NAME, actor="ann", reason="odd")
    assert (row.action, row.version, row.champion) == ("withdrawn", "3", "2")
    assert promotions.rollback(NAME, actor="ann", reason="odd") == row
    assert registry.aliases(NAME) == {"champion": "2"}
    assert promotions.rollback(NAME, actor="ann", reason="still odd").version == "1"


def test_rolling_back_takes_a_challenger_in_shadow_with_it(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    promotions.promote(NAME, "1", **BY)
    promotions.promote(NAME, "2", **BY)
    enter(promotions, "3")
    assert promotions.rollback(NAME, actor="ann", reason="odd").version == "1"
    assert registry.aliases(NAME) == {"champion": "1"}
    assert actions(promotions)[3:] == [("withdrawn", "3", "2"), ("rolled_back", "1", "1")]


def test_what_cannot_be_done_changes_nothing(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: promotions.promote(NAME, **BY),
        lambda: promotions.promote(NAME, "9", **BY),
        lambda: promotions.rollback(NAME, **BY),
        lambda: promotions.withdraw(NAME, **BY),
        lambda: promotions.step(NAME, 5, **BY),
        lambda: enter(promotions, "9"),
    ]
    for call in calls:
        with pytest.raises(NoSuchModel):
            call()
    enter(promotions, "1")
    enter(promotions, "2")
    for call in (
        lambda: promotions.step(NAME, 5, version="1", **BY),
        lambda: promotions.withdraw(NAME, version="1", **BY),
    ):
        with pytest.raises(NoSuchModel, match="version 1 is not the challenger, but 2 is"):
            call()
    assert registry.aliases(NAME) == {"champion": "1", "challenger": "2"}
    assert len(actions(promotions)) == 2


def test_a_changed_package_never_serves(
    registry: ModelRegistry, promotions: Promotions, put: Put
) -> None:
    good, bad = put(0.1), put(0.2)
    enter(promotions, good.number)
    tamper(registry, bad.run_id)
    for call in (
        lambda: enter(promotions, bad.number),
        lambda: promotions.promote(NAME, bad.number, **BY),
    ):
        with pytest.raises(UnusablePackage):
            call()
    assert registry.aliases(NAME) == {"champion": good.number}


def test_people_are_told_once_of_what_matters(
    promotions: Promotions, three: list[str], outbox: Outbox
) -> None:
    verdicts = [{"told": "accuracy 0.93 [0.92, 0.94], at least 0.85"}]
    enter(promotions, "1", facts={"verdicts": verdicts})
    enter(promotions, "1", facts={"verdicts": verdicts})
    enter(promotions, "2")
    promotions.step(NAME, 5, **BY)
    promotions.withdraw(NAME, **BY)
    promotions.promote(NAME, "3", actor="ann", reason="bold")
    promotions.rollback(NAME, actor="ann", reason="too bold")
    told = [message.text.splitlines() for message in outbox.pending()]
    assert told == [
        [
            "tiny_model: version 1 serves, the first of its model",
            "By training: passed",
            "- accuracy 0.93 [0.92, 0.94], at least 0.85",
        ],
        ["tiny_model: version 2 is tried in shadow beside version 1", "By training: passed"],
        [
            "tiny_model: version 2 is tried no longer, version 1 goes on serving",
            "By ann: because",
        ],
        ["tiny_model: version 3 serves, instead of version 1", "By ann: bold"],
        ["tiny_model: version 1 serves, instead of version 3", "By ann: too bold"],
    ]


# What others do in MLflow


def test_an_alias_moved_by_hand_is_taken_over(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    promotions.promote(NAME, "2", **BY)
    enter(promotions, "1")
    promotions.promote(NAME, "1", **BY)
    enter(promotions, "3")
    registry.set_alias(NAME, "champion", "2")
    row = promotions.settle(NAME)
    assert row is not None
    assert (row.action, row.version, row.actor) == ("promoted", "2", "mlflow")
    assert promotions.settle(NAME) is None
    assert registry.aliases(NAME) == {"champion": "2"}
    assert promotions.rollout(NAME) is None
    assert promotions.rollback(NAME, **BY).version == "1"


def test_an_alias_moved_to_what_was_not_registered_here_is_put_back(
    registry: ModelRegistry, promotions: Promotions, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    from rag_platform.storage.mlflow import mlflow_client

    enter(promotions, put(0.1).number)
    foreign = mlflow_client(registry.uri).create_model_version(NAME, "runs:/x/model").version
    registry.set_alias(NAME, "champion", str(foreign))
    assert promotions.settle(NAME) is None
    assert registry.aliases(NAME) == {"champion": "1"}
    assert "version 2, which was not registered here" in caplog.text


def test_aliases_taken_away_by_hand_come_back(
    registry: ModelRegistry, promotions: Promotions, three: list[str]
) -> None:
    enter(promotions, "1")
    enter(promotions, "2")
    registry.delete_alias(NAME, "champion")
    registry.set_alias(NAME, "challenger", "3")
    promotions.settle(NAME)
    assert registry.aliases(NAME) == {"champion": "1", "challenger": "2"}


def test_a_challenger_leaves_while_mlflow_is_away(
    registry: ModelRegistry,
    promotions: Promotions,
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enter(promotions, "1")
    enter(promotions, "2")

    def away(uri: str) -> Any:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(registry_module, "mlflow_client", away)
        assert promotions.withdraw(NAME, **BY).version == "2"
        assert promotions.rollout(NAME) is None
        for call in (
            lambda: promotions.promote(NAME, "3", **BY),
            lambda: promotions.rollback(NAME, **BY),
            lambda: enter(promotions, "3"),
        ):
            with pytest.raises(RegistryUnavailable):
                call()
    assert registry.aliases(NAME) == {"champion": "1", "challenger": "2"}
    promotions.settle(NAME)
    assert registry.aliases(NAME) == {"champion": "1"}
    assert len(actions(promotions)) == 3


# Killed at any step, and two at once


def opened(place: tuple[str, Path, str, Path]) -> Promotions:
    """In a process of its own."""
    url, locks, uri, home = place
    catalog = Catalog(url, lock_folder=locks)
    registry = ModelRegistry(own(uri), home=home, catalog=catalog)
    return Promotions(catalog, registry, Outbox(catalog))


@pytest.fixture
def location(registry: ModelRegistry, catalog: Catalog, tmp_path: Path) -> Any:
    return (str(catalog.url), catalog.lock_folder, registry.uri, tmp_path / "home")


def _deadly(turn: int) -> None:
    """From now on, this process ends before its turn-th step that changes something.

    Of a transaction that is before its commit; what follows it is before the next step.
    """
    passed = [0]

    def due() -> bool:
        passed[0] += 1
        return passed[0] == turn

    def step(owner: Any, name: str) -> None:
        method = getattr(owner, name)

        def tripping(*args: Any, **kwargs: Any) -> Any:
            if due():
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **kwargs)

        setattr(owner, name, tripping)

    for name in ("tag_version", "set_alias", "delete_alias"):
        step(ModelRegistry, name)
    begin = Catalog.begin

    @contextmanager
    def tripping(self: Catalog) -> Iterator[sa.Connection]:
        is_due = due()
        with begin(self) as connection:
            yield connection
            if is_due:
                os.kill(os.getpid(), signal.SIGKILL)

    Catalog.begin = tripping  # type: ignore[method-assign]


def _dies(place: Any, action: str, given: dict[str, Any], turn: int) -> None:
    promotions = opened(place)
    _deadly(turn)
    getattr(promotions, action)(NAME, **given)


def tried(catalog: Catalog, promotions: Promotions, version: str) -> None:
    """Make a version the challenger at 50 %, whatever it was before."""
    row = {"model": NAME, "challenger": version, "share": 50, "began_at": 0.0}
    with catalog.begin() as connection:
        catalog.upsert(connection, rollouts, [row | {"counted_day": None, "units": 0}])
    promotions.settle(NAME)


@pytest.mark.parametrize("action", ["promote", "promote_challenger", "rollback", "withdraw"])
def test_a_kill_at_any_step_leaves_one_champion_and_is_repaired(
    registry: ModelRegistry,
    promotions: Promotions,
    three: list[str],
    catalog: Catalog,
    outbox: Outbox,
    location: Any,
    action: str,
) -> None:
    steps = 0
    for turn in range(1, 20):
        for number in ("1", "2"):
            promotions.promote(NAME, number, actor="ann", reason=f"round {turn}, {number}")
        given: dict[str, Any] = {"actor": "bob", "reason": f"kill {turn}"}
        expected, call = {"champion": "1"}, action
        if action == "promote":
            given["version"], expected = "3", {"champion": "3"}
        elif action != "rollback":
            tried(catalog, promotions, "3")
            expected = {"champion": "3" if action == "promote_challenger" else "2"}
            call = action.partition("_")[0]
        process = FORKS.Process(target=_dies, args=(location, call, given, turn))
        process.start()
        process.join(60)
        aliases = registry.aliases(NAME)
        assert aliases["champion"] in ("2", expected["champion"])
        row = getattr(promotions, call)(NAME, **given)
        assert registry.aliases(NAME) == expected
        assert promotions.champion(NAME) == registry.registered(NAME, expected["champion"])
        assert promotions.rollout(NAME) is None
        mine = [each for each in promotions.history(NAME) if each.reason == f"kill {turn}"]
        assert mine == [row]
        told = [each for each in outbox.pending(1000) if f"By bob: kill {turn}" in each.text]
        assert len(told) == 1
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        steps += 1
    assert process.exitcode == 0
    assert steps >= 2


def test_a_kill_while_entering_is_repaired(
    registry: ModelRegistry,
    promotions: Promotions,
    put: Put,
    location: Any,
) -> None:
    given = {"actor": "training", "reason": "passed"}
    for turn in range(1, 20):
        number = put(float(turn)).number
        first = turn == 1
        killed = given | {"version": number}
        process = FORKS.Process(target=_dies, args=(location, "enter", killed, turn))
        process.start()
        process.join(60)
        assert enter(promotions, number) == ("champion" if first else "challenger")
        wanted = {"champion": "1"} if first else {"champion": "1", "challenger": number}
        assert registry.aliases(NAME) == wanted
        entered = [each for each in actions(promotions) if each[1] == number]
        assert [each[0] for each in entered] == ["promoted" if first else "challenger"]
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert turn >= 3


def _promotes(place: Any, version: str, start: Any) -> None:
    promotions = opened(place)
    start.wait()
    for number in range(4):
        promotions.promote(NAME, version, actor=f"process {version}", reason=f"turn {number}")


def test_two_processes_promote_at_once(
    registry: ModelRegistry, promotions: Promotions, three: list[str], location: Any
) -> None:
    start = FORKS.Barrier(2)
    processes = [
        FORKS.Process(target=_promotes, args=(location, version, start)) for version in ("1", "2")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    rows = actions(promotions)
    # Each row follows from the one before: none was written over another's head.
    assert all(one[1] != two[1] for one, two in pairwise(rows))
    assert registry.aliases(NAME) == {"champion": rows[-1][1]}
    assert promotions.settle(NAME) is None


def test_on_postgres_too(mlflow_uri: str, postgres_catalog: str, tmp_path: Path) -> None:
    catalog = Catalog(postgres_catalog, lock_folder=tmp_path)
    try:
        registry = ModelRegistry(mlflow_uri, home=tmp_path / "home", catalog=catalog)
        promotions = Promotions(catalog, registry, Outbox(catalog))
        put = Put(registry)
        assert enter(promotions, put(0.1).number) == "champion"
        assert enter(promotions, put(0.2).number) == "challenger"
        counted = promotions.count(NAME, "2", day="2026-11-01", units=3)
        assert counted is not None
        assert counted.units == 3
        promotions.step(NAME, 5, **BY)
        assert promotions.promote(NAME, **BY).version == "2"
        assert promotions.rollback(NAME, **BY).version == "1"
        assert [row.action for row in promotions.history(NAME)] == [
            "registered",
            "promoted",
            "registered",
            "challenger",
            "step",
            "promoted",
            "rolled_back",
        ]
    finally:
        catalog.close()
