"""Near duplicates against all pairs compared one by one."""

import hashlib
import itertools
import random
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.documents.near_duplicates import NearDuplicates
from rag_platform.documents.near_report import NearPair, NearReport, near_copies
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    documents,
    near_bands,
    near_documents,
    near_texts,
)

WINDOW = "2026-07-01"
WORDS = [f"word{number}" for number in range(60)]


class Killed(BaseException):
    """The process ends here."""


class Source:
    """Documents of one source as the catalog has them, and the pass that brings changes."""

    def __init__(self, catalog: Catalog, *, threshold: float | None = 0.9) -> None:
        self.catalog = catalog
        self.name = f"s{uuid.uuid4().hex[:8]}"
        self.texts: dict[str, str] = {}
        self.seqs: dict[str, int] = {}
        self.passes = 0
        self.open(threshold)

    def open(self, threshold: float | None) -> None:
        self.near = NearDuplicates(self.name, catalog=self.catalog, threshold=threshold)

    def id_of(self, key: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name} {key}"))

    def bring(self, *puts: tuple[str, str], gone: Sequence[str] = ()) -> list[list[dict[str, Any]]]:
        """Record a pass with texts and departures; returns the rows for the hook."""
        self.passes += 1
        rows = []
        with self.catalog.begin() as connection:
            for key, text in [*puts, *((key, None) for key in gone)]:
                inserted = connection.execute(
                    sa.insert(changes).values(
                        source=self.name,
                        window=WINDOW,
                        pass_no=self.passes,
                        doc_id=self.id_of(key),
                        key=key,
                        kind="deleted" if text is None else "updated",
                    )
                ).inserted_primary_key
                assert inserted is not None
                row = {
                    "source": self.name,
                    "key": key,
                    "doc_id": self.id_of(key),
                    "seq": inserted[0],
                    "window": WINDOW,
                    "pass_no": self.passes,
                    "gone": text is None,
                    "text_hash": digest(text) if text is not None else None,
                    "empty": False,
                }
                self.catalog.upsert(connection, documents, [row])
                if text is None:
                    del self.texts[key]
                else:
                    self.texts[key] = text
                    self.seqs[key] = inserted[0]
                    rows.append({k: row[k] for k in ("doc_id", "text_hash")} | {"text": text})
        return [rows]

    def take(self, *puts: tuple[str, str], gone: Sequence[str] = ()) -> None:
        """A pass, grouped."""
        self.near(WINDOW, self.passes + 1, self.bring(*puts, gone=gone))

    def groups(self) -> dict[str, tuple[str, float]]:
        """Canonical key and likeness by key."""
        keys = {self.id_of(key): key for key in self.seqs}
        with self.catalog.read() as connection:
            rows = connection.execute(
                sa.select(near_documents).where(near_documents.c.source == self.name)
            ).all()
        return {keys[row.doc_id]: (keys[row.canonical], round(row.similarity, 9)) for row in rows}

    def counts(self) -> dict[str, int]:
        with self.catalog.read() as connection:
            return {
                table.name: connection.execute(
                    sa.select(sa.func.count()).where(table.c.source == self.name)
                ).scalar_one()
                for table in (near_documents, near_texts, near_bands)
            }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def triples(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}


def likeness(a: str, b: str) -> float:
    one, other = triples(a), triples(b)
    return len(one & other) / len(one | other)


def expected(source: Source, threshold: float = 0.9) -> dict[str, tuple[str, float]]:
    """Groups by comparing all with all."""
    group = {key: {key} for key in source.texts}
    for a, b in itertools.combinations(source.texts, 2):
        is_pair = likeness(source.texts[a], source.texts[b]) >= threshold
        if is_pair and group[a] is not group[b]:
            group[a] |= group[b]
            for key in group[b]:
                group[key] = group[a]
    found = {}
    for key, members in group.items():
        canonical = min(members, key=lambda member: source.seqs[member])
        alike = likeness(source.texts[key], source.texts[canonical])
        found[key] = (canonical, round(alike, 9))
    return found


