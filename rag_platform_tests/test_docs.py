"""What the documentation shows works as it stands there."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.sources import NotTaken, Selection, Source, SourceUnavailable
from rag_platform.settings import load

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    return [code for name, code in BLOCK.findall(page.read_text("utf-8")) if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [
        to for to in LINK.findall(page.read_text("utf-8")) if not (page.parent / to).exists()
    ]
    assert missing == []


SETTINGS = [(page.name, code) for page in PAGES for code in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "code"), SETTINGS)
def test_settings_are_read(page: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text(code, "utf-8")
    load(tmp_path / "platform.yaml", {})


def test_there_are_settings_to_read() -> None:
    assert len(SETTINGS) > 5


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "blobs").mkdir()
    entries = {}
    for key, text in (("a.md", "first"), ("drafts/b.md", "second")):
        digest = hashlib.sha256(text.encode()).hexdigest()
        (tmp_path / "blobs" / digest).write_text(text)
        entries[key] = {"size": len(text), "modified": 7.0, "sha256": digest}
    entries["evil.md"] = {"size": 1, "modified": 7.0, "sha256": "../../secret"}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(entries))
    return path


def test_the_source_of_ones_own(manifest: Path) -> None:
    [code] = blocks(ROOT / "docs" / "extending.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    source: Source = names["ManifestSource"](
        "manifest://x", Selection.of(("**",), ("drafts/",)), manifest=manifest
    )
    assert [[one.key for one in batch] for batch in source.batches()] == [["a.md", "evil.md"]]
    fetched = source.fetch("a.md")
    assert fetched is not None
    assert (fetched.content, fetched.modified) == (b"first", 7.0)
    assert source.fetch("gone.md") is None
    with pytest.raises(NotTaken):
        source.fetch("evil.md")
    manifest.write_text("{")
    with pytest.raises(SourceUnavailable):
        list(source.batches())
