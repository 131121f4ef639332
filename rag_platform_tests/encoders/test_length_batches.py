from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.encoders.length_batches import batches, halving, padded


class TooLarge(Exception):
    pass


def is_too_large(error: Exception) -> bool:
    return isinstance(error, TooLarge)


def taking(most: int, seen: list[list[int]]) -> Callable[[list[int]], list[int]]:
    """Something that takes so many at a time, and makes 10 of 1."""

    def run(batch: list[int]) -> list[int]:
        seen.append(batch)
        if len(batch) > most:
            raise TooLarge
        return [10 * at for at in batch]

    return run


@given(st.lists(st.integers(0, 700), max_size=200), st.integers(1, 5_000))
def test_every_text_once_and_within_the_bound(lengths: list[int], most: int) -> None:
    found = list(batches(lengths, most_tokens=most))
    assert sorted(at for batch in found for at in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[at] for at in batch)
        assert len(batch) == 1 or len(batch) * padded(longest) <= most
    ordered = [lengths[at] for batch in found for at in batch]
    assert ordered == sorted(lengths, reverse=True)


def test_batches_are_as_full_as_the_bound_allows() -> None:
    assert list(batches([3, 16, 8, 9, 1], most_tokens=32)) == [[1, 3], [2, 0, 4]]
    # 16 tokens wide two fit, 8 wide four; a longer one goes alone.
    assert list(batches([40, 8, 8], most_tokens=32)) == [[0], [1, 2]]
    assert list(batches([], most_tokens=32)) == []
    assert list(batches([0], most_tokens=1)) == [[0]]


@pytest.mark.parametrize(("length", "width"), [(1, 8), (8, 8), (9, 16), (512, 512)])
def test_widths_are_multiples_of_eight(length: int, width: int) -> None:
    assert padded(length) == width


def test_what_is_too_large_is_halved_until_it_fits() -> None:
    seen: list[list[int]] = []
    found = list(halving(list(range(7)), taking(2, seen), is_too_large=is_too_large))
    assert [at for batch, _ in found for at in batch] == list(range(7))
    assert [value for _, values in found for value in values] == [10 * at for at in range(7)]
    assert list(map(len, seen)) == [7, 3, 1, 2, 4, 2, 2]


def test_one_text_that_is_too_large_is_an_error() -> None:
    with pytest.raises(TooLarge):
        list(halving([5, 6], taking(0, []), is_too_large=is_too_large))


def test_other_errors_are_not_tried_again() -> None:
    calls: list[list[int]] = []

    def broken(batch: list[int]) -> None:
        calls.append(batch)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(halving([1, 2, 3], broken, is_too_large=is_too_large))
    assert calls == [[1, 2, 3]]
