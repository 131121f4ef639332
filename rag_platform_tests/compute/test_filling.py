"""What helpers do for a stage before it runs, without a cluster."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_platform.compute.clerk import Clerk
from rag_platform.compute.jobs import Job
from rag_platform.enrichment import asking
from rag_platform.llm.errors import ModelUnavailable
from rag_platform.llm.gateway import Gateway
from rag_platform.platform import Platform
from rag_platform_tests.compute.site import (
    EMBEDDINGS,
    INDEX,
    PARSED,
    SOURCE,
    STEPS,
    WINDOW,
    Site,
    prepare,
    state,
)
from rag_platform_tests.servers.openai_api import OpenAIServer


@pytest.fixture
def site(tmp_path: Path, documents: Path, server: OpenAIServer) -> Site:
    return Site(tmp_path / "site", documents, server)


@pytest.fixture
def parts(site: Site) -> Iterator[Platform]:
    opened = site.platform()
    yield opened
    opened.close()


def help_with(parts: Platform, job: Job, rows: int) -> Any:
    """Fill all stretches with one helper, as a cluster would have them filled."""
    stage, clerk = job.open(parts), Clerk()

    def claim(unit: int, keys: Collection[bytes]) -> set[bytes]:
        return {*keys}.difference(clerk.refused(unit, keys))

    for unit, stretch in enumerate(stage.stretches([WINDOW], rows)):
        figures = stage.fill(stretch, partial(claim, unit))
        clerk.done(unit, WINDOW, asdict(figures))
    return job.figures(clerk.figures()[WINDOW])


def test_a_stage_that_was_helped_leaves_what_one_leaves_that_was_not(
    tmp_path: Path, site: Site, documents: Path, server: OpenAIServer, parts: Platform
) -> None:
    other = Site(tmp_path / "other", documents, server)
    alone = other.platform()
    wanted = other.run(alone)
    done: dict[str, Any] = {"raw": parts.raw(SOURCE).run(WINDOW)}
    done["parsed"] = parts.parsed(SOURCE).run(WINDOW, filled=help_with(parts, PARSED, 5))
    parts.clean(SOURCE).run(WINDOW)
    parts.chunks(SOURCE, INDEX).run(WINDOW)
    # Twice a batch, so that the embedder is called as often as without help.
    filled = help_with(parts, EMBEDDINGS, 16)
    done["embeddings"] = parts.embeddings(SOURCE, INDEX).run(WINDOW, filled=filled)
    for name in STEPS:
        filled = help_with(parts, Job(name, SOURCE), 5)
        done[name] = getattr(parts.enrichment(SOURCE), name).run(WINDOW, filled=filled)
    parts.enrichment(SOURCE).enriched.run(WINDOW)
    done["index"] = parts.vector_index(SOURCE, INDEX).run(WINDOW)
    assert state(parts) == state(alone)
    assert Counter(server.texts) == dict.fromkeys(server.texts, 2)  # once a site
    assert len(server.charged) == 2 * 3 * 12  # sites, steps, documents
    assert done["parsed"] == wanted["parsed"]
    assert (done["parsed"].parsed, done["parsed"].remembered) == (12, 0)
    done["embeddings"].embed_calls = wanted["embeddings"].embed_calls  # a stretch ends in a batch
    assert done["embeddings"] == wanted["embeddings"]
    assert (done["embeddings"].embedded_chunks, done["embeddings"].memo_hits) == (37, 11)
    assert {name: done[name] for name in STEPS} == {name: wanted[name] for name in STEPS}
    alone.close()


def test_only_what_is_dear_to_parse_is_parsed_by_helpers(parts: Platform) -> None:
    parts.raw(SOURCE).run(WINDOW)
    helped = help_with(parts, PARSED, 100)
    assert (helped.parsed, helped.remembered) == (6, 0)  # HTML; Markdown is not remembered
    assert help_with(parts, PARSED, 100).parsed == 0
    parts.parsed(SOURCE).run(WINDOW)
    assert list(PARSED.open(parts).stretches([WINDOW], 100)) == []


def test_where_all_is_cheap_to_parse_no_helper_is_asked(
    site: Site, parts: Platform, documents: Path
) -> None:
    """A cluster would be started for nothing."""
    for file in documents.glob("*.html"):
        file.rename(file.with_suffix(".txt"))
    parts.raw(SOURCE).run(WINDOW)
    assert list(PARSED.open(parts).stretches([WINDOW], 100)) == []
    (documents / "one.html").write_text("<html><body><p>A house with a lamp.</p></body></html>")
    parts.raw(SOURCE).run(WINDOW)
    assert sum(one.rows for one in PARSED.open(parts).stretches([WINDOW], 100)) > 0


def test_a_stretch_is_at_most_so_many_rows_and_all_together_are_the_part(parts: Platform) -> None:
    prepare(parts)
    stretches = list(EMBEDDINGS.open(parts).stretches([WINDOW], 7))
    assert [stretch.rows for stretch in stretches] == [7, 7, 7, 7, 7, 7, 6]
    part = parts.chunks(SOURCE, INDEX).part(WINDOW, stretches[0].pass_no)
    assert part is not None
    whole = [row for batch in parts.pages.read(part) for row in batch.to_pylist()]
    pieces = [
        row
        for stretch in stretches
        for batch in parts.pages.read(part, only=stretch, rows=4)
        for row in batch.to_pylist()
    ]
    assert pieces == whole


def test_what_another_helper_holds_is_left_to_it(parts: Platform, server: OpenAIServer) -> None:
    prepare(parts)
    stage, clerk = EMBEDDINGS.open(parts), Clerk()
    first, second = stage.stretches([WINDOW], 24)
    # Both are on their way at once, and each has the passage that all documents share.
    taken: list[set[bytes]] = []

    def claim(keys: Collection[bytes]) -> set[bytes]:
        taken.append({*keys}.difference(clerk.refused(1, keys)))
        if len(taken) == 1:
            stage.fill(second, lambda others: {*others}.difference(clerk.refused(2, others)))
        return taken[-1]

    stage.fill(first, claim)
    assert len(server.texts) == len(set(server.texts)) == 37


def test_a_question_that_failed_for_a_helper_is_not_asked_again(
    parts: Platform, server: OpenAIServer
) -> None:
    prepare(parts)
    server.chat.answer = lambda body: "no JSON"
    entities = Job("entities", SOURCE)
    helped = help_with(parts, entities, 5)
    asked = len(server.charged)
    assert (helped.failed, asked) == (12, 24)  # each with one repair turn
    done = parts.enrichment(SOURCE).entities.run(WINDOW, filled=helped)
    assert (done.failed, done.asked, len(server.charged)) == (12, 0, asked)
    assert {letter[2] for letter in state(parts)["letters"]} == {1}


def test_a_service_that_is_down_ends_a_stretch_with_an_error(
    parts: Platform, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the driver stops after some of them; else each would wait for it anew."""
    prepare(parts)
    monkeypatch.setattr(asking, "_GIVE_UP", 2)
    monkeypatch.setattr(Gateway, "map", lambda _, asks: (ModelUnavailable("no") for _ in asks))
    stage = Job("entities", SOURCE).open(parts)
    with pytest.raises(ModelUnavailable, match="docs/entities: the model's service is down"):
        stage.fill(next(stage.stretches([WINDOW], 12)), set)


def test_the_budget_of_helpers_is_that_of_the_run(site: Site, server: OpenAIServer) -> None:
    llm = yaml.safe_load((site.root / "platform.yaml").read_text(encoding="utf-8"))["llm"]
    site.configure(llm=llm | {"budget": {"daily_usd": 0.003, "run_usd": 1}})
    parts = site.platform()
    prepare(parts)
    helped = help_with(parts, EMBEDDINGS, 8)
    sent = len(server.requests)
    assert 0 < helped.embedded_chunks < 37
    assert helped.embedded_chunks + helped.deferred_chunks <= 37
    done = parts.embeddings(SOURCE, INDEX).run(WINDOW, filled=helped)
    assert done.embedded_chunks == helped.embedded_chunks
    assert done.embedded_chunks + done.deferred_chunks == 37
    assert len(server.requests) == sent
    parts.close()
