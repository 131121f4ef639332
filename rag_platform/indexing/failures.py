"""What a vector store fails at, counted: an index that cannot be written is seen by its metrics."""

from collections.abc import Iterator
from contextlib import contextmanager

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import VECTOR_STORE_FAILURES, Measures, Operation
from rag_platform.storage.vectors.base import VectorStoreError


@contextmanager
def failures_counted(catalog: Catalog, index: str, operation: Operation) -> Iterator[None]:
    """Count a `VectorStoreError` of the block, which is raised on. Waiting for a lock is none."""
    try:
        yield
    except VectorStoreError:
        Measures(catalog).observe(VECTOR_STORE_FAILURES, [1.0], index=index, operation=operation)
        raise
