"""Work in child processes: order, laziness, errors, ends."""

import functools
import os
import signal
import time
from collections.abc import Iterator

import pytest

from rag_platform.encoders.bm25 import Bm25Encoder
from rag_platform.indexing import processes
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.indexing.processes import ChildDied, in_order


def slow_square(number: int) -> tuple[int, int]:
    """Early numbers take longest, so that results come out of order unless they are put right."""
    time.sleep(0.05 if number < 2 else 0)
    return number * number, os.getpid()


def refuse(number: int) -> int:
    if number == 5:
        raise ValueError(f"{number} is refused")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def shout(number: int) -> int:
    print("x" * 10_000)
    return number


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_results_come_in_order_from_both_children() -> None:
    results = list(in_order(slow_square, range(30)))
    assert [square for square, _ in results] == [n * n for n in range(30)]
    pids = {pid for _, pid in results}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {pid for _, pid in in_order(slow_square, range(30))} <= pids  # children are kept


def test_a_few_batches_start_no_process() -> None:
    assert {pid for _, pid in in_order(slow_square, range(7))} == {os.getpid()}


def test_batches_are_taken_a_few_at_a_time() -> None:
    taken = []

    def batches() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(slow_square, batches(), processes=1)
    assert next(results)[0] == 0
    assert len(taken) <= processes._WORTHWHILE
    results.close()  # type: ignore[attr-defined]


def test_what_the_function_raises_is_raised_with_its_place() -> None:
    results = in_order(refuse, range(20))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5 is refused") as raised:
        next(results)
    assert "in refuse" in raised.value.__notes__[0]


def test_a_killed_child_is_an_error() -> None:
    with pytest.raises(ChildDied, match="ended with status"):
        list(in_order(die, range(20), processes=1))


def test_what_is_printed_does_not_get_between_the_results(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert list(in_order(shout, range(12), processes=1)) == list(range(12))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err) >= 120_000


def test_chunker_and_sparse_encoder_give_the_same_in_a_child() -> None:
    texts = [f"# Title {n}\n\n" + f"Sentence {n} about collectors. " * 60 for n in range(9)]
    chunker, encoder = Chunker("document", 64, overlap=8), Bm25Encoder("german")
    assert list(in_order(chunker.chunk, texts, processes=1)) == [chunker.chunk(t) for t in texts]
    passage = functools.partial(Bm25Encoder.passage, encoder)
    assert list(in_order(passage, texts, processes=1)) == [encoder.passage(t) for t in texts]
