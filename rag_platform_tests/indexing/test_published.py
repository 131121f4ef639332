"""published_fields: what enrichment publishes reaches the points, and leaves them, unpaid."""

from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.indexing.payloads import PayloadFigures
from rag_platform.indexing.published import PublishedFields
from rag_platform.storage.schema import enrichments, index_documents
from rag_platform.storage.vectors.base import Collection, Payload
from rag_platform_tests.conformance.harness import SOURCE, V1, WINDOWS, World

FIRST, SECOND = WINDOWS[:2]
CARDS = {"label": "cards", "topics": ["fees", "limits"], "people": [], "summary": "On cards."}
# An empty list widens no point.
ON_POINT = {"label": "cards", "topics": ["fees", "limits"], "summary": "On cards."}


def _publish(world: World, key: str, fields: dict[str, Any] | None, *, digest: str) -> None:
    """Set what is published of a document's present text; nothing with None."""
    catalog = world.platform.catalog
    with catalog.begin() as connection:
        doc = connection.execute(
            sa.text("select doc_id, seq, text_hash from documents where key = :key"), {"key": key}
        ).one()
        row = {
            "source": SOURCE,
            "doc_id": doc.doc_id,
            "seq": doc.seq,
            "window": FIRST,
            "text_hash": doc.text_hash,
            "status": "published" if fields else "in_review",
            "reason": "",
            "fields": {},
            "published": fields,
            "published_digest": digest if fields else None,
            "updated_at": 0.0,
        }
        catalog.upsert(connection, enrichments, [row])


def _stage(world: World) -> PublishedFields:
    parts = world.platform
    return parts.published_fields(SOURCE, V1)


def _payloads(world: World, key: str) -> list[Payload]:
    return [p for p, _ in world.contents().values() if p["key"] == key]


def _extra(world: World, key: str) -> list[Payload]:
    names = ("label", "topics", "people", "organizations", "author", "dates", "date", "summary")
    return [{n: p[n] for n in names if n in p} for p in _payloads(world, key)]


@pytest.fixture
def two(world: World) -> World:
    world.folder.write("a.md", "# Cards\n\n" + "A card has fees. " * 40)
    world.folder.write("b.md", "Loans are repaid by the month.")
    world.sync(FIRST)
    return world


def test_fields_come_change_and_go_without_embedding(two: World) -> None:
    before = two.contents()
    points = len(_payloads(two, "a.md"))
    assert points > 1
    _publish(two, "a.md", CARDS, digest="one")
    assert _stage(two).waiting() == 1
    with two.counted() as embedded:
        assert _stage(two).run() == PayloadFigures(documents=1, points=points)
        assert _extra(two, "a.md") == [ON_POINT] * points
        assert _extra(two, "b.md") == [{}]
        assert _stage(two).run() == PayloadFigures()
        _publish(two, "a.md", {"label": "loans", "author": "Ada"}, digest="two")
        assert _stage(two).run().points == points
        assert _extra(two, "a.md") == [{"label": "loans", "author": "Ada"}] * points
        assert {p: v for p, (_, v) in two.contents().items()} == {
            p: v for p, (_, v) in before.items()
        }
        _publish(two, "a.md", None, digest="")
        assert _stage(two).run().points == points
    assert embedded == []
    assert two.contents() == before
    assert two.platform.reconciler(V1).run(repair=False).agrees


def test_filters_find_them(two: World) -> None:
    _publish(two, "a.md", CARDS, digest="one")
    _stage(two).run()
    with two.platform.searcher() as searcher:
        found = searcher.search("card loans", filters={"topics": "fees"})
        assert {result.uri.rpartition("/")[2] for result in found} == {"a.md"}
        assert searcher.search("card loans", filters={"label": "loans"}) == []


def test_a_document_is_written_with_what_is_published(world: World) -> None:
    """Published before the index holds the text: one write, nothing left for the stage."""
    world.folder.write("a.md", "A card has fees.")
    parts = world.platform
    for stage in (parts.raw(SOURCE), parts.parsed(SOURCE), parts.clean(SOURCE)):
        stage.run(FIRST)
    _publish(world, "a.md", CARDS, digest="one")
    for run in world.stages(V1):
        run(FIRST)
    assert _extra(world, "a.md") == [ON_POINT]
    assert _stage(world).waiting() == 0


def test_fields_of_an_old_text_are_gone_with_it(two: World) -> None:
    _publish(two, "a.md", CARDS, digest="one")
    _stage(two).run()
    two.folder.write("a.md", "Another text.")
    two.sync(SECOND)
    assert _extra(two, "a.md") == [{}]
    assert _stage(two).waiting() == 0
    two.check()


def test_a_replay_keeps_them(two: World) -> None:
    _publish(two, "a.md", CARDS, digest="one")
    _stage(two).run()
    before = two.contents()
    two.replay([FIRST])
    assert two.contents() == before


@pytest.mark.parametrize("at", ["before the payloads", "after the payloads"])
def test_a_kill_on_the_way_is_made_good(
    two: World, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(two, "a.md", CARDS, digest="one")
    write = Collection.set_payloads

    def killed(self: Collection, payloads: dict[str, Payload]) -> None:
        if at == "after the payloads":
            write(self, payloads)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "set_payloads", killed)
        with pytest.raises(KeyboardInterrupt):
            _stage(two).run()
    assert _stage(two).waiting() == 1
    assert _stage(two).run().drifted == 0
    assert _stage(two).waiting() == 0
    assert _extra(two, "a.md")[0] == ON_POINT
    assert two.platform.reconciler(V1).run(repair=False).agrees


def test_a_lost_point_is_not_taken_for_the_whole_document(two: World) -> None:
    _publish(two, "a.md", CARDS, digest="one")
    parts = two.platform
    point = next(p for p, (payload, _) in two.contents().items() if payload["key"] == "a.md")
    version = parts.version(V1)
    opened = parts.vectors.open(
        V1, dimension=version.embedder.dimension, fingerprint=version.fingerprint
    )
    with opened as collection:
        collection.delete([point])
    assert _stage(two).run() == PayloadFigures(drifted=1)
    report = parts.reconciler(V1).run(repair=True)
    assert (report.repaired, report.unrepaired) == (1, 0)
    assert set(map(str, _extra(two, "a.md"))) == {str(ON_POINT)}
    assert _stage(two).waiting() == 0
    with parts.catalog.read() as connection:
        digests = connection.execute(sa.select(index_documents.c.enrichment)).scalars()
        assert sorted(map(str, digests)) == ["None", "one"]
