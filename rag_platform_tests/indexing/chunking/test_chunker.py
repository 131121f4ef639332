import itertools
import random
import statistics
import time
import tracemalloc
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rag_platform.encoders.tokenizer import wordllama_folder
from rag_platform.encoders.wordllama import WordLlamaEmbedder
from rag_platform.indexing.chunking.chunker import Chunk, Chunker, InvalidChunker, Strategy

CORPUS = Path(__file__).parents[3] / "demo" / "corpus" / "2026-06-30"
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

WORDS = [
    "collector",
    "receives",
    "telemetry",
    "from",
    "services",
    "and",
    "exports",
    "them",
    "to",
    "a",
    "backend",
    "where",
    "people",
    "look",
    "at",
    "traces",
    "metrics",
    "logs",
    "spans",
    "attributes",
    "resources",
    "pipelines",
    "processors",
    "sampling",
    "batches",
    "limits",
]


def chunker(strategy: Strategy, max_tokens: int, overlap: int = 0) -> Chunker:
    embedder = WordLlamaEmbedder() if strategy == "semantic" else None
    return Chunker(strategy, max_tokens, overlap=overlap, embedder=embedder)


class RealTokens:
    """Token counts by the tokenizer's own library."""

    def __init__(self) -> None:
        path = wordllama_folder() / "tokenizers" / "l2_supercat_tokenizer_config.json"
        self._tokenizer = Tokenizer.from_file(str(path))

    def __call__(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


tokens = RealTokens()


def check(text: str, chunks: list[Chunk], max_tokens: int, overlap: int) -> None:
    """What holds for any document and any strategy."""
    covered: set[int] = set()
    end = 0
    for previous, chunk in zip([None, *chunks], chunks, strict=False):
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.tokens == tokens(chunk.text) <= max_tokens
        if previous is not None:
            assert previous.start < chunk.start
            assert previous.end < chunk.end
        assert tokens(text[chunk.start : end]) <= overlap or chunk.start >= end
        covered.update(range(chunk.start, chunk.end))
        end = chunk.end
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered


LINES = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*WORDS, "sentence.", "</s>", "x" * 70, "中" * 40, "🙂" * 9, "\t"]))
    .map(" ".join),
    st.sampled_from(["# One", "## Two", "### Three", "```", "| a | b |", "", " " * 300, "1" * 99]),
)  # fmt: skip
DOCUMENTS = st.lists(LINES, max_size=30).map("\n".join)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(text=DOCUMENTS, size=st.sampled_from([(32, 0), (32, 15), (48, 8), (100, 20)]))
@settings(max_examples=120, deadline=None)
def test_invariants(strategy: Strategy, text: str, size: tuple[int, int]) -> None:
    cutter = chunker(strategy, *size)
    chunks = cutter.chunk(text)
    check(text, chunks, *size)
    assert cutter.chunk(text) == chunks


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_wide_gap_leaves_no_room_for_overlap(strategy: Strategy) -> None:
    text = "0 000000000\n\n" + " " * 300 + "\n0"
    check(text, chunker(strategy, 32, 15).chunk(text), 32, 15)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("text", ["", "  \n\t\n "])
def test_no_chunks_without_words(strategy: Strategy, text: str) -> None:
    assert chunker(strategy, 64).chunk(text) == []


def prose(seed: int, paragraphs: int) -> str:
    generator = random.Random(seed)

    def sentence() -> str:
        return " ".join(generator.choices(WORDS, k=generator.randint(6, 18))).capitalize() + "."

    return "\n\n".join(
        " ".join(sentence() for _ in range(generator.randint(2, 6))) for _ in range(paragraphs)
    )


def new_texts(before: list[Chunk], after: list[Chunk]) -> int:
    return len({chunk.text for chunk in after} - {chunk.text for chunk in before})


def long_documents() -> list[str]:
    """Documents of some 25 chunks and more: prose without headings, and real pages."""
    real = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.rglob("*.md"))]
    return [prose(seed, 300) for seed in range(12)] + [text for text in real if len(text) > 30_000]


@pytest.mark.parametrize("strategy", ["recursive", "document", "semantic"])
def test_a_paragraph_at_the_top_leaves_nearly_all_chunks(strategy: Strategy) -> None:
    generator = random.Random(0)
    cutter = chunker(strategy, 400, 40)
    changed = []
    for text in long_documents():
        top = "This paragraph is new. " * generator.randint(2, 60) + "\n\n"
        before = cutter.chunk(text)
        assert len(before) > 15
        changed.append(new_texts(before, cutter.chunk(top + text)))
    assert statistics.median(changed) <= 4
    assert max(changed) <= 16