def long(seed: int, changed: Sequence[int] = ()) -> str:
    """A text of 60 words, of which some are others."""
    words = random.Random(seed).sample(WORDS, len(WORDS))
    return " ".join(f"other{n}" if n in changed else word for n, word in enumerate(words))


@st.composite
def histories(draw: st.DrawFn) -> list[list[tuple[str, str | None]]]:
    """Passes of changes: each a key with a text that is near others, or none."""
    # Texts that differ in their ends: likeness of neighbours is above .9, of others below.
    text = st.builds(
        lambda seed, length, ends: long(seed, range(60 - length, 60) if ends else range(length)),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(0, 4),
        st.booleans(),
    )
    change = st.tuples(st.sampled_from("abcdef"), st.one_of(text, text, st.none()))
    return draw(st.lists(st.lists(change, min_size=1, max_size=4), min_size=1, max_size=6))


@given(histories())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_groups_are_those_of_all_pairs_after_every_pass(
    catalog: Catalog, history: list[list[tuple[str, str | None]]]
) -> None:
    source = Source(catalog)
    for found in history:
        last = dict(found)
        puts = [(key, text) for key, text in last.items() if text is not None]
        gone = [key for key, text in last.items() if text is None and key in source.texts]
        source.take(*puts, gone=gone)
        assert source.groups() == expected(source)
    texts = len(set(source.texts.values()))
    assert source.counts() == {
        "near_documents": len(source.texts),
        "near_texts": texts,
        "near_bands": 21 * texts,
    }


def test_a_chain_falls_apart_when_its_middle_goes(shared: Catalog) -> None:
    source = Source(shared)
    # 58 shingles; one word changed at an end changes one: ends differ by six, neighbours by three.
    ends = {"a": long(0, range(3)), "b": long(0), "c": long(0, range(57, 60))}
    assert likeness(ends["a"], ends["c"]) < 0.9 < likeness(ends["a"], ends["b"])
    source.take(("c", ends["c"]), ("a", ends["a"]), ("b", ends["b"]))
    assert {key: found[0] for key, found in source.groups().items()} == dict.fromkeys("abc", "c")
    assert source.groups()["a"][1] == round(52 / 64, 9)
    source.take(gone=["b"])
    assert source.groups() == {"a": ("a", 1.0), "c": ("c", 1.0)}


def test_another_takes_the_place_of_a_canonical_that_goes(shared: Catalog) -> None:
    source = Source(shared)
    source.take(("a", long(0)), ("b", long(0, [0])), ("c", long(0)), ("d", long(1)))
    assert source.groups()["b"] == ("a", round(57 / 59, 9))
    source.take(gone=["a"])
    assert {key: found[0] for key, found in source.groups().items()} == {
        "b": "b",
        "c": "b",
        "d": "d",
    }
    source.near.forget([source.id_of("b")])
    assert source.groups() == {"c": ("c", 1.0), "d": ("d", 1.0)}
    assert source.counts()["near_texts"] == 2


def test_a_group_that_lost_a_text_stays_together(catalog: Catalog) -> None:
    source = Source(catalog)
    ends: list[list[int]] = [[0], [59], [], [0, 59]]
    source.take(*((key, long(0, changed)) for key, changed in zip("abcd", ends, strict=True)))
    source.take(gone=["b"])
    assert {key: found[0] for key, found in source.groups().items()} == dict.fromkeys("acd", "a")
    source.take(("a", long(1)))
    assert {key: found[0] for key, found in source.groups().items()} == {
        "a": "a",
        "c": "c",
        "d": "c",
    }


def test_likeness_follows_the_canonical_text(catalog: Catalog) -> None:
    source = Source(catalog)
    source.take(("a", long(0)), ("b", long(0, [0])))
    assert source.groups()["b"] == ("a", round(57 / 59, 9))
    source.take(("a", long(0, [59])), ("b", long(0, [0])))
    assert source.groups()["b"] == ("a", round(56 / 60, 9))


def test_what_is_gone_again_is_not_grouped(catalog: Catalog) -> None:
    source = Source(catalog)
    late = source.bring(("a", long(0)), ("b", long(0)))
    source.take(("a", long(1)), gone=["b"])
    source.near(WINDOW, 1, late)
    assert source.groups() == {"a": ("a", 1.0)}


