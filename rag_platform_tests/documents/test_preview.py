"""A listing compared with the catalog, against a comparison in plain dictionaries."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.documents.identity import document_id
from rag_platform.documents.preview import preview
from rag_platform.documents.sources.base import ListedObject
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents

KEYS = st.sampled_from(["a", "b/c", "ü", "d" * 300, "%_", "'"])
FACTS = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.5, 1767225600.123457]))


def row(source: str, key: str, facts: tuple[int, float], *, gone: bool) -> dict[str, Any]:
    size, modified = facts
    return {
        "source": source,
        "key": key,
        "doc_id": document_id(source, key),
        "seq": 1,
        "window": "2026-01-01",
        "pass_no": 1,
        "gone": gone,
        "etag": "e",
        "size": size,
        "modified": modified,
        "empty": False,
    }


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    known=st.dictionaries(KEYS, st.tuples(FACTS, st.booleans())),
    listed=st.dictionaries(KEYS, FACTS),
    waiting=st.sets(KEYS),
)
def test_preview_counts_what_a_comparison_counts(
    known: dict[str, Any], listed: dict[str, Any], waiting: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(f"sqlite:///{folder}/catalog.db", lock_folder=Path(folder))
        rows = [row("s", key, facts, gone=gone) for key, (facts, gone) in known.items()]
        rows += [row("other", key, facts, gone=False) for key, facts in listed.items()]
        with catalog.begin() as connection:
            catalog.upsert(connection, documents, rows)
        objects = [ListedObject(key, size, at, "e") for key, (size, at) in listed.items()]
        found = preview(
            "s",
            [objects[:2], [], objects[2:]],
            catalog=catalog,
            is_due=lambda listed: listed.key not in waiting,
        )
        catalog.close()
    live = {key: facts for key, (facts, gone) in known.items() if not gone}
    same = {key for key in listed if live.get(key) == listed[key]}
    assert found.listed == len(listed)
    assert found.unchanged == len(same)
    assert found.waiting == len(waiting & set(listed) - same)
    assert found.new == len(set(listed) - set(live) - waiting)
    assert found.changed == len((set(listed) & set(live)) - same - waiting)
    assert found.gone == len(set(live) - set(listed))
    assert found.known == len(live)
