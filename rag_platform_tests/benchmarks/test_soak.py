"""The parts of the soak that judge: its plan, its model of what must be found, and its sums."""

import importlib
import random
import sys
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from rag_platform.settings import PROJECT_ROOT
from rag_platform_tests.servers.openai_api import Request


@pytest.fixture(scope="module")
def soak() -> Any:
    """Its modules, by the way in which the script finds them."""
    sys.path.append(str(PROJECT_ROOT / "benchmarks"))
    try:
        yield {
            name: importlib.import_module(f"soak_{name}")
            for name in ("plan", "documents", "checks")
        }
    finally:
        sys.path.pop()


def test_a_plan_is_the_same_for_a_seed_and_deals_every_kind(soak: Any) -> None:
    plan = soak["plan"]
    rounds, again, other = (list(islice(plan.plan(seed), 12)) for seed in (7, 7, 8))
    assert rounds == again
    assert rounds != other
    assert [each.number for each in rounds] == list(range(1, 13))
    kinds = [event.kind for each in rounds for event in each.events]
    assert set(kinds) == set(plan.KINDS)
    # As from a deck of 14 cards: 36 are two decks and eight of a third.
    assert set(Counter(kinds).values()) == {2, 3}
    for each in rounds:
        assert len({event.kind for event in each.events}) == 3
        for event in each.events:
            shortest, longest = plan.KINDS[event.kind]
            assert shortest <= event.seconds <= longest
            assert 0 <= event.after_s <= 60


def test_a_plan_of_one_kind(soak: Any) -> None:
    for each in islice(soak["plan"].plan(1, ["disk_full"]), 3):
        assert [event.kind for event in each.events] == ["disk_full"]


def test_what_the_source_holds_is_what_must_be_found(soak: Any) -> None:
    documents = soak["documents"]
    source = {"a.md": b"# t zqaaaaaaaa\n\nZqbbbbbbbb goes on. Zqcccccccc ends.\n", "b.pdf": b"x"}
    wanted = documents.expected(source)
    assert wanted == {"a.md": Counter(["zqaaaaaaaa", "zqbbbbbbbb", "zqcccccccc"])}

    def differences(*texts: str, key: str = "a.md") -> list[str]:
        points = [{"key": key, "text": text} for text in texts]
        found: list[str] = documents.differences(wanted, documents.found(points))
        return found

    title, end = "t zqaaaaaaaa", "Zqbbbbbbbb goes on. Zqcccccccc ends."
    assert differences(title, end) == []
    assert differences() == ["a.md: lost"]
    assert differences(title) == ["a.md: 2 lost, 0 stale, 0 doubled"]
    assert differences(title, end, end) == ["a.md: 0 lost, 0 stale, 2 doubled"]
    assert differences(title, end, "zqdddddddd") == ["a.md: 0 lost, 1 stale, 0 doubled"]
    assert differences(title, end, key="c.md") == [
        "a.md: lost",
        "c.md: stale, its document is gone",
    ]


def test_every_edit_leaves_a_document_with_words_of_its_own(soak: Any) -> None:
    documents = soak["documents"]
    writer = documents.Writer(random.Random(1))
    content = writer.document()
    for _ in range(100):
        before, content = content, writer.edited(content)
        marks = documents.marks_of(content.decode())
        assert content != before
        assert len(marks) > 2
        assert set(marks.values()) == {1}


def request(at: float, *texts: str, fault: str = "ok", status: int = 200) -> Request:
    body = {"model": "soak-embedder", "input": list(texts)}
    return Request("/v1/embeddings", body, "", at, fault, status)


def test_what_was_charged_is_what_the_service_did(soak: Any) -> None:
    refused = request(1, "a b", fault="status", status=429)
    done, cut = request(2, "a b", "c"), request(3, "d", fault="reset")
    made = soak["checks"].charges([refused, done, cut, request(4, "e", fault="html")])
    assert [(charge.microusd, charge.whole) for charge in made] == [(3, True), (1, False)]


def test_only_an_answer_that_was_lost_may_be_paid_again(soak: Any) -> None:
    checks = soak["checks"]
    text = "a text that is longer than a query"
    twice = checks.charges([request(100, text), request(160, text)])
    assert checks.paid_twice(twice, []) == ["soak-embedder: paid again 60 s later"]
    assert checks.paid_twice(twice, [(90, 110)]) == []
    assert checks.paid_twice(twice, [(110, 200)]) != []
    cut_off = checks.charges([request(100, text, fault="hang"), request(160, text)])
    assert checks.paid_twice(cut_off, []) == []


@pytest.mark.parametrize(
    ("samples", "is_bounded"),
    [
        ([100.0] * 30, True),
        ([100.0] * 10 + [300.0] * 20, True),  # what it needs once it works
        ([100.0 + 20 * n for n in range(60)], False),
        ([900.0], True),
    ],
)
def test_growth(soak: Any, samples: list[float], is_bounded: bool) -> None:
    assert soak["checks"].did_not_grow(samples) == is_bounded