@pytest.mark.parametrize(("overlap", "usual"), [(0, 1), (40, 2)])
def test_a_changed_word_changes_the_chunks_that_hold_it(overlap: int, usual: int) -> None:
    generator = random.Random(0)
    cutter = chunker("recursive", 400, overlap)
    changed = []
    for text in long_documents():
        before = cutter.chunk(text)
        for _ in range(6):
            at = text.index(" ", generator.randrange(len(text) // 4, len(text) * 3 // 4))
            changed.append(new_texts(before, cutter.chunk(text[:at] + " edited" + text[at:])))
    assert min(changed) >= 1
    assert sum(count <= usual for count in changed) >= 0.85 * len(changed)


def test_fixed_fills_its_chunks() -> None:
    text = prose(1, 40)
    chunks = chunker("fixed", 100, 20).chunk(text)
    check(text, chunks, 100, 20)
    assert all(chunk.tokens >= 95 for chunk in chunks[:-1])
    for previous, chunk in itertools.pairwise(chunks):
        repeated = text[chunk.start : previous.end]
        assert 15 <= tokens(repeated) <= 20


def test_recursive_cuts_at_the_strongest_break_in_reach() -> None:
    paragraph = "One sentence of ten words is here for the test. " * 4
    text = f"{paragraph}\n\n{paragraph}\n\n## Next\n\n{paragraph}\n\n{paragraph}"
    chunks = chunker("recursive", 128).chunk(text)
    assert [chunk.text.split()[0] for chunk in chunks] == ["One", "##"]
    assert [chunk.heading for chunk in chunks] == ["", "Next"]


def test_overlap_begins_at_a_sentence_and_does_not_cross_a_heading() -> None:
    repeated = at_heading = 0
    for seed in range(10):
        text = prose(seed, 12) + "\n\n# Title\n\n" + prose(seed + 50, 12)
        chunks = chunker("recursive", 100, 40).chunk(text)
        heading = text.index("# Title")
        for previous, chunk in itertools.pairwise(chunks):
            fresh = len(text) - len(text[previous.end :].lstrip())
            if fresh == heading:
                at_heading += 1
                assert chunk.start == heading
            elif chunk.start < previous.end:
                repeated += 1
                assert text[: chunk.start].rstrip()[-1] in ".e"  # a sentence's end, or the title
    assert at_heading > 2
    assert repeated > 100


def test_code_and_tables_stay_whole_where_they_fit() -> None:
    code = "```python\n" + "".join(f"value_{i} = compute({i})\n\n" for i in range(8)) + "```"
    table = "\n".join(["| key | value |", "|---|---|", *(f"| k{i} | v{i} |" for i in range(8))])
    for seed in range(20):
        text = "\n\n".join([prose(seed, 3), code, prose(seed + 50, 3), table, prose(seed + 90, 3)])
        texts = [chunk.text for chunk in chunker("recursive", 300).chunk(text)]
        assert any(code in text for text in texts)
        assert any(table in text for text in texts)


def test_document_begins_a_chunk_at_every_heading_but_small_ones() -> None:
    long = "Words about this very subject. " * 12
    text = (
        f"# Top\n\n## A\n\n{long}\n\n## B\n\nshort\n\n"
        f"## C\n\n{long}\n\n### D\n\nshort\n\n## E\n\n{long}"
    )
    chunks = chunker("document", 200).chunk(text)
    assert [chunk.text.splitlines()[0] for chunk in chunks] == [
        "# Top",  # small, so with A below it
        "## B",  # small, so with C beside it
        "### D",  # small, but what follows is above it
        "## E",
    ]
    assert [chunk.heading for chunk in chunks] == ["Top", "Top > B", "Top > C > D", "Top > E"]


def test_semantic_cuts_where_the_subject_changes() -> None:
    cooking = "Stir the soup and add salt, onions and butter to the pan. " * 9
    finance = "The bank raised interest rates and bond investors sold shares. " * 9
    text = cooking + finance
    first, second = chunker("semantic", 220).chunk(text)
    assert first.text == cooking.strip()
    assert second.text == finance.strip()


def test_pages_are_those_of_the_new_content() -> None:
    text = prose(4, 30)
    pages = [0, 2000, 4000]
    chunks = chunker("recursive", 100, 20).chunk(text, pages)
    seen = {chunk.page for chunk in chunks}
    assert seen == {1, 2, 3}
    for previous, chunk in itertools.pairwise(chunks):
        fresh = len(text) - len(text[max(previous.end, chunk.start) :].lstrip())
        assert chunk.page == 1 + sum(fresh >= page for page in pages[1:])
    assert {chunk.page for chunk in chunker("recursive", 100).chunk(text)} == {None}


def test_fingerprints_tell_parameters_apart() -> None:
    same = [chunker("recursive", 400, 40).fingerprint for _ in range(2)]
    others = [
        chunker("recursive", 400).fingerprint,
        chunker("recursive", 300, 40).fingerprint,
        chunker("fixed", 400, 40).fingerprint,
        chunker("semantic", 400, 40).fingerprint,
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 5


@pytest.mark.parametrize(("max_tokens", "overlap"), [(31, 0), (100, 50), (100, -1)])
def test_impossible_parameters_are_refused(max_tokens: int, overlap: int) -> None:
    with pytest.raises(InvalidChunker, match="take at least 32 tokens"):
        Chunker("recursive", max_tokens, overlap=overlap)


def test_semantic_needs_an_embedder() -> None:
    with pytest.raises(InvalidChunker, match="needs an embedder"):
        Chunker("semantic", 400)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["a" * 300_000, "word and more, " * 21_000, "文。" * 150_000])
def test_time_and_memory_are_linear_in_a_single_line(line: str) -> None:
    cutter = chunker("recursive", 400, 40)
    seconds, peaks = [], []
    for text in (line[: len(line) // 8], line):
        begin = time.process_time()
        cutter.chunk(text)
        seconds.append(time.process_time() - begin)
        tracemalloc.start()
        cutter.chunk(text[: len(text) // 4])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Eight times the text: linear is 8, quadratic 64.
    assert seconds[1] < 30 * max(seconds[0], 0.05)
    assert peaks[1] < 16 * peaks[0]
