import pytest

from rag_platform.llm.client import AttemptFailed
from rag_platform.llm.sender import Tally, _patience


def failure(wait_s: float | None = None, then: str = "retry") -> AttemptFailed:
    return AttemptFailed("http_500", "failed", billed="no", then=then, wait_s=wait_s)  # type: ignore[arg-type]


def test_the_waits_double_with_jitter_and_end_with_the_fourth_attempt() -> None:
    tally = Tally("p@v001")
    wait = _patience(tally)
    waits = [wait(failure()) for _ in range(3)]
    for seconds, least in zip(waits, (2, 4, 8), strict=True):
        assert least <= seconds <= least + 2
    assert wait(failure()) is False
    assert tally.waiting_left_s == pytest.approx(120 - sum(waits))


def test_the_waits_differ() -> None:
    assert len({_patience(Tally("p@v001"))(failure()) for _ in range(20)}) > 15


def test_what_a_service_asks_for_is_waited_at_least() -> None:
    assert _patience(Tally("p@v001"))(failure(wait_s=30)) == 30
    assert _patience(Tally("p@v001"))(failure(wait_s=0)) >= 2


def test_all_waits_of_a_call_are_at_most_two_minutes() -> None:
    tally = Tally("p@v001")
    first_model = _patience(tally)
    assert first_model(failure(wait_s=70)) == 70
    assert first_model(failure(wait_s=60)) is False
    assert tally.waiting_left_s == 50  # what is not waited for is not taken off
    next_model = _patience(tally)
    assert next_model(failure(wait_s=45)) == 45
    assert next_model(failure(wait_s=6)) is False
    assert not tally.wait(5.1)
    assert tally.wait(5)


@pytest.mark.parametrize("error", [failure(then="stop"), failure(then="dialect"), ValueError()])
def test_what_waiting_does_not_help_is_not_waited_for(error: Exception) -> None:
    tally = Tally("p@v001")
    assert _patience(tally)(error) is False
    assert tally.waiting_left_s == 120
