"""Frames between the pool and its workers: two lengths, a JSON header, raw bytes.

Never pickle: a worker parses hostile bytes, and its parent must be able to distrust it.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

LENGTHS: Final = struct.Struct(">II")
MAX_HEADER: Final = 1 << 20


class BadFrame(Exception):
    """The other side does not speak the protocol, or exceeds a bound."""


def encode(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One frame."""
    return encode_head(header, len(payload)) + payload


def encode_head(header: dict[str, Any], payload_length: int) -> bytes:
    """A frame up to its payload, for a payload that is not worth copying."""
    head = json.dumps(header, separators=(",", ":")).encode("utf-8")
    if len(head) > MAX_HEADER:
        raise BadFrame(f"header of {len(head):,} bytes")
    return LENGTHS.pack(len(head), payload_length) + head


class FrameReader:
    """Collects bytes as they come and gives whole frames; refuses oversized ones."""

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Frames completed by `data`; raises `BadFrame`."""
        self._buffer += data
        position = 0
        try:
            while (end := self._frame_end(position)) is not None:
                yield self._frame(position, end)
                position = end
        finally:
            del self._buffer[:position]

    def _frame_end(self, position: int) -> int | None:
        if len(self._buffer) - position < LENGTHS.size:
            return None
        head, payload = LENGTHS.unpack_from(self._buffer, position)
        if head > MAX_HEADER or payload > self._max_payload:
            raise BadFrame(f"frame of {head:,} + {payload:,} bytes")
        end: int = position + LENGTHS.size + head + payload
        return end if len(self._buffer) >= end else None

    def _frame(self, position: int, end: int) -> tuple[dict[str, Any], bytes]:
        head, _ = LENGTHS.unpack_from(self._buffer, position)
        start = position + LENGTHS.size
        try:
            header = json.loads(self._buffer[start : start + head])
        except ValueError as error:
            raise BadFrame("header is not JSON") from error
        if not isinstance(header, dict):
            raise BadFrame("header is not an object")
        return header, bytes(self._buffer[start + head : end])
