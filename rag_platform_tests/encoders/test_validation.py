import numpy as np
import pytest

from rag_platform.encoders.validation import InvalidEmbedding, validate
from rag_platform.errors import PlatformError


def test_good_vectors_pass_unchanged_as_float32() -> None:
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]])
    checked = validate(vectors, expected=2, dimension=2)
    assert checked.dtype == np.float32
    assert checked.tolist() == np.array([[0.6, 0.8], [1.0, 0.0]], np.float32).tolist()


def test_no_vectors_for_no_texts() -> None:
    assert validate(np.empty((0, 3)), expected=0, dimension=3).shape == (0, 3)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((1, 3)), r"shape \(1, 3\) for 2 texts"),
        (np.ones(3), r"shape \(3,\) for 2 texts"),
        (np.ones((2, 4)), r"4 dimensions, the index has 3"),
        (np.array([[1, 1, 1], [1, np.nan, 1]]), r"NaN or infinity in 1 of 2 .* position 1;"),
        (np.array([[np.inf, 1, 1], [1, 1, 1]]), r"NaN or infinity in 1 of 2 .* position 0;"),
        (np.array([[1e300, 1, 1], [1, 1, 1]]), r"NaN or infinity in 1 of 2 .* position 0;"),
        (np.zeros((2, 3)), r"zero norm in 2 of 2 .* position 0, 1;"),
        (np.array([[1, 1, 1], [1e-30, 0, 0]]), r"zero norm in 1 of 2 .* position 1;"),
    ],
)
def test_bad_vectors_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidEmbedding, match=message):
        validate(vectors, expected=2, dimension=3)


def test_only_the_first_positions_are_named() -> None:
    with pytest.raises(PlatformError, match=r"position 0, 1, 2, 3, 4, \.\.\.;"):
        validate(np.zeros((9, 2)), expected=9, dimension=2)
