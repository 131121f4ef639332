"""A small platform with some of everything that the console shows, and hostile documents in it.

Built by the stages themselves, without Dagster; a test works on a copy.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from rag_platform.documents.parsed import ParsedDocs
from rag_platform.llm.budget import Attempt
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import reviews
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.conformance.harness import InProcessPool
from rag_platform_tests.enrichment.conftest import LABELS, text

NOTES, WIKI = "notes", "wiki"
WINDOW = "2026-07-01"
PERSON = "ann"
SCRIPT = "<script>document.title='owned'</script>"
BROKEN_IMAGE = '"><img src=x onerror=alert(1)>'
HOSTILE_KEY = "a<img src=x onerror=alert(1)>&?#'.md"
HIDDEN = "hidden/plan.md"

_TEA = (
    "Black tea is steeped for four minutes in boiling water, and never longer than that.",
    "Green tea wants cooler water of eighty degrees and no more than two minutes in the pot.",
    "The kettle is descaled once a month with vinegar, then boiled twice with clear water.",
    "Loose leaves are kept in a closed tin, away from light, heat and strong smells.",
)
_NEAR = " ".join(
    f"Step {n} of the inspection: open valve {n}, and wait until the gauge shows a steady pressure."
    for n in range(1, 40)
)
# By key; bytes as they are.
DOCUMENTS: dict[str, str | bytes] = {
    "tea.md": "# About tea\n\n" + "\n\n".join(_TEA) + "\n",
    "copy/tea.md": "# About tea\n\n" + "\n\n".join(_TEA) + "\n",
    HOSTILE_KEY: f"# {SCRIPT} {BROKEN_IMAGE}\n\nThe steam engine {SCRIPT} was patented by James "
    f"Watt {BROKEN_IMAGE}.\n\nSee [the drawing](javascript:alert(1)) of the steam engine.\n",
    "bidi.md": "# Order \u202eexe.fdp\n\nThe turbine \u202e is read from right to left \u2066.\n",
    "loans.md": text("loans", "Ann Lee writes on 2024-03-05 of a mortgage at Example Bank."),
    "cards.md": text("cards", "Her debit card was stolen in Berlin."),
    "private.md": "# Contacts\n\nThe caretaker is reached by mail to jane.doe@example.org only.\n",
    "first.md": f"# Inspection\n\n{_NEAR}\n",
    "second.md": f"# Inspection\n\n{_NEAR} Sign the sheet.\n",
    HIDDEN: "# Plan\n\nThe board will sell the lighthouse in the autumn.\n",
    "gone.md": "# Gone\n\nThis page about the old harbour was removed.\n",
    "erased.md": "# Erased\n\nThis page about a former tenant was erased.\n",
    "broken.pdf": b"%PDF-1.7 broken",
    "packed.zip": b"PK\x03\x04 packed",
    "access.yaml": yaml.safe_dump({"*": ["*"], "hidden/**": ["board"]}),
}
_GOLDEN = {
    "1": ("how long is black tea steeped", "short", "tea.md"),
    "2": ("who patented the steam engine", "short", HOSTILE_KEY),
    "3": ("a letter to the bank about a mortgage", "long", "loans.md"),
    "4": ("whose debit card was stolen and where", "long", "cards.md"),
}


class QuickPlatform(Platform):
    """Parses in this process."""

    def parsed(self, name: str) -> ParsedDocs:
        """As ever, without processes of its own."""
        stage = super().parsed(name)
        stage._pool = InProcessPool  # type: ignore[assignment]
        return stage


@dataclass
class Place:
    """A copy of the library in a folder. `settings` replace those of platform.yaml."""

    root: Path
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The state folder."""
        return self.root / "home"

    @property
    def docs(self) -> Path:
        """The files of the source `notes`."""
        return self.root / "docs"

    def write(self, **settings: Any) -> None:
        """Write platform.yaml with some settings added."""
        self.settings |= settings
        source = {
            "url": self.docs.as_uri(),
            "start": WINDOW,
            "dated_by": "seen",
            "max_deletion_share": 0.9,
            "max_dead_letter_share": 1.0,
            "near_duplicates": 0.8,
            "acl": {"file": "access.yaml"},
            "safety": {"pii": "mask"},
        }
        wiki = {"url": (self.root / "wiki").as_uri(), "start": WINDOW, "dated_by": "seen"}
        tree = {
            "sources": {NOTES: source, WIKI: wiki},
            "indexes": {"v1": {"chunker": {"max_tokens": 64, "overlap": 0}}, "v2": {}},
            "live": "v1",
            "golden": {"questions": {"url": str(self.root / "golden"), "source": NOTES}},
            "enrichment": {"sources": [NOTES], "labels": LABELS, "gate": 1.0},
            "models": {"tiny_model": {"data": str(self.root)}},
            "automation": False,
            **self.settings,
        }
        (self.root / "platform.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")

    def variables(self) -> dict[str, str]:
        """The environment of this platform."""
        return {
            "RAG_PLATFORM_CONFIG": str(self.root / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(self.home),
            "DAGSTER_HOME": str(self.home / "dagster"),
            "USER": PERSON,
            **self.environment,
        }

    def platform(self) -> Platform:
        """Opened anew; who opens it closes it."""
        return QuickPlatform(load(self.root / "platform.yaml", self.variables()))


def _build(root: Path, mlflow: Path) -> None:
    place = Place(root)
    place.docs.mkdir(parents=True)
    _write(place)
    new_catalog(place.home / "catalog.db")
    shutil.copyfile(mlflow, place.home / "mlflow.db")
    platform = place.platform()
    _pages(place, platform)
    _enriched(platform)
    _measured(platform)
    _spent(platform)
    _models(platform)
    platform.close()


def _write(place: Place) -> None:
    for key, content in DOCUMENTS.items():
        file = place.docs / key
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    wiki, golden = place.root / "wiki", place.root / "golden"
    wiki.mkdir()
    (wiki / "steam.md").write_text("# Steam\n\nSteam engines drove mills and ships.\n")
    golden.mkdir()
    queries = [{"_id": n, "text": t, "slice": s} for n, (t, s, _) in _GOLDEN.items()]
    written = "".join(json.dumps(query) + "\n" for query in queries)
    (golden / "queries.jsonl").write_text(written, encoding="utf-8")
    grades = "".join(f"{n}\t{key}\t1\n" for n, (_, _, key) in _GOLDEN.items())
    (golden / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + grades, encoding="utf-8")
    place.write()


def _pages(place: Place, platform: Platform) -> None:
    """Two passes of a page: in the second, documents are gone and one is in quarantine."""
    _pass(platform, NOTES)
    (place.docs / "gone.md").unlink()
    (place.docs / "erased.md").unlink()
    (place.docs / "late.pdf").write_bytes(b"%PDF-1.7 late and broken")
    tea = place.docs / "tea.md"
    tea.write_text(tea.read_text() + "\nIce is for summer.\n", encoding="utf-8")
    os.utime(tea, (1_780_272_000, 1_780_272_000))
    _pass(platform, NOTES)
    from rag_platform.platform_erasure import eraser

    erasing = eraser(platform, NOTES)
    erasing.request(["erased.md"], by="bob", reason="asked for")
    erasing.run()
    _pass(platform, WIKI)
    # Last: to erase what is in them makes collections large, and every copy slow.
    for source in (NOTES, WIKI):
        _index(platform, source)


def _pass(platform: Platform, source: str) -> None:
    platform.raw(source).run(WINDOW)
    platform.parsed(source).run(WINDOW, retry=True)
    platform.clean(source).run(WINDOW)


def _index(platform: Platform, source: str) -> None:
    for index in platform.settings.indexes:
        platform.chunks(source, index).run(WINDOW)
        platform.embeddings(source, index).run(WINDOW)
        platform.vector_index(source, index).run(WINDOW)


def _enriched(platform: Platform) -> None:
    """Everything waits for a review; one of them has waited too long."""
    chain = platform.enrichment(NOTES)
    for step in chain.steps:
        step.run(WINDOW)
    chain.enriched.run(WINDOW)
    late = sa.update(reviews).where(reviews.c.key == "cards.md").values(due_at=1.0)
    with platform.catalog.begin() as connection:
        connection.execute(late)


def _measured(platform: Platform) -> None:
    from rag_platform.retrieval.evaluation import evaluate, record

    golden = platform.golden("questions")
    for index in platform.settings.indexes:
        with platform.searcher(index) as searcher:
            record(platform.catalog, evaluate(searcher, golden))


def _spent(platform: Platform) -> None:
    """A call that was answered, one that failed, one whose process died."""
    budget = platform.llm.budget
    call = Attempt("e", "large", "r1", "notes/document_summary", 10, 500_000, prompt="sum@v001")
    number = budget.reserve(call)
    budget.settle(number, input_tokens=1_234, output_tokens=56, microusd=250_000)
    dead = Attempt("e", "embedder", "r2", "v1/embeddings", 10, 100_000, lease_s=-1)
    budget.reserve(dead)


def _models(platform: Platform) -> None:
    """A champion and a challenger of the tiny model."""
    from rag_platform_tests.training.put import Put
    from rag_platform_tests.training.tiny import NAME

    put, promotions = Put(platform.models.registry), platform.models.promotions
    for threshold in (0.5, 0.6):
        number = put(threshold).number
        verdict = {"gate": "accuracy", "value": 0.9, "bound": 0.8, "passed": True}
        verdicts = [{**verdict, "told": "accuracy 0.9, at least 0.8"}]
        facts = {"verdicts": verdicts}
        promotions.enter(NAME, number, actor="training", reason="passed", facts=facts)


@contextmanager
def tiny_models(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tiny model is the only one that there is."""
    from rag_platform.training import catalogue
    from rag_platform_tests.training.tiny import NAME, SPEC

    with patch.context() as within:
        within.setattr(catalogue, "catalogue", lambda: {NAME: SPEC})
        yield


def library(base: Path, mlflow: Path) -> Path:
    """The library of all test processes, built by the first that asks."""
    from rag_platform.storage.locks import exclusive

    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    root = base / "console" / "library"
    with exclusive(base / "console" / "lock", timeout_s=300, purpose="library"):
        if not (root / "built").exists():
            shutil.rmtree(root, ignore_errors=True)
            with pytest.MonkeyPatch.context() as patch, tiny_models(patch):
                _build(root, mlflow)
            (root / "built").touch()
    return root
