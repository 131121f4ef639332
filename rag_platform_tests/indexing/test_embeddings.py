"""embeddings: figures, memo hits, and what is deferred when the money is spent."""

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import sqlalchemy as sa

from rag_platform.encoders.base import Vectors
from rag_platform.encoders.openai import EmbeddingServiceError
from rag_platform.encoders.validation import InvalidEmbedding
from rag_platform.indexing.embeddings import (
    PassageRefused,
    _embed,
    passage_key,
    vector_bytes,
    vector_from,
)
from rag_platform.storage.pages import PartGone
from rag_platform.storage.schema import changes
from rag_platform_tests.conformance.embedders import HashEmbedder
from rag_platform_tests.conformance.harness import BATCH, SOURCE, V1, WINDOWS, World

FIRST, SECOND = WINDOWS[:2]


def fill(world: World, count: int) -> None:
    """Documents of one chunk each."""
    for number in range(count):
        world.folder.write(f"{number:02d}.md", f"This is the text number {number}.")


def test_each_text_is_paid_for_once(world: World) -> None:
    fill(world, BATCH + 3)
    world.folder.write("copy.md", "This is the text number 1.")
    done = world.sync(FIRST).embedded[V1]
    assert (done.embed_calls, done.embedded_chunks, done.deferred_chunks) == (2, BATCH + 3, 0)
    assert world.embedders["wordllama"].calls == [BATCH, 3]
    world.folder.write("late.md", "This is the text number 2.")
    done = world.sync(SECOND).embedded[V1]
    assert (done.embed_calls, done.embedded_chunks, done.memo_hits) == (0, 0, 1)


def test_deferred_when_the_money_is_spent(world: World) -> None:
    """One batch is paid for: 8 documents are searchable, the other 12 wait."""
    fill(world, 20)
    embedder = world.embedders["wordllama"]
    embedder.fault, embedder.spare = "budget", 1
    done = world.sync(FIRST)
    figures = done.embedded[V1]
    assert (figures.embed_calls, figures.embedded_chunks) == (1, 8)
    assert figures.deferred_chunks == 12
    assert (done.applied[V1].documents, done.applied[V1].deferred) == (8, 12)
    assert done.applied[V1].points == 8
    assert world.page(FIRST).outcomes == {"inserted": 8, "deferred": 12}
    assert world.platform.embeddings(SOURCE, V1).without_vector(FIRST) == 12
    embedder.fault = None
    done = world.sync(SECOND)
    assert world.page(SECOND).outcomes == {"unchanged": 8, "deferred": 12}
    done = world.run(FIRST)
    # Those that are in the index are not looked at again.
    assert (done.embedded[V1].embedded_chunks, done.embedded[V1].memo_hits) == (12, 0)
    assert (done.applied[V1].documents, done.applied[V1].deferred) == (12, 0)
    assert world.page(FIRST).outcomes == {"inserted": 20}
    assert world.page(SECOND).outcomes == {"unchanged": 20}
    assert world.platform.embeddings(SOURCE, V1).without_vector(FIRST) == 0


def test_a_text_that_stands_twice_lacks_no_vector(world: World) -> None:
    fill(world, 2)
    world.folder.write("copy.md", "This is the text number 1.")
    parts = world.platform
    parts.raw(SOURCE).run(FIRST)
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    parts.chunks(SOURCE, V1).run(FIRST)
    stage = parts.embeddings(SOURCE, V1)
    assert stage.without_vector(FIRST) == 3
    stage.run(FIRST)
    assert stage.without_vector(FIRST) == 0


def test_what_was_superseded_while_it_waited_waits_no_more(world: World) -> None:
    """Else the version could never be promoted: see the gate `complete`."""
    fill(world, 1)
    embedder = world.embedders["wordllama"]
    embedder.fault, embedder.spare = "budget", 0
    assert world.sync(FIRST).applied[V1].deferred == 1
    embedder.fault = None
    world.folder.write("00.md", "This is another text.")
    assert world.sync(SECOND).applied[V1].deferred == 0
    with world.platform.catalog.read() as connection:
        waiting = sa.select(changes.c.seq).where(changes.c.deferred_by.is_not(None))
        assert connection.execute(waiting).all() == []
    assert world.platform.promotions.promote(V1, actor="a", reason="r").action == "promoted"


