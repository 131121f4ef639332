"""Which keys belong to a source."""

import pytest

from rag_platform.documents.sources.selection import Selection


@pytest.mark.parametrize(
    ("include", "exclude", "key", "belongs"),
    [
        (("**",), (".*",), "a.md", True),
        (("**",), (".*",), "a/b c\nd.md", True),
        (("**",), (".*",), ".env", False),
        (("**",), (".*",), ".git/config", False),
        (("**",), (".*",), "a/.cache/x.md", False),
        (("**",), (".*",), "a./x.md", True),
        (("**",), (), ".env", True),
        (("*.md",), (), "a/b.md", True),
        (("*.md",), (), "a/b.MD", False),
        (("/*.md",), (), "a/b.md", False),
        (("**",), ("drafts/",), "x/drafts/a.md", False),
        (("**",), ("drafts/",), "drafts", True),
    ],
)
def test_selection(
    include: tuple[str, ...], exclude: tuple[str, ...], key: str, belongs: bool
) -> None:
    assert (key in Selection.of(include, exclude)) is belongs
