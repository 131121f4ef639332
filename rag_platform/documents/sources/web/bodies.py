"""The bytes of an answer, with a limit on what comes and on what it inflates to."""

import zlib
from collections.abc import Iterable

GZIP_MAGIC = b"\x1f\x8b"
_STEP = 1_000_000


class TooLarge(Exception):
    """More bytes than are taken."""


class Broken(Exception):
    """Compressed bytes that cannot be inflated to their end."""


def read(parts: Iterable[bytes], *, encoding: str, max_bytes: int) -> bytes:
    """The body made of parts as they come, inflated where it is compressed.

    Raises `TooLarge` as soon as it is known, and `Broken`.
    """
    content = bytearray()
    for part in _inflated(parts, max_bytes) if encoding in ("gzip", "x-gzip") else parts:
        content += part
        if len(content) > max_bytes:
            raise TooLarge
    return bytes(content)


def gunzip(data: bytes, *, max_bytes: int) -> bytes:
    """A gzip file's content. Raises `TooLarge` and `Broken`."""
    return read([data], encoding="gzip", max_bytes=max_bytes)


def _inflated(parts: Iterable[bytes], max_bytes: int) -> Iterable[bytes]:
    """In steps of bounded size; a gzip file may have several members, one after the other."""
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    came = 0
    for part in parts:
        came += len(part)
        if came > max_bytes:
            raise TooLarge
        while part:
            if member.eof:
                member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                yield member.decompress(part, _STEP)
            except zlib.error as error:
                raise Broken from error
            part = member.unused_data if member.eof else member.unconsumed_tail
    if came and not member.eof:
        raise Broken
