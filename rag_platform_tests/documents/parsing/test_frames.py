"""The frames between pool and worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.frames import LENGTHS, BadFrame, FrameReader, encode

FRAMES = st.lists(st.tuples(st.dictionaries(st.text(), st.text()), st.binary(max_size=50)))


@given(FRAMES, st.integers(1, 30))
def test_frames_survive_any_cutting(frames: list[tuple[dict[str, str], bytes]], step: int) -> None:
    stream = b"".join(encode(header, payload) for header, payload in frames)
    reader = FrameReader(max_payload=50)
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == frames


@pytest.mark.parametrize(
    "data",
    [
        LENGTHS.pack(2, 51) + b"{}",
        LENGTHS.pack(1 << 30, 0),
        LENGTHS.pack(2, 0) + b"no",
        LENGTHS.pack(2, 0) + b"[]",
    ],
)
def test_bad_frames_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        list(FrameReader(max_payload=50).feed(data))