def test_a_document_waits_whole(world: World) -> None:
    """A document of two batches of chunks is not half in the index."""
    fill(world, 1)
    world.folder.write(
        "long.md", "\n\n".join(f"# Part {n}\n\n" + f"word{n} " * 60 for n in range(9))
    )
    embedder = world.embedders["wordllama"]
    embedder.fault, embedder.spare = "budget", 1
    done = world.sync(FIRST)
    assert (done.applied[V1].documents, done.applied[V1].deferred) == (1, 1)
    assert {payload["key"] for payload, _ in world.contents().values()} == {"00.md"}


def test_a_passage_without_a_vector_is_named_by_its_document(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 5)
    world.folder.write("long.md", "This is the longest text of all of them, by far.")

    def refuse(error: Exception) -> None:
        def embed(*_: object) -> None:
            raise error

        monkeypatch.setattr(type(world.embedders["wordllama"]), "embed_passages", embed)

    refuse(InvalidEmbedding("NaN", [0, 1, 2, 3]))
    named = "a passage of '00.md', '01.md', '02.md', ...: NaN$"
    with pytest.raises(PassageRefused, match=f"^{SOURCE}, {named}"):
        world.sync(FIRST)
    refuse(EmbeddingServiceError("answered 422", too_long=True))
    with pytest.raises(PassageRefused, match=r"a passage of 'long\.md': answered 422"):
        world.sync(FIRST)
    refuse(EmbeddingServiceError("answered 401"))
    with pytest.raises(EmbeddingServiceError, match=r"^answered 401$"):
        world.sync(FIRST)


def test_a_share_of_a_batch_names_positions_in_the_batch() -> None:
    class Broken(HashEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            raise InvalidEmbedding("NaN", [1])

    with pytest.raises(InvalidEmbedding) as caught:
        _embed(Broken(8), (200, ["one", "two"]))
    assert pickle.loads(pickle.dumps(caught.value)).positions == (201,)


def test_keys_differ_by_embedder_and_text() -> None:
    keys = {passage_key(HashEmbedder(n), text) for n in (16, 32) for text in ("a", "b")}
    assert len(keys) == 4


def test_vectors_are_kept_as_little_endian_float32() -> None:
    vector = np.array([1.0, -2.5, 1e-30], np.float32)
    assert vector_bytes(vector)[:4] == b"\x00\x00\x80\x3f"
    assert len(vector_bytes(vector)) == 12
    np.testing.assert_array_equal(vector_from(vector_bytes(vector)), vector)


def test_a_vector_in_the_memo_that_is_none_is_found(world: World) -> None:
    fill(world, 2)
    parts = world.platform
    parts.raw(SOURCE).run(FIRST)
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    parts.chunks(SOURCE, V1).run(FIRST)
    stage = parts.embeddings(SOURCE, V1)
    assert stage.invalid([FIRST]) == []
    key = passage_key(world.embedders["wordllama"], "This is the text number 0.")
    bad = np.full(world.embedders["wordllama"].dimension, np.nan, np.float32)
    parts.memo.put_many({key: vector_bytes(bad)})
    [problem] = stage.invalid([FIRST])
    assert problem.startswith(f"{FIRST}: ")


def test_chunks_must_be_there(world: World) -> None:
    fill(world, 1)
    parts = world.platform
    parts.raw(SOURCE).run(FIRST)
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    with pytest.raises(PartGone, match="run again from raw_docs"):
        parts.embeddings(SOURCE, V1).run(FIRST)


def test_a_text_that_stands_far_apart_is_paid_for_once(world: World) -> None:
    """Of 2,400 passages in two row groups 2,000 differ; the copies lie in different batches."""
    for page in range(120):
        again = page - 20 if page >= 100 else page
        own = [f"Passage {again} of the number {n}. " + "gate lamp keeper " * 12 for n in range(20)]
        world.folder.write(f"{page:03d}.md", "\n\n".join([*own, f"The end of {page}."]))
    world.embedders["wordllama"].batch_size = 512
    with world.counted() as texts:
        figures = world.sync(FIRST).embedded[V1]
    assert len(texts) == len(set(texts)) == figures.embedded_chunks
    chunks = world.platform.chunks(SOURCE, V1)
    held = sum(
        batch.num_rows for part in chunks.parts(FIRST) for batch in world.platform.pages.read(part)
    )
    assert figures.embedded_chunks + figures.memo_hits == held > 2_000
    assert figures.memo_hits > 300
