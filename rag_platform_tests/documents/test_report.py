"""What a page came to, and when too much of it is dead."""

import pytest

from rag_platform.documents.report import PageReport, report, too_many_dead
from rag_platform_tests.documents.conftest import Docs

FIRST, SECOND = "2026-07-01", "2026-07-02"
OF_LISTED = "listed documents are dead letters"
OF_PAGE = "documents of this page are dead letters"


def page(*, listed: int, dead: int, standing: int) -> PageReport:
    return PageReport("s", FIRST, listed, listed, 0, {}, 0, standing, dead, dead, standing)


@pytest.mark.parametrize(
    ("listed", "dead", "standing", "share", "says"),
    [
        (0, 0, 0, 0.0, None),
        (100, 0, 100, 0.0, None),
        (100, 1, 100, 0.0, f"1 of 100 {OF_LISTED}, over the share of 0%"),
        (100, 10, 100, 0.1, None),
        (100, 11, 100, 0.1, f"11 of 100 {OF_LISTED}, over the share of 10%"),
        (10_000, 1_234, 10_000, 0.1, f"1,234 of 10,000 {OF_LISTED}, over the share of 10%"),
        # Four of a page's own four may be four broken documents, five are a broken parser.
        (1_000, 4, 4, 0.1, None),
        (1_000, 5, 5, 0.1, f"5 of 5 {OF_PAGE}, over the share of 10%"),
        (1_000, 5, 50, 0.1, None),
        (1_000, 6, 50, 0.1, f"6 of 50 {OF_PAGE}, over the share of 10%"),
        (5, 5, 5, 1.0, None),
    ],
)
def test_too_many_dead(
    listed: int, dead: int, standing: int, share: float, says: str | None
) -> None:
    assert too_many_dead(page(listed=listed, dead=dead, standing=standing), share) == says


def test_a_page_that_was_never_written(docs: Docs) -> None:
    assert report(docs.platform.catalog, "manuals", FIRST) is None


def test_a_page_on_its_way(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.pdf", b"%PDF-1.7 broken")
    docs.ask(FIRST)
    before = docs.page(FIRST)
    assert (before.listed, before.undecided, before.sums) == (2, 2, False)
    docs.parse(FIRST)
    docs.clean(FIRST)
    after = docs.page(FIRST)
    assert after.outcomes == {"inserted": 1, "dead_lettered": 1}
    assert (after.undecided, after.standing, after.dead, after.sums) == (0, 2, 1, True)


def test_dead_letters_count_on_every_page(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.pdf", b"%PDF-1.7 broken")
    docs.run(FIRST)
    docs.folder.write("c.md", "c")
    docs.run(SECOND)
    page = docs.page(SECOND)
    assert (page.outcomes, page.standing, page.dead) == (
        {"inserted": 1, "unchanged": 1, "dead_lettered": 1},
        1,
        0,
    )
    assert docs.page(FIRST).dead == 1
    assert (docs.page(FIRST).dead_so_far, page.dead_so_far) == (1, 1)


def test_a_page_without_outcome_in_an_older_pass_does_not_sum(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.ask(FIRST)
    docs.folder.write("b.md", "b")
    docs.ask(FIRST)
    assert docs.page(FIRST).undecided == 2


def test_a_page_that_time_passed_over_has_nothing(docs: Docs) -> None:
    for number in range(9):
        docs.folder.write(f"{number}.md", f"text {number}")
    docs.folder.write("b.pdf", b"%PDF-1.7 broken")
    docs.run(FIRST)
    docs.run("2026-07-03")
    docs.run(SECOND)
    page = docs.page(SECOND)
    assert (page.listed, page.outcomes, page.sums) == (0, {}, True)
    assert (page.dead_so_far, page.standing_so_far) == (1, 10)
    assert too_many_dead(page, 0.1) is None
    assert too_many_dead(page, 0.09) == (
        "1 of 10 known documents are dead letters, over the share of 9%"
    )
