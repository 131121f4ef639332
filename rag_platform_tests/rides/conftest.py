"""Rides for each test."""

from pathlib import Path

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform_tests.rides.location import RidesLocation


@pytest.fixture
def location(tmp_path: Path, catalog: Catalog) -> RidesLocation:
    """Over an empty folder."""
    return RidesLocation(tmp_path, catalog)