@pytest.mark.parametrize("after", range(4))
def test_a_kill_loses_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("rag_platform.documents.near_duplicates._BATCH", 2)
    source = Source(catalog)
    source.take(("x", long(2)), ("y", long(3)))
    rows = source.bring(
        *((key, long(n % 3, [n])) for n, key in enumerate("abcdef")), gone=["x", "y"]
    )
    begun = itertools.count()
    begin = catalog.begin

    def killed() -> Any:
        if next(begun) == after + 1:
            raise Killed
        return begin()

    monkeypatch.setattr(catalog, "begin", killed)
    with pytest.raises(Killed):
        source.near(WINDOW, 2, rows)
    assert source.near.due(WINDOW, 2)
    monkeypatch.setattr(catalog, "begin", begin)
    source.near(WINDOW, 2, rows)
    assert not source.near.due(WINDOW, 2)
    assert {k: c for k, (c, _) in source.groups().items()} == {
        key: canonical for key, (canonical, _) in expected(source).items()
    }


def test_another_threshold_regroups_without_the_texts(shared: Catalog) -> None:
    source = Source(shared, threshold=0.95)
    near = [(key, long(0, range(n))) for n, key in enumerate("abcdef")]
    source.take(*near, ("other", long(1)))
    for threshold in (0.8, 0.99, 0.9, 1.0, 0.5):
        source.open(threshold)
        assert source.near.due(WINDOW, 1)
        source.near(WINDOW, 1, iter(()))
        assert not source.near.due(WINDOW, 1)
        assert source.groups() == expected(source, threshold)
    source.open(None)
    assert source.near.due(WINDOW, 1)
    source.near(WINDOW, 1, iter(()))
    assert set(source.counts().values()) == {0}
    assert not source.near.due(WINDOW, 1)


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("yes", "Yes!", True),
        ("yes", "no", False),
        ("***", "***\n", True),
        ("***", "---", False),
        ("今天天气很好我们去公园散步然后回家", "今天天气很好,我们去公园散步,然后回家。", True),
        ("今天天气很好我们去公园散步", "今天天气很好我们去公司上班", False),
        ("วันนี้อากาศดีมาก เราไปเดินเล่นกัน", "วันนี้ อากาศดีมาก เราไป เดินเล่นกัน", True),
        ("วันนี้อากาศดีมาก", "พรุ่งนี้ฝนจะตกหนัก", False),
        ("हम आज बाज़ार जाएँगे और फल लाएँगे", "हम आज बाज़ार जाएँगे और फूल लाएँगे", False),
    ],
)
def test_short_texts_and_other_scripts(catalog: Catalog, a: str, b: str, alike: bool) -> None:
    source = Source(catalog)
    source.take(("a", a), ("b", b))
    assert source.groups()["b"][0] == ("a" if alike else "b")


def test_many_pages_of_one_template_are_compared_with_bounded_work(catalog: Catalog) -> None:
    """Each is nearly, but not quite, like all others; and then two are."""
    source = Source(catalog)
    pages = [(f"p{n:03}", long(0, [*range(3)]) + f" {n}a {n}b {n}c {n}d") for n in range(60)]
    source.take(*pages)
    assert all(key == canonical for key, (canonical, _) in source.groups().items())
    source.take(("copy", pages[37][1].replace("other0", "changed")))
    assert source.groups()["copy"][0] == "p037"


def test_the_near_copies_of_a_page_are_told(shared: Catalog) -> None:
    source = Source(shared)
    source.take(("a", long(0)), ("b", long(0)), ("c", long(0, [0])), ("d", long(1)))
    same, near = NearPair("b", "a", 1.0), NearPair("c", "a", 57 / 59)
    assert near_copies(shared, source.name, WINDOW) == NearReport(2, (same, near))
    assert near_copies(shared, source.name, WINDOW, most=1) == NearReport(2, (same,))
    assert near_copies(shared, source.name, "2026-07-02") == NearReport(0, ())
