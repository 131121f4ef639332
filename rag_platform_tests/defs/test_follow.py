"""What the automation conditions ask for: stages follow their inputs, and stop at failed gates."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from rag_platform.defs.operations.launch import INDEX_STAGES, STAGES
from rag_platform_tests.defs.location import INDEX, SMALL_CHUNKS, SOURCE, Location

WINDOW = "2026-06-02"
NOON = datetime(2026, 6, 2, 12, tzinfo=UTC)


class Ticks:
    """The automation sensor's evaluations, one after the other."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._cursor: Any = None

    def next(self) -> dict[str, set[str]]:
        """What this tick asks for: windows by asset."""
        result = dg.evaluate_automation_conditions(
            self._location.defs,
            self._location.instance,
            cursor=self._cursor,
            evaluation_time=NOON,
        )
        self._cursor = result.cursor
        keys = self._location.defs.resolve_asset_graph().get_all_asset_keys()
        requested = {
            "/".join(key.path[1:]): {
                window or "" for window in result.get_requested_partitions(key)
            }
            for key in keys
        }
        return {name: windows for name, windows in requested.items() if windows}

    def follow(self) -> list[set[str]]:
        """Run what each tick asks for, until one asks for nothing."""
        rounds = []
        while asked := self.next():
            assert set().union(*asked.values()) == {WINDOW}
            keys = [dg.AssetKey([SOURCE, *name.split("/")]) for name in sorted(asked)]
            assert self._location.run(WINDOW, keys=keys).success
            rounds.append(set(asked))
        return rounds


@pytest.fixture
def ticks(location: Location) -> Ticks:
    """With one document in the source, and a first tick that asks for nothing."""
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    found = Ticks(location)
    assert found.next() == {}
    return found


def test_stages_follow_a_new_page(location: Location, ticks: Ticks) -> None:
    assert location.run(WINDOW, stages=["raw_docs"]).success
    # The first time, a gate that has never been evaluated holds what is behind it for a tick.
    assert ticks.follow() == [
        {"parsed_docs", "clean_docs"},
        {"docs_v1/chunks"},
        {"docs_v1/embeddings"},
        {"docs_v1/vector_index"},
    ]
    assert ticks.next() == {}
    location.write("b.md", "# Beta\n\nA blue sky.\n")
    assert location.run(WINDOW, stages=["raw_docs"]).success
    assert ticks.follow() == [
        {"parsed_docs", "clean_docs", *(f"docs_v1/{stage}" for stage in INDEX_STAGES)}
    ]
    assert {point["key"] for point in location.contents().values()} == {"a.md", "b.md"}


def test_a_refused_listing_asks_for_nothing(location: Location, ticks: Ticks) -> None:
    location.run("2026-06-01")
    ticks.next()
    (location.folder / "a.md").unlink()
    assert not location.run(WINDOW, stages=["raw_docs"]).success
    assert ticks.next() == {}
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    assert location.run(WINDOW, stages=["raw_docs"]).success
    assert ticks.next()["parsed_docs"] == {WINDOW}


def test_a_failed_gate_holds_later_stages_until_it_passes(location: Location, ticks: Ticks) -> None:
    location.write("b.pdf", "no PDF at all")
    outcome = location.run(WINDOW, stages=STAGES)
    assert set(outcome.failed()) == {"dead_letter_share_is_in_bounds"}
    assert ticks.next() == {}
    assert ticks.next() == {}
    (location.folder / "b.pdf").unlink()
    location.write("c.md", "# Gamma\n\nA green leaf.\n")
    assert location.run(WINDOW, stages=STAGES).success
    assert ticks.follow() == [{f"docs_v1/{stage}"} for stage in INDEX_STAGES]


def test_an_older_window_is_not_followed(location: Location, ticks: Ticks) -> None:
    assert location.run("2026-06-01", stages=["raw_docs"]).success
    assert ticks.next() == {}


def test_a_new_index_is_not_filled_by_itself_but_follows_new_pages(
    location: Location, ticks: Ticks
) -> None:
    location.run(WINDOW)
    ticks.next()
    second = {"chunker": {"max_tokens": 40, "overlap": 0}, "embedder": "wordllama"}
    location.configure(indexes={INDEX: SMALL_CHUNKS, "docs_v2": second})
    assert ticks.next() == {}
    assert ticks.next() == {}
    location.write("b.md", "# Beta\n\nA blue sky.\n")
    assert location.run(WINDOW, stages=["raw_docs"]).success
    rounds = ticks.follow()
    assert [{name for name in asked if name.startswith("docs_v2")} for asked in rounds] == [
        {"docs_v2/chunks"},
        {"docs_v2/embeddings"},
        {"docs_v2/vector_index"},
    ]
    # The page of the window is a whole: the new index holds what else stands on it.
    assert {point["key"] for point in location.contents("docs_v2").values()} == {"a.md", "b.md"}


def test_every_stage_but_the_first_follows(location: Location) -> None:
    specs = {spec.key: spec for spec in location.defs.resolve_all_asset_specs()}
    without = [key for key, spec in specs.items() if spec.automation_condition is None]
    assert without == [dg.AssetKey([SOURCE, "raw_docs"])]
