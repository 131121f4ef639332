"""Batches of texts of like length, so that a model computes little padding, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# Widths that are multiples of this suit the matrix units of GPUs.
WIDTH_STEP = 8


def padded(length: int) -> int:
    """The width at which a text of so many tokens is computed."""
    return -(-length // WIDTH_STEP) * WIDTH_STEP


def batches(lengths: Sequence[int], *, most_tokens: int) -> Iterator[list[int]]:
    """Positions of texts by their token counts, the longest first, each exactly once.

    A batch takes rows times width of its longest text, `most_tokens` at most; a text that is
    longer goes alone. The longest first: what does not fit into memory shows at the beginning.
    """
    batch: list[int] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batch and (len(batch) + 1) * width > most_tokens:
            yield batch
            batch = []
        if not batch:
            width = padded(max(1, lengths[position]))
        batch.append(position)
    if batch:
        yield batch


def halving(
    batch: list[int], run: Callable[[list[int]], T], *, is_too_large: Callable[[Exception], bool]
) -> Iterator[tuple[list[int], T]]:
    """What `run` makes of a batch; of its halves, where it is too large. One text is as small as
    a batch can be: what is raised for it is raised here."""
    try:
        result = run(batch)
    except Exception as error:
        if len(batch) == 1 or not is_too_large(error):
            raise
    else:
        yield batch, result
        return
    # Out of the handler: its exception holds what the attempt took of the memory.
    middle = len(batch) // 2
    yield from halving(batch[:middle], run, is_too_large=is_too_large)
    yield from halving(batch[middle:], run, is_too_large=is_too_large)
