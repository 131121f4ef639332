"""What a source lists."""

from rag_platform.documents.sources.base import ListedObject, Source
from rag_platform.documents.sources.selection import Selection

EVERYTHING = Selection.of(("**",), ())


def listed(source: Source) -> dict[str, ListedObject]:
    """The objects of a listing by key, each of which stands there once."""
    found = [one for batch in source.batches() for one in batch]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}
