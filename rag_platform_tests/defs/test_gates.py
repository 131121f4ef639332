"""Every quality gate passing and failing, with what it tells a person, and what it holds back."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pytest
import sqlalchemy as sa

from rag_platform.defs.operations.launch import INDEX_STAGES, STAGES
from rag_platform.indexing.embeddings import passage_key
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import changes, documents, memo, passes
from rag_platform_tests.defs.location import INDEX, SOURCE, Location
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer

WINDOW, NEXT = "2026-06-01", "2026-06-02"
ALL = list(STAGES + INDEX_STAGES)
FROM_CLEAN = ALL[2:]
FROM_CHUNKS = ALL[3:]

GOOD = {
    "listing_is_plausible": "The source was listed to its end and did not lose more documents "
    "than it may at once.",
    "outcomes_sum_to_listed": "Every document that was listed has exactly one outcome.",
    "dead_letter_share_is_in_bounds": "No more documents failed than the source's "
    "max_dead_letter_share.",
    "clean_docs_fit_their_schema": "Every row has an id and an address, and either a text with "
    "its hash or a reason.",
    "chunks_are_in_bounds": "No chunk is empty or larger than max_tokens, and each stands in its "
    "document.",
    "embeddings_are_valid": "Every vector has the index's dimension, finite values and a length.",
    "nothing_is_deferred": "No document waits for the budget.",
    "index_agrees_with_catalog": "The collection has as many points as the catalog says, and what "
    "was written reads back.",
}


@pytest.fixture
def filled(location: Location) -> Location:
    """Two documents, one chunk each, written and not yet asked for."""
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    location.write("b.md", "# Beta\n\nA blue sky.\n")
    return location


def rows(location: Location, *tables: sa.Table) -> list[list[Any]]:
    """Everything in some tables of the catalog."""
    with location.platform() as platform, platform.catalog.read() as connection:
        return [list(connection.execute(sa.select(table))) for table in tables]


def test_all_gates_pass(filled: Location) -> None:
    outcome = filled.run(WINDOW)
    assert outcome.success
    assert outcome.stages == ALL
    assert outcome.checks == {name: (True, text) for name, text in GOOD.items()}


def test_which_gates_block(location: Location) -> None:
    specs = [spec for asset in location.defs.assets for spec in asset.check_specs]
    blocking = {spec.name for spec in specs if spec.blocking}
    assert {spec.name for spec in specs} == set(GOOD)
    assert set(GOOD) - blocking == {"nothing_is_deferred", "index_agrees_with_catalog"}


# Listing


def test_source_that_lists_nothing_is_refused(filled: Location) -> None:
    filled.run(WINDOW)
    before, index = rows(filled, passes, changes, documents), filled.contents()
    (filled.folder / "a.md").unlink()
    (filled.folder / "b.md").unlink()
    outcome = filled.run(NEXT)
    assert not outcome.success
    assert outcome.stages == []
    assert outcome.checks == {
        "listing_is_plausible": (
            False,
            f"manuals: 0 objects listed, 2 known; nothing deleted. Check {filled.folder.as_uri()}, "
            "or confirm with --allow-deletions (run config: allow_deletions: true).",
        )
    }
    assert rows(filled, passes, changes, documents) == before
    assert filled.contents() == index

    confirmed = {"manuals__raw_docs": {"config": {"allow_deletions": True}}}
    outcome = filled.run(NEXT, config=confirmed)
    assert outcome.success
    assert outcome.checks["listing_is_plausible"] == (True, GOOD["listing_is_plausible"])
    assert filled.contents() == {}


def test_source_that_loses_too_much_is_refused(filled: Location) -> None:
    filled.configure(source={"max_deletion_share": 0.4})
    for name in ("c", "d", "e"):
        filled.write(f"{name}.md", f"# {name}\n\nText of {name}.\n")
    filled.run(WINDOW)
    before = rows(filled, passes, changes, documents)
    for name in "abc":
        (filled.folder / f"{name}.md").unlink()
    outcome = filled.run(NEXT)
    assert outcome.stages == []
    assert outcome.failed() == {
        "listing_is_plausible": "manuals: 3 of 5 known documents are not listed any more, over "
        f"the ceiling of 40%; nothing deleted. Check {filled.folder.as_uri()}, or confirm with "
        "--allow-deletions (run config: allow_deletions: true)."
    }
    assert rows(filled, passes, changes, documents) == before
    filled.write("c.md", "# c\n\nText of c.\n")  # 2 of 5: just at the ceiling
    assert filled.run(NEXT).checks["listing_is_plausible"][0]


def test_listing_that_fails_midway_records_nothing(
    filled: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.write("broken/c.md", "# C\n")
    filled.run(WINDOW)
    before, index = rows(filled, passes, changes, documents), filled.contents()
    filled.write("new.md", "# New\n")
    broken, scandir = str(filled.folder / "broken"), os.scandir

    def failing(folder: str) -> Any:
        if folder == broken:
            raise OSError(5, "Input/output error", folder)
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        outcome = filled.run(NEXT)
    assert outcome.stages == []
    assert outcome.failed() == {
        "listing_is_plausible": f"{filled.folder.as_uri()}: listing failed at {broken!r} "
        "(Input/output error); nothing was recorded. Give this user read access, or exclude that "
        "folder."
    }
    assert rows(filled, passes, changes, documents) == before
    assert filled.contents() == index


def test_a_missing_folder_fails_with_one_line(filled: Location) -> None:
    filled.configure(source={"url": "/nowhere/at/all"})
    outcome = filled.run(WINDOW)
    assert outcome.stages == []
    assert outcome.failed() == {
        "listing_is_plausible": "file:///nowhere/at/all: no such folder. Check `url` of the "
        "source, or mount it first."
    }


# Clean documents


def test_outcomes_that_do_not_add_up_stop_the_chain(filled: Location) -> None:
    filled.run(WINDOW, stages=STAGES)
    with filled.platform() as platform, platform.catalog.begin() as connection:
        one = sa.select(sa.func.min(changes.c.seq)).scalar_subquery()
        connection.execute(sa.update(changes).where(changes.c.seq == one).values(outcome=None))
    outcome = filled.run(WINDOW, stages=FROM_CLEAN)
    assert not outcome.success
    assert outcome.stages == ["clean_docs"]
    assert outcome.failed() == {
        "outcomes_sum_to_listed": "2026-06-01: 1 outcomes for 2 listed, 1 changes without one; "
        "run this window again"
    }


@pytest.mark.parametrize(("broken", "passes"), [(1, True), (2, False)])
def test_dead_letters_within_and_over_the_share(
    location: Location, broken: int, passes: bool
) -> None:
    for number in range(5):
        if number < broken:
            location.write(f"{number}.pdf", "no PDF at all")
        else:
            location.write(f"{number}.md", f"# Number {number}\n\nSome text.\n")
    outcome = location.run(WINDOW)
    expected = (
        "2026-06-01: 2 of 5 listed documents are dead letters, over the share of 20%. See "
        "`rag-platform dead-letters list`; exclude what cannot be parsed, or raise "
        "sources.manuals.max_dead_letter_share"
    )
    gate = "dead_letter_share_is_in_bounds"
    assert outcome.checks[gate] == ((True, GOOD[gate]) if passes else (False, expected))
    assert outcome.success is passes
    assert outcome.stages == (ALL if passes else list(STAGES))


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("text_hash", "2026-06-01: 1 rows with text_hash against their reason"),
        ("uri", "2026-06-01: 1 rows without uri"),
    ],
)
def test_clean_docs_off_their_schema_stop_the_chain(
    filled: Location, column: str, problem: str
) -> None:
    filled.run(WINDOW, stages=STAGES)
    with filled.platform() as platform:
        part = platform.clean(SOURCE).part(WINDOW, 1)
        assert part is not None
        edit_part(platform.pages, part, lambda found: found[0].update({column: None}))
    outcome = filled.run(WINDOW, stages=FROM_CLEAN)
    assert outcome.stages == ["clean_docs"]
    assert outcome.failed() == {"clean_docs_fit_their_schema": problem}


def edit_part(
    pages: PageStore, part: PartKey, edit: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Change the rows of a part behind the platform's back."""
    batches = list(pages.read(part))
    found = [row for batch in batches for row in batch.to_pylist()]
    edit(found)
    with pages.writer(part, batches[0].schema) as writer:
        for row in found:
            writer.add(row, size=1)


