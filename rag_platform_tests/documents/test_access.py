"""Who may read a document, from the source to the catalog."""

import json

import pytest
import sqlalchemy as sa

from rag_platform.documents.access import Access, AccessRules, read, written
from rag_platform.documents.sources.base import ListedObject, SourceUnavailable
from rag_platform.documents.sources.selection import Patterns
from rag_platform.storage.schema import documents
from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND = "2026-07-01", "2026-07-02"
RULES = "'**': [staff]\n'hr/**': [hr, ceo]\n'hr/menu.md': ['*']\n"


def acls(docs: Docs) -> dict[str, list[str] | None]:
    with docs.platform.catalog.read() as connection:
        rows = connection.execute(
            sa.select(documents.c.key, documents.c.acl).where(~documents.c.gone)
        )
        return {row.key: row.acl and json.loads(row.acl) for row in rows}


@pytest.fixture
def guarded(make_docs: MakeDocs) -> Docs:
    docs = make_docs(acl={"file": ".access.yaml"})
    docs.folder.write(".access.yaml", RULES)
    for key in ("a.md", "hr/pay.md", "hr/menu.md"):
        docs.folder.write(key, f"text of {key}")
    return docs


def test_the_last_pattern_that_takes_a_key_counts(guarded: Docs) -> None:
    guarded.run(FIRST)
    assert acls(guarded) == {"a.md": ["staff"], "hr/pay.md": ["ceo", "hr"], "hr/menu.md": ["*"]}


def test_readers_change_without_a_change_of_the_document(guarded: Docs) -> None:
    guarded.run(FIRST)
    guarded.folder.write(".access.yaml", "'**': [board]\n")
    done = guarded.run(SECOND)
    assert (done.changes, guarded.raw_keys(SECOND, 1)) == ({}, [])
    assert [*acls(guarded).values()] == [["board"]] * 3


@pytest.mark.parametrize(
    "rules", ["", "- a\n", "'**': staff\n", "'**': ['']\n", "a: [b\n", "'**': [1]\n", None]
)
def test_without_rules_nothing_is_taken(guarded: Docs, rules: str | None) -> None:
    if rules is None:
        guarded.folder.remove(".access.yaml")
    else:
        guarded.folder.write(".access.yaml", rules)
    with pytest.raises(SourceUnavailable, match=r"\.access\.yaml"):
        guarded.run(FIRST)
    assert acls(guarded) == {}


def test_groups_are_for_what_no_rule_takes(make_docs: MakeDocs) -> None:
    docs = make_docs(acl={"groups": ["staff"], "file": ".access.yaml"})
    docs.folder.write(".access.yaml", "'hr/**': []\n")
    docs.folder.write("a.md", "a")
    docs.folder.write("hr/b.md", "b")
    docs.run(FIRST)
    assert acls(docs) == {"a.md": ["staff"], "hr/b.md": []}


def test_a_source_without_rules_is_for_everybody(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(FIRST)
    assert acls(docs) == {"a.md": None}
    assert read(None) == ["*"]


def test_what_the_source_itself_tells_goes_before_rules() -> None:
    rules = AccessRules([(Patterns(("**",)), ("staff",))])
    assert rules.of(ListedObject("a", 1, 0.0, "e", acl=("x", "b", "x"))) == ("b", "x")
    assert rules.of(ListedObject("a", 1, 0.0, "e", acl=())) == ()
    assert rules.of(ListedObject("a", 1, 0.0, "e")) == ("staff",)
    assert Access(groups=("b", "a")).groups == ("b", "a")


def test_tags_are_kept_as_they_are() -> None:
    tags = ["Ä", 'quote"', "a,b"]
    assert read(written(tags)) == tags
