"""The quality gate on a page: null shares and outliers, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.enrichment.quality import Measures, Odd, PageMeter, PageQuality, history, outliers
from rag_platform.settings_pipelines import QualitySettings
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.enrichment.conftest import FIRST, SECOND, World, text

RULES = QualitySettings()
USUAL = [Measures(1_000 + 10 * n, 0.8 + 0.001 * n, 0.9) for n in range(100)]


def judged(
    missing: list[list[str]], measures: list[Measures] | None = None, past: list[Measures] = USUAL
) -> PageQuality:
    meter = PageMeter()
    for number, (lacks, measure) in enumerate(zip(missing, measures or USUAL, strict=False)):
        meter.add(f"{number}.md", lacks, measure)
    return meter.judge(past, RULES)


def test_nothing_missing() -> None:
    page = judged([[]] * 10)
    assert (page.documents, page.null_share, page.outlier_share) == (10, 0.0, 0.0)
    assert page.problems == []


def test_the_null_share_counts_fields() -> None:
    # Four of forty fields: at the limit, which is no problem.
    page = judged([["summary"]] * 4 + [[]] * 6)
    assert (page.null_share, page.problems) == (0.1, [])
    page = judged([["summary", "label"]] * 2 + [["language"]] + [[]] * 7)
    assert page.null_share == 0.125
    assert page.problems == [
        "12% of the required fields of 10 documents are missing (language 1, summary 2, label 2), "
        "over max_null_share 10%"
    ]


def test_one_document_does_not_fail_a_page() -> None:
    assert judged([["title", "language", "summary", "label"]]).problems == []
    assert judged([["language"], []]).problems == []
    assert len(judged([["language"], ["summary"]]).problems) == 1


def test_outliers_by_length_quality_and_confidence() -> None:
    odd = [
        Measures(1_000_000, 0.85, 0.9),  # too long
        Measures(3, 0.85, 0.9),  # too short
        Measures(1_500, 0.2, 0.9),  # bad
        Measures(1_500, 0.85, 0.1),  # unsure
    ]
    fine = [Measures(1_500, 1.0, 1.0), Measures(1_500, 0.85, None), Measures(2_500, 0.8, 0.8)]
    assert outliers([*odd, *fine], USUAL).tolist() == [True] * 4 + [False] * 3


def test_one_outlier_is_none_and_two_of_twenty_are_too_many() -> None:
    odd = Measures(1_000_000, 0.8, 0.9)
    one = judged([[]] * 10, [odd, *USUAL[:9]])
    assert (one.outliers, one.outlier_share, one.problems) == (1, 0.1, [])
    two = judged([[]] * 20, [odd, odd, *USUAL[:18]])
    assert two.problems == [
        "2 of 20 documents are outliers in length, quality or confidence, over max_outlier_share 5%"
    ]
    assert judged([[]] * 40, [odd, odd, *USUAL[:38]]).problems == []


def test_odd_documents_are_named() -> None:
    measures = [USUAL[0], Measures(1_000_000, 0.05, 0.9), USUAL[2]]
    page = judged([[], [], ["language"]], measures)
    assert page.odd == [
        Odd("1.md", (), ("characters 1,000,000", "quality 0.05")),
        Odd("2.md", ("language",), ()),
    ]
    assert len(judged([["summary"]] * 50).odd) == 20


def test_without_a_past_the_page_is_its_own_measure() -> None:
    odd = Measures(1_000_000, 0.8, 0.9)
    page = [*USUAL[:30], odd]
    assert outliers(page, []).tolist() == [False] * 30 + [True]
    # Nobody can tell among a few.
    assert not outliers([*USUAL[:8], odd], []).any()
    assert not outliers([*USUAL[:8], odd], USUAL[:20]).any()


def test_documents_that_are_all_alike() -> None:
    same = [Measures(1_000, 0.9, 0.99)] * 50
    # Within a factor of five, a third of quality and half of the confidence, nothing is odd.
    close = [Measures(5_000, 0.6, 0.5), Measures(220, 1.0, 1.0)]
    assert not outliers(close, same).any()
    assert outliers([Measures(100_000, 0.9, 0.99)], same).all()


def test_a_tail_that_was_always_there() -> None:
    # One in ten documents is poor; so it was before.
    usual = [Measures(1_000, 0.2 if n % 10 == 0 else 0.9, 0.9) for n in range(200)]
    assert not outliers(usual[:50], usual).any()
    assert outliers([Measures(1_000, 0.1, 0.9)], usual).all()
    # On the first page nobody can know that.
    assert outliers(usual[:50], []).sum() == 5


@st.composite
def pages(draw: st.DrawFn) -> list[Measures]:
    """Documents of which a measure is known for all or for none: of fewer than 30 there is no past
    to be like."""
    share = st.floats(0, 1)
    quality, confidence = (share if draw(st.booleans()) else st.none() for _ in range(2))
    one = st.builds(Measures, st.integers(0, 10**7), quality, confidence)
    return draw(st.lists(one, min_size=30, max_size=60))


@given(pages())
def test_a_page_like_its_past_has_few_outliers(page: list[Measures]) -> None:
    odd = outliers(page, page)
    assert odd.shape == (len(page),)
    # A percentile of each of four tails, as far as one can be told in so few.
    assert odd.sum() <= 4 * max(1, len(page) // 100 + 1)


def test_history_is_of_earlier_windows(world: World) -> None:
    world.folder.write("a.md", text("loans"))
    world.sync(FIRST)
    world.folder.write("b.md", text("cards", "more words"))
    world.sync(SECOND)
    catalog = world.platform.catalog
    assert history(catalog, SOURCE, FIRST) == []
    [measures] = history(catalog, SOURCE, SECOND)
    assert measures.characters == len(text("loans"))
    assert measures.confidence is not None


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_page_holds(count: int) -> None:
    page = judged([[]] * count)
    assert (page.documents, page.problems) == (count, [])
    assert np.isfinite(page.null_share)
