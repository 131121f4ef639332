"""The page of the audit log."""

import contextlib

import pytest

from rag_platform.actions import Actions
from rag_platform.erasure.subjects import NoSuchDocument, StillThere
from rag_platform.errors import PlatformError
from rag_platform.operations.audit import Audit
from rag_platform.platform import Platform
from rag_platform_tests.console.library import NOTES
from rag_platform_tests.console.visitor import Visitor, said, text_of


def rows(visitor: Visitor, path: str = "/audit") -> list[list[str]]:
    table = visitor.html(path).xpath("//tbody/tr")
    return [[said(cell) for cell in row] for row in table]


def test_who_changed_what_and_how_it_ended(visitor: Visitor, platform: Platform) -> None:
    assert "Nothing here." in visitor.text("/audit")
    audit = Audit(platform.catalog)
    hostile = "<b>x</b>\u202e"
    with audit.audited("index.promote", "v2", actor=hostile, via="cli", reason=hostile, force=True):
        pass
    with (
        contextlib.suppress(PlatformError),
        audit.audited("review.reject", "7", actor="ann", via="console"),
    ):
        raise PlatformError("review 7: already\napproved")
    refused, promoted = rows(visitor)
    assert promoted[1:] == [
        "<b>x</b>\ufffd",
        "cli",
        "index.promote",
        "v2",
        "done",
        "<b>x</b>\ufffd",
        "force: True",
    ]
    assert refused[1:6] == [
        "ann",
        "console",
        "review.reject",
        "7",
        "refused review 7: already approved",
    ]
    assert not visitor.html("/audit").xpath("//main//b")
    assert [row[3] for row in rows(visitor, "/audit?action=index")] == ["index.promote"]
    assert rows(visitor, "/audit?action=model") == []


def test_what_is_under_way_or_was_killed(visitor: Visitor, platform: Platform) -> None:
    block = Audit(platform.catalog).audited("model.rollback", "m", actor="ann", via="cli")
    block.__enter__()
    [row] = rows(visitor)
    assert row[5] == "under way, or killed"


def test_fifty_a_page(visitor: Visitor, platform: Platform) -> None:
    audit = Audit(platform.catalog)
    for number in range(101):
        with audit.audited("index.retire", f"v{number}", actor="ann", via="cli"):
            pass
    path, found = "/audit?action=index", []
    for size in (50, 50, 1):
        page = visitor.html(path)
        names = [said(cell) for cell in page.xpath("//tbody/tr/td[5]")]
        assert len(names) == size
        found += names
        [path] = page.xpath("//a[@rel='next']/@href") or [""]
    assert found == [f"v{number}" for number in reversed(range(101))]
    assert path == ""
    assert visitor.get("/audit?before=x").status_code == 200


def test_a_refused_erasure_leaves_no_key(platform: Platform) -> None:
    for key, error in (("tea.md", StillThere), ("former-name.md", NoSuchDocument)):
        with pytest.raises(error, match=key):
            Actions(platform, "ann", "cli").request_erasure(NOTES, [key], reason="asked for")
        [entry, *_] = Audit(platform.catalog).entries()
        assert (entry.outcome, entry.detail) == ("refused", error.__name__)
        assert key not in str(entry)


def test_a_reason_is_no_essay(visitor: Visitor, platform: Platform) -> None:
    answer = visitor.post("/indexes/rollback", live="v1", reason="x" * 501)
    assert answer.status_code == 409
    assert "at most 500" in text_of(answer)
    assert Audit(platform.catalog).entries() == []
