"""A code location for each test."""

from pathlib import Path

import pytest

from rag_platform_tests.defs.location import Location


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """Over an empty folder with daily windows from 2026-06-01 and one index."""
    return Location(tmp_path, monkeypatch)