# Index


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tokens": 61}, "2026-06-01: 1 chunks larger than 60 tokens"),
        ({"text": " ", "start": 0, "end": 1}, "2026-06-01: 1 chunks empty"),
        ({"start": 3}, "2026-06-01: 1 chunks off their place"),
    ],
)
def test_chunks_out_of_bounds_stop_the_chain(
    filled: Location, change: dict[str, Any], problem: str
) -> None:
    filled.run(WINDOW, stages=[*STAGES, "chunks"])
    with filled.platform() as platform:
        part = platform.chunks(SOURCE, INDEX).part(WINDOW, 1)
        assert part is not None
        edit_part(platform.pages, part, lambda found: found[0].update(change))
    outcome = filled.run(WINDOW, stages=FROM_CHUNKS)
    assert outcome.stages == ["chunks"]
    assert outcome.failed() == {"chunks_are_in_bounds": problem}


@pytest.mark.parametrize(
    ("vector", "problem"),
    [
        (
            [float("nan")] * 256,
            "2026-06-01: embeddings: NaN or infinity in 1 of 1 vectors, at position 0; nothing was "
            "stored. Look at these texts (empty, or not text?) and at the embedder",
        ),
        (
            [1.0, 2.0, 3.0],
            "2026-06-01: embeddings: 3 dimensions, the index has 256; nothing was stored. Check "
            "the model and its dimensions in the index's settings",
        ),
    ],
)
def test_invalid_embeddings_stop_the_chain(
    location: Location, vector: Sequence[float], problem: str
) -> None:
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    location.run(WINDOW, stages=ALL[:-1])
    with location.platform() as platform:
        key = passage_key(platform.version(INDEX).embedder, "# Alpha\n\nA red apple.")
        with platform.catalog.begin() as connection:
            changed = connection.execute(
                sa.update(memo)
                .where(memo.c.key == key)
                .values(value=np.array(vector, "<f4").tobytes())
            )
            assert changed.rowcount == 1
    outcome = location.run(WINDOW, stages=["embeddings", "vector_index"])
    assert outcome.stages == ["embeddings"]
    assert outcome.failed() == {"embeddings_are_valid": problem}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """An embedding service, with the key for it in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        yield server


def with_budget(location: Location, service: OpenAIServer, dollars: float) -> None:
    """The one index is embedded by the service at a dollar a token, one text a request."""
    price = {"input_per_million": 1_000_000, "output_per_million": 0}
    embedder = {"model": "test-embedder", "dimensions": 8, "batch_size": 1}
    location.configure(
        llm={
            "base_url": service.base_url,
            "budget": {"daily_usd": dollars, "run_usd": dollars},
            "prices": {"test-embedder": price},
        },
        indexes={
            INDEX: {"chunker": {"max_tokens": 60, "overlap": 0}, "embedder": embedder},
        },
    )


def test_documents_over_the_budget_wait_and_are_told(
    location: Location, service: OpenAIServer
) -> None:
    short, long = "# A\n\nOne two.", "# B\n\n" + "lengthy " * 25
    location.write("a.md", short)
    location.write("b.md", long)
    # An attempt is reserved at its bytes, 13 and 204 dollars here, and billed by its words.
    with_budget(location, service, 100)
    outcome = location.run(WINDOW)
    assert outcome.success
    assert outcome.stages == ALL
    assert outcome.failed() == {
        "nothing_is_deferred": "1 chunks wait for the budget; the next run takes them. Raise "
        "llm.budget, or run again after 00:00 UTC"
    }
    assert [point["key"] for point in location.contents().values()] == ["a.md"]
    assert service.texts == [short]
    assert outcome.metadata("embeddings", WINDOW, INDEX)["deferred chunks"] == 1

    with_budget(location, service, 1_000)
    outcome = location.run(WINDOW)
    assert outcome.failed() == {}
    assert {point["key"] for point in location.contents().values()} == {"a.md", "b.md"}
    assert service.texts == [short, long.strip()]


def test_points_lost_behind_our_back_are_seen(filled: Location) -> None:
    filled.run(WINDOW)
    with filled.platform() as platform, platform.vectors.open_existing(INDEX) as collection:
        collection.delete([next(collection.ids())[0]])
    filled.write("c.md", "# Gamma\n\nA green leaf.\n")
    outcome = filled.run(NEXT)
    assert outcome.success  # not blocking: nothing follows
    assert outcome.failed() == {
        "index_agrees_with_catalog": "2 points in the collection, 3 in the catalog, 0 documents "
        "read back otherwise than written. Repair it at no cost: rag-platform reconcile --repair"
    }
    result = filled.defs.resolve_job_def("reconcile").execute_in_process(instance=filled.instance)
    assert result.success
    outcome = filled.run(NEXT)
    assert outcome.failed() == {}
    assert {point["key"] for point in filled.contents().values()} == {"a.md", "b.md", "c.md"}


def test_the_severity_of_a_deferral_is_a_warning() -> None:
    from rag_platform.defs.documents import checks

    gates = [gate for gate in vars(checks).values() if isinstance(gate, checks.Gate)]
    warnings = [gate.name for gate in gates if gate.severity == dg.AssetCheckSeverity.WARN]
    assert warnings == ["nothing_is_deferred"]
