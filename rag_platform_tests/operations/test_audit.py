"""The audit log: begun before, ended after, whatever happens in between."""

import time

import pytest

from rag_platform.errors import PlatformError
from rag_platform.operations.audit import Audit, Via
from rag_platform.storage.catalog import Catalog

CONSOLE: Via = "console"


def test_an_action_is_there_while_it_is_under_way(catalog: Catalog) -> None:
    audit = Audit(catalog)
    before = time.time()
    with audit.audited("index.promote", "v2", actor="ann", via="cli", reason="better", force=True):
        (entry,) = audit.entries()
        assert (entry.actor, entry.via, entry.action) == ("ann", "cli", "index.promote")
        assert (entry.subject, entry.reason, entry.facts) == ("v2", "better", {"force": True})
        # As a killed process leaves it.
        assert (entry.outcome, entry.detail, entry.ended_at) == (None, None, None)
    (entry,) = audit.entries()
    assert entry.outcome == "done"
    assert entry.ended_at is not None
    assert before <= entry.at <= entry.ended_at <= time.time()


def test_what_the_block_says_stays(catalog: Catalog) -> None:
    audit = Audit(catalog)
    with audit.audited("index.promote", "v2", actor="ann", via=CONSOLE) as ending:
        ending.refuse("not evaluated")
        ending.facts["seen"] = 3
    (entry,) = audit.entries()
    assert (entry.outcome, entry.detail, entry.facts) == ("refused", "not evaluated", {"seen": 3})


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (PlatformError("no such\n  index"), "refused", "no such index"),
        # What an unexpected error says may hold anything, so only its kind is kept.
        (ValueError("secret"), "failed", "ValueError"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt"),
    ],
)
def test_an_error_is_logged_and_raised(
    catalog: Catalog, error: BaseException, outcome: str, detail: str
) -> None:
    audit = Audit(catalog)
    with (
        pytest.raises(type(error)),
        audit.audited("index.retire", "v1", actor="ann", via=CONSOLE),
    ):
        raise error
    (entry,) = audit.entries()
    assert (entry.outcome, entry.detail) == (outcome, detail)


def test_entries_come_newest_first_and_in_parts(catalog: Catalog) -> None:
    audit = Audit(catalog)
    for number in range(5):
        action = "index.promote" if number % 2 else "indexed"
        with audit.audited(action, str(number), actor="ann", via=CONSOLE):
            pass
    assert [entry.subject for entry in audit.entries(limit=2)] == ["4", "3"]
    last = audit.entries(limit=2)[-1].id
    assert [entry.subject for entry in audit.entries(before=last)] == ["2", "1", "0"]
    # The first part of a name is a whole part.
    assert [entry.subject for entry in audit.entries(action="index")] == ["3", "1"]
    assert [entry.subject for entry in audit.entries(action="indexed")] == ["4", "2", "0"]
    assert audit.entries(action="%") == []
