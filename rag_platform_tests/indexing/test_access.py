"""Tenant and readers at the points of an index, and what a reader finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.platform import UnknownName
from rag_platform.retrieval.readers import EVERYTHING, Reader
from rag_platform.settings import Settings
from rag_platform.storage.vectors.base import Payload
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.embedders import CountingEmbedder
from rag_platform_tests.conformance.harness import BATCH, CountedPlatform
from rag_platform_tests.conformance.model import embedder

FIRST, SECOND = "2026-07-01", "2026-07-02"
RULES = "'**': [staff]\n'pay/**': [hr]\n"
QUESTION = "How much does a clerk earn in a month?"


class Office:
    """Sources of two tenants in one index; those of `acme` have readers."""

    def __init__(self, root: Path) -> None:
        self.acme, self.globex = Folder(root / "acme"), Folder(root / "globex")
        self.embedder = CountingEmbedder(embedder("wordllama"), batch_size=BATCH)
        sources: dict[str, Any] = {
            "acme": {"url": self.acme.root.as_uri(), "tenant": "acme", "acl": {"file": ".a.yaml"}},
            "globex": {"url": self.globex.root.as_uri(), "tenant": "globex"},
        }
        settings = Settings.model_validate(
            {
                "home": root / "home",
                "sources": {name: told | {"start": FIRST} for name, told in sources.items()},
                "indexes": {"docs_v1": {"chunker": {"max_tokens": 64, "overlap": 0}}},
            }
        )
        self.platform = CountedPlatform(
            settings, embedders={"wordllama": self.embedder}, quick=True
        )

    def sync(self, window: str) -> None:
        for source in self.platform.settings.sources:
            for stage in (self.platform.raw, self.platform.parsed, self.platform.clean):
                stage(source).run(window)
            self.platform.chunks(source, "docs_v1").run(window)
            self.platform.embeddings(source, "docs_v1").run(window)
            self.platform.vector_index(source, "docs_v1").run(window)

    def found(self, reader: Any) -> list[str]:
        with self.platform.searcher(reader=reader) as searcher:
            found = searcher.search(QUESTION, 50)
        return sorted(uri.rpartition("/")[2] for one in found for uri in one.uris)

    def payloads(self) -> dict[str, Payload]:
        with self.platform.vectors.open_existing("docs_v1") as collection:
            return {p["key"]: p for p in collection.payloads({"source": ["acme", "globex"]})}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    made.acme.write(".a.yaml", RULES)
    made.acme.write("menu.md", "There is soup in the canteen of the clerk on Monday.")
    made.acme.write("pay/clerk.md", "A clerk earns 3,000 in a month.")
    made.acme.write("nobody.md", "A clerk earns more next month.")
    made.acme.write(".a.yaml", RULES + "'nobody.md': []\n")
    made.globex.write("ours.md", "Our clerk earns 9,000 in a month.")
    made.sync(FIRST)
    yield made
    made.platform.close()


def test_points_say_whose_they_are_and_who_may_read_them(office: Office) -> None:
    told = {key: (p["tenant"], p["acl"]) for key, p in office.payloads().items()}
    assert told == {
        "menu.md": ("acme", ["staff"]),
        "pay/clerk.md": ("acme", ["hr"]),
        "nobody.md": ("acme", []),
        "ours.md": ("globex", ["*"]),
    }


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (Reader("acme"), []),
        (Reader("acme", ("staff",)), ["menu.md"]),
        (Reader("acme", ("staff", "hr")), ["clerk.md", "menu.md"]),
        (Reader("acme", ("*",)), []),
        (Reader("globex"), ["ours.md"]),
        (Reader("globex", ("hr",)), ["ours.md"]),
        (Reader("nobody", ("hr",)), []),
        (EVERYTHING, ["clerk.md", "menu.md", "nobody.md", "ours.md"]),
    ],
)
def test_a_reader_finds_what_is_for_the_reader(
    office: Office, reader: Any, expected: list[str]
) -> None:
    assert office.found(reader) == expected


def test_filters_do_not_widen_what_a_reader_finds(office: Office) -> None:
    with office.platform.searcher(reader=Reader("acme", ("staff",))) as searcher:
        assert searcher.search(QUESTION, filters={"source": "globex"}) == []
        for field in ("acl", "tenant"):
            with pytest.raises(ValueError, match=field):
                searcher.search(QUESTION, filters={field: ["hr", "globex"]})


def test_readers_change_and_nothing_is_embedded(office: Office) -> None:
    vectors = len(office.embedder.texts)
    office.acme.write(".a.yaml", "'**': [board]\n")
    office.sync(SECOND)
    assert len(office.embedder.texts) == vectors
    assert office.found(Reader("acme", ("staff", "hr"))) == []
    assert office.found(Reader("acme", ("board",))) == ["clerk.md", "menu.md", "nobody.md"]
    reports = office.platform.reconciler("docs_v1").run(repair=False)
    assert reports.agrees


def test_the_same_text_of_two_tenants_is_no_shared_result(office: Office) -> None:
    text = "A clerk works from nine to five every month."
    office.acme.write("hours.md", text)
    office.globex.write("times.md", text)
    before = len(office.embedder.texts)
    office.acme.write(".a.yaml", "'**': ['*']\n")
    office.sync(SECOND)
    # What one tenant paid for is no other's.
    assert office.embedder.texts[before:] == [text, text]
    with office.platform.searcher(reader=Reader("globex")) as searcher:
        found = next(one for one in searcher.search(text) if one.text == text)
    assert [uri.rpartition("/")[2] for uri in found.uris] == ["times.md"]


def test_the_platform_asks_for_the_tenant_where_there_are_several(office: Office) -> None:
    with pytest.raises(UnknownName, match="acme, globex"):
        office.platform.reader()
    with pytest.raises(UnknownName, match="initech"):
        office.platform.reader("initech")
    assert office.platform.reader("acme", ["hr"]) == Reader("acme", ("hr",))


def test_what_waits_for_vectors_keeps_no_former_readers(office: Office) -> None:
    """The old text serves on until the new one is paid for, to those who may read it now."""
    office.acme.write("pay/clerk.md", "A clerk earns 4,000 in a month, from now on.")
    office.acme.write(".a.yaml", "'**': [board]\n")
    office.embedder.fault = "budget"
    office.sync(SECOND)
    assert office.found(Reader("acme", ("staff", "hr"))) == []
    with office.platform.searcher(reader=Reader("acme", ("board",))) as searcher:
        texts = {one.text for one in searcher.search(QUESTION, 50)}
    assert "A clerk earns 3,000 in a month." in texts
    office.embedder.fault = None
    office.sync(SECOND)
    with office.platform.searcher(reader=Reader("acme", ("board",))) as searcher:
        texts = {one.text for one in searcher.search(QUESTION, 50)}
    assert "A clerk earns 4,000 in a month, from now on." in texts
    assert "A clerk earns 3,000 in a month." not in texts


def test_points_that_drifted_are_told_where_their_readers_change(office: Office) -> None:
    with office.platform.vectors.open_existing("docs_v1") as collection:
        doc_id = next(
            p["doc_id"]
            for p in collection.payloads({"source": "acme"})
            if p["key"] == "pay/clerk.md"
        )
        point, payload = next(iter(collection.present([doc_id])[doc_id].items()))
        collection.set_payloads({point: payload | {"title": "other"}})
    office.acme.write(".a.yaml", "'**': [board]\n")
    for stage in (office.platform.raw, office.platform.parsed, office.platform.clean):
        stage("acme").run(SECOND)
    for branch in (office.platform.chunks, office.platform.embeddings):
        branch("acme", "docs_v1").run(SECOND)
    assert office.platform.vector_index("acme", "docs_v1").run(SECOND).disagreeing == 1
    office.platform.reconciler("docs_v1").run(repair=True)
    assert office.found(Reader("acme", ("hr",))) == []
    assert office.platform.vector_index("acme", "docs_v1").run(SECOND).disagreeing == 0
    assert office.found(Reader("acme", ("board",))) == ["clerk.md", "menu.md", "nobody.md"]


def test_what_was_guarded_stays_so_when_its_source_leaves_the_settings(office: Office) -> None:
    settings = office.platform.settings
    globex = settings.sources["globex"].model_copy(update={"tenant": "default"})
    left = settings.model_copy(update={"sources": {"globex": globex}})
    later = CountedPlatform(left, embedders={"wordllama": office.embedder}, quick=True)
    reader = later.reader()
    assert reader == Reader("default")
    with later.searcher() as searcher:
        assert searcher.search(QUESTION, 50) == []
    later.close()
