"""What a vector store fails at is counted, and raised all the same."""

import pytest

from rag_platform.errors import PlatformError
from rag_platform.indexing.failures import failures_counted
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.measures import VECTOR_STORE_FAILURES, Measures
from rag_platform.storage.vectors.base import PointsRefused, VectorStoreError
from rag_platform_tests.conformance.harness import V1, WINDOWS, World


@pytest.mark.parametrize("error", [VectorStoreError("away"), PointsRefused("NaN")])
def test_a_failure_is_counted_and_raised(catalog: Catalog, error: PlatformError) -> None:
    with pytest.raises(type(error)), failures_counted(catalog, "v1", "apply"):
        raise error
    (series,) = Measures(catalog).read(VECTOR_STORE_FAILURES)
    assert series.labels == {"index": "v1", "operation": "apply"}
    assert series.total == 1


def test_waiting_is_no_failure(catalog: Catalog) -> None:
    with pytest.raises(LockTimeout), failures_counted(catalog, "v1", "apply"):
        raise LockTimeout("held")
    assert Measures(catalog).read(VECTOR_STORE_FAILURES) == []


def test_the_stages_count_theirs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.folder.write("a.md", "A text.")
    world.sync(WINDOWS[0])

    def away(*_: object, **__: object) -> None:
        raise VectorStoreError("the store is away", transient=True)

    monkeypatch.setattr(type(world.platform.vectors), "open", away)
    (source,) = world.platform.settings.sources
    with pytest.raises(VectorStoreError):
        world.platform.vector_index(source, V1).run(WINDOWS[0])
    with pytest.raises(VectorStoreError):
        world.platform.reconciler(V1).run(repair=True)
    found = Measures(world.platform.catalog).read(VECTOR_STORE_FAILURES)
    assert {series.labels["operation"]: series.total for series in found} == {
        "apply": 1,
        "reconcile": 1,
    }
