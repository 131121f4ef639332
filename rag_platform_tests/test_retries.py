"""Trying again, and what is said of it."""

import logging

import pytest

from rag_platform.retries import attempts


class Down(Exception):
    """What passes, or does not."""


def fail(times: int, *, passes: bool, tries: list[int] | None = None) -> list[int]:
    """Do something that fails so many times; the numbers of the tries, five at most."""
    tries = [] if tries is None else tries
    for attempt in attempts(lambda _: passes, most=5, first_wait_s=0.001, longest_wait_s=0.002):
        with attempt:
            tries.append(attempt.num)
            if len(tries) <= times:
                raise Down("no answer\nfrom there")
    return tries


def test_until_it_ends_well(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="rag_platform"):
        assert fail(2, passes=True) == [1, 2, 3]
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("Down: no answer from there; trying again in 0.0")
    assert capfd.readouterr().out == ""


def test_the_last_error_is_raised_as_it_is() -> None:
    with pytest.raises(Down):
        fail(5, passes=True)


def test_what_does_not_pass_is_tried_once() -> None:
    tries: list[int] = []
    with pytest.raises(Down):
        fail(1, passes=False, tries=tries)
    assert tries == [1]
