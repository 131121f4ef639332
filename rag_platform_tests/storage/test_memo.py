"""The memo: injective keys, and the first value stays."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo, memo_key

TRIPLES = st.tuples(st.text(max_size=5), st.text(max_size=5), st.binary(max_size=5))


@given(TRIPLES, TRIPLES)
def test_keys_are_injective(one: tuple[str, str, bytes], other: tuple[str, str, bytes]) -> None:
    assert (memo_key(*one) == memo_key(*other)) is (one == other)


@given(st.text(max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_where_a_part_ends_matters(text: str, first: int, second: int) -> None:
    """All ways to cut one text into three parts have keys of their own."""

    def cut(a: int, b: int) -> tuple[str, str, bytes]:
        low, high = sorted((a, b))
        return text[:low], text[low:high], text[high:].encode()

    here, there = cut(first, second), cut(second + 1, first)
    assert (memo_key(*here) == memo_key(*there)) is (here == there)


def test_a_key_does_not_change_between_releases() -> None:
    parts = (b"passage", "größe".encode(), b"text")
    lengths = (b"\0" * 7 + b"\7", b"\0" * 7 + b"\7", b"\0" * 7 + b"\4")
    joined = b"".join(length + part for length, part in zip(lengths, parts, strict=True))
    assert memo_key("passage", "größe", b"text") == hashlib.sha256(joined).digest()


def test_the_first_value_stays(catalog: Catalog) -> None:
    memo = Memo(catalog)
    memo.put_many({b"a": b"1", b"b": b""})
    memo.put_many({b"a": b"2", b"c": b"\x00\xff"})
    assert memo.get_many([b"a", b"b", b"c", b"d"]) == {b"a": b"1", b"b": b"", b"c": b"\x00\xff"}
    assert memo.known([b"d", b"a", b"a"]) == {b"a"}
    # Another opening of the same database.
    assert Memo(catalog).get_many(iter([b"a", b"a"])) == {b"a": b"1"}


def test_nothing_asked_and_nothing_kept(catalog: Catalog) -> None:
    memo = Memo(catalog)
    memo.put_many({})
    assert memo.get_many([]) == {}
    assert memo.known([]) == set()


def test_more_keys_than_a_statement_takes(catalog: Catalog) -> None:
    memo = Memo(catalog)
    keys = [memo_key("x", "y", str(number).encode()) for number in range(40_000)]
    memo.put_many({key: key[:4] for key in keys[::2]})
    assert memo.known(keys) == set(keys[::2])
    assert memo.get_many(keys) == {key: key[:4] for key in keys[::2]}
