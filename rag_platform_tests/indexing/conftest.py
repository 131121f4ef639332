"""Small worlds on the embedded engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_platform_tests.conformance.harness import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty folder and an empty index."""
    made = World(tmp_path / "world", quick=True)
    yield made
    made.platform.close()
