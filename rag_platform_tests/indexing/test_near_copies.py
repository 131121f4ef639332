"""Canonical documents at the points of an index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.documents.near_duplicates import NearDuplicates
from rag_platform.indexing.near_copies import NearCopies, near_copies_of
from rag_platform.indexing.payloads import PayloadFigures
from rag_platform.settings import Settings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_documents, near_documents
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.embedders import CountingEmbedder
from rag_platform_tests.conformance.harness import BATCH, CountedPlatform
from rag_platform_tests.conformance.model import embedder

DAYS = [f"2026-07-0{day}" for day in range(1, 5)]
NAME, INDEX = "notes", "docs_v1"
TEXT = " ".join(f"word{number}" for number in range(60))


class Notes:
    """A source of a few notes and its index."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root / "notes")
        self._home = root / "home"
        self.embedder = CountingEmbedder(embedder("wordllama"), batch_size=BATCH)
        self.open()

    def open(self, **rules: Any) -> None:
        """A platform on the same state, with settings of the source."""
        source = {"url": self.folder.root.as_uri(), "start": DAYS[0], **rules}
        tree = {"home": self._home, "sources": {NAME: source}, "indexes": {INDEX: {}}}
        self.platform = CountedPlatform(
            Settings.model_validate(tree), embedders={"wordllama": self.embedder}, quick=True
        )
        self.copies = NearCopies(INDEX, NAME, catalog=self.platform.catalog)

    def sync(self, window: str) -> None:
        for stage in (self.platform.raw, self.platform.parsed, self.platform.clean):
            stage(NAME).run(window)
        self.platform.chunks(NAME, INDEX).run(window)
        self.platform.embeddings(NAME, INDEX).run(window)
        self.platform.vector_index(NAME, INDEX).run(window)

    def close(self) -> None:
        self.platform.close()

    def refresh(self) -> PayloadFigures:
        figures = PayloadFigures()
        version = self.platform.version(INDEX)
        with self.platform.vectors.open(
            INDEX, dimension=version.embedder.dimension, fingerprint=version.fingerprint
        ) as collection:
            self.copies.apply(collection, figures)
        return figures

    def canonicals(self) -> dict[str, str | None]:
        """Key of the canonical document that the points of each key carry."""
        with self.platform.vectors.open_existing(INDEX) as collection:
            payloads = list(collection.payloads({"source": NAME}))
        keys = {payload["doc_id"]: payload["key"] for payload in payloads}
        return {p["key"]: keys.get(p.get("canonical", "")) for p in payloads}


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    found = Notes(tmp_path)
    yield found
    found.close()


def test_points_follow_their_groups_without_embedding(notes: Notes) -> None:
    notes.folder.write("a.md", TEXT)
    notes.folder.write("b.md", "Something else is written here, and quite short.")
    notes.sync(DAYS[0])
    assert notes.canonicals() == {"a.md": None, "b.md": None}
    notes.folder.write("c.md", TEXT.replace("word59", "other"))
    notes.sync(DAYS[1])
    assert notes.canonicals() == {"a.md": "a.md", "b.md": None, "c.md": "a.md"}
    embedded = len(notes.embedder.texts)
    assert notes.refresh() == PayloadFigures()
    notes.folder.write("a.md", "Now this is another text, too, with nothing left of the old one.")
    notes.sync(DAYS[2])
    assert notes.canonicals() == dict.fromkeys(("a.md", "b.md", "c.md"))
    assert len(notes.embedder.texts) == embedded + 1
    assert notes.platform.reconciler(INDEX).run(repair=False).agrees


def test_both_addresses_stand_in_one_result(notes: Notes) -> None:
    notes.folder.write("a.md", TEXT)
    notes.folder.write("b.md", TEXT.replace("word59", "other"))
    notes.folder.write("c.md", TEXT.replace("word0 ", "more "))
    notes.sync(DAYS[0])
    with notes.platform.searcher() as searcher:
        found = searcher.search("word1 word2 word3 other", 10)
    [result] = found
    assert "other" in result.text
    assert [uri.rpartition("/")[2] for uri in result.uris] == ["b.md", "a.md", "c.md"]


def test_the_setting_takes_effect_with_the_next_run(notes: Notes) -> None:
    notes.folder.write("a.md", TEXT)
    notes.folder.write("b.md", TEXT.replace("word59", "other"))
    together = {"a.md": "a.md", "b.md": "a.md"}
    for rules, carried in (
        ({"near_duplicates": None}, dict.fromkeys(together)),
        ({"near_duplicates": 0.9}, together),
        ({"near_duplicates": 0.99}, dict.fromkeys(together)),
        ({"near_duplicates": 0.6}, together),
        ({"near_duplicates": None}, dict.fromkeys(together)),
    ):
        notes.close()
        notes.open(**rules)
        notes.sync(DAYS[0])
        assert notes.canonicals() == carried, rules
    assert len(notes.embedder.texts) == 2


def test_a_run_killed_before_its_record_is_taken_up(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.folder.write("a.md", TEXT)
    notes.folder.write("b.md", TEXT.replace("word59", "other"))
    notes.sync(DAYS[0])
    assert notes.canonicals() == {"a.md": "a.md", "b.md": "a.md"}
    catalog = notes.platform.catalog
    NearDuplicates(NAME, catalog=catalog, threshold=None)(DAYS[0], 1, [])
    assert notes.copies.waiting() == 2
    record = notes.copies._record

    def killed(column: str, values: Any) -> None:
        if column == "canonical":
            raise KeyboardInterrupt
        record(column, values)

    with monkeypatch.context() as patch:
        patch.setattr(notes.copies, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            notes.refresh()
    assert notes.copies.waiting() == 2
    assert notes.refresh().documents == 2
    assert notes.copies.waiting() == 0
    assert notes.canonicals() == {"a.md": None, "b.md": None}
    assert notes.platform.reconciler(INDEX).run(repair=False).agrees


def test_marks_are_compared_alike_in_both_databases(shared: Catalog) -> None:
    ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(3)]
    held = {"index_name": INDEX, "source": NAME, "seq": 1, "claimed": 1, "window": DAYS[0]}
    held |= {"pass_no": 1, "chunks": 1, "digest": "d", "text_hash": "t"}
    near = {"source": NAME, "text_hash": "t", "similarity": 1.0, "rule": "r"}
    with shared.begin() as connection:
        for number, doc_id in enumerate(ids):
            canonical = ids[min(number, 1)]  # the last is a copy of the second
            row = near | {"doc_id": doc_id, "canonical": canonical}
            connection.execute(sa.insert(near_documents).values(row))
            connection.execute(sa.insert(index_documents).values(held | {"doc_id": doc_id}))
    copies = NearCopies(INDEX, NAME, catalog=shared)
    assert copies.waiting() == 2
    with shared.read() as connection:
        carried = near_copies_of(connection, {**dict.fromkeys(ids, "t"), ids[1]: "another"})
    assert [carried[doc_id].payload for doc_id in ids] == [{}, {}, {"canonical": ids[1]}]
    copies._record("canonical", {ids[2]: carried[ids[2]].mark})
    assert copies.waiting() == 1
    assert NearCopies("other", NAME, catalog=shared).waiting() == 0
