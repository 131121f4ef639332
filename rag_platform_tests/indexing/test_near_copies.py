"""Canonical documents at the points of an index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.near_duplicates import NearDuplicates
from rag_platform.documents.page import passes_of
from rag_platform.indexing.near_copies import NearCopies
from rag_platform.indexing.payloads import PayloadFigures
from rag_platform.settings import Settings
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
        self.embedder = CountingEmbedder(embedder("wordllama"), batch_size=BATCH)
        source = {"url": self.folder.root.as_uri(), "start": DAYS[0]}
        self.platform = CountedPlatform(
            Settings.model_validate(
                {"home": root / "home", "sources": {NAME: source}, "indexes": {INDEX: {}}}
            ),
            embedders={"wordllama": self.embedder},
            quick=True,
        )
        self.near = NearDuplicates(NAME, catalog=self.platform.catalog, threshold=0.9)
        self.copies = NearCopies(INDEX, NAME, catalog=self.platform.catalog)

    def sync(self, window: str) -> PayloadFigures:
        for stage in (self.platform.raw, self.platform.parsed, self.platform.clean):
            stage(NAME).run(window)
        self.group(window)
        self.platform.chunks(NAME, INDEX).run(window)
        self.platform.embeddings(NAME, INDEX).run(window)
        self.platform.vector_index(NAME, INDEX).run(window)
        return self.refresh()

    def group(self, window: str) -> None:
        """What the hook of clean_docs does."""
        with self.platform.catalog.read() as connection:
            numbers = passes_of(connection, NAME, window)
        for number in numbers:
            part = self.platform.clean(NAME).part(window, number)
            assert part is not None
            batches = self.platform.pages.read(part, columns=["doc_id", "text_hash", "text"])
            self.near(window, number, (batch.to_pylist() for batch in batches))

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
    found.platform.close()


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
    assert notes.copies.waiting() == 0
    notes.folder.write("a.md", "Now this is another text, too, with nothing left of the old one.")
    notes.sync(DAYS[2])
    assert notes.canonicals() == dict.fromkeys(("a.md", "b.md", "c.md"))
    assert len(notes.embedder.texts) == embedded + 1
    assert notes.platform.reconciler(INDEX).run(repair=False).agrees


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
