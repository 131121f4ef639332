import base64
import functools
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rag_platform.encoders import tokenizer as module
from rag_platform.encoders.tokenizer import (
    ReferenceTokenizer,
    UnknownTokenizer,
    reference_tokenizer,
    wordllama_folder,
)

FILE = wordllama_folder() / "tokenizers" / "l2_supercat_tokenizer_config.json"

WORDS = st.sampled_from(
    ["the", " the", "  ", "\n", "\t", "\r\n", "<s>", "</s>", "<unk>", "<", "s>", "▁", "▁a", "e.g.",
     "https://a.b/c?d=1", "中文", "。", "ですか", "naïve", "e\u0301", "\u00a0", "\u2009;", "\u3000",
     "Привет", "مرحبا", "नमस्ते", "👩‍👩‍👧", "\x00", "\x1c", "1234", "0x1F", "####", "|---|", "\ufdfa"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=20).map("".join))


@functools.cache
def real() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def real_ids(text: str) -> list[int]:
    return real().encode(text, add_special_tokens=False).ids


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_ids_are_those_of_the_real_tokenizer(text: str) -> None:
    expected = real_ids(text)
    assert reference_tokenizer().ids(text).tolist() == expected
    assert reference_tokenizer().count(text) == len(expected)


def test_ids_of_real_text() -> None:
    """The standard library's own sources: prose, code, every script that its tests mention."""
    folder = Path(json.__file__).parent.parent
    paths = [*sorted(folder.glob("*.py"))[:60], *sorted(folder.glob("encodings/*.py"))[:20]]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    ids, at = reference_tokenizer().ids_batch(texts)
    expected = [encoding.ids for encoding in real().encode_batch(texts, add_special_tokens=False)]
    assert ids.tolist() == [token for tokens in expected for token in tokens]
    assert np.diff(at).tolist() == list(map(len, expected))


def test_long_texts_are_encoded_in_blocks_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 50)
    generator = random.Random(1)
    parts = ["word ", "  ", "\n", "2024", "</s>", "中", ", ", "x" * 90, "▁", "\r"]
    text = "".join(generator.choices(parts, k=500))
    assert reference_tokenizer().ids(text).tolist() == real_ids(text)


def test_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 7)
    tokenizer = ReferenceTokenizer(FILE)
    text = "one two three four five six seven eight nine ten " * 3
    assert tokenizer.ids(text).tolist() == real_ids(text)
    assert len(tokenizer._ids_of_word) <= 7


def test_ids_batch_of_nothing() -> None:
    ids, at = reference_tokenizer().ids_batch([])
    assert (ids.tolist(), at.tolist()) == ([], [0])
    ids, at = reference_tokenizer().ids_batch(["", "a", ""])
    assert (ids.tolist(), at.tolist()) == (real_ids("a"), [0, 0, 1, 1])


@given(TEXTS, st.sampled_from([4, 8, 50]))
@settings(max_examples=400, deadline=None)
def test_spans_are_the_words_and_sum_to_the_tokens(text: str, longest: int) -> None:
    spans = reference_tokenizer().spans(text, longest=longest)
    covered: set[int] = set()
    for start, end in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True):
        assert text[start:end].strip()
        assert covered.isdisjoint(range(start, end))
        covered.update(range(start, end))
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered
    assert sorted(spans.starts.tolist()) == spans.starts.tolist()
    if len(spans.totals):
        blank = text[spans.ends[-1] :]
        assert spans.totals[-1] <= len(real_ids(text))
        if not blank and not spans.inside.any():
            assert spans.totals[-1] == len(real_ids(text))


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_a_cut_between_words_keeps_the_tokens(text: str) -> None:
    """The tokens of a stretch of words are those of its first word and the totals between."""
    spans = reference_tokenizer().spans(text, longest=8)
    assume(len(spans.starts) and not spans.inside.any())
    starts, ends, totals = spans.starts.tolist(), spans.ends.tolist(), spans.totals.tolist()
    middle = len(starts) // 2
    for first, last in [(0, middle), (middle, len(starts) - 1), (middle // 2, middle)]:
        alone = len(real_ids(text[starts[first] : ends[first]]))
        expected = len(real_ids(text[starts[first] : ends[last]]))
        assert alone + totals[last] - totals[first] == expected


def test_a_long_word_is_given_in_parts() -> None:
    text = "看" * 30 + " antidisestablishmentarianism" * 2
    spans = reference_tokenizer().spans(text, longest=4)
    assert [text[a:b] for a, b in zip(spans.starts[:30], spans.ends[:30], strict=True)] == (
        ["看"] * 30
    )
    assert not spans.inside[:31].any()
    assert spans.inside[31]
    assert "".join(text[a:b] for a, b in zip(spans.starts, spans.ends, strict=True)) == (
        text.replace(" ", "")
    )


@pytest.mark.slow
def test_time_is_linear_in_unbroken_text() -> None:
    noise = base64.b64encode(random.Random(0).randbytes(250_000)).decode()
    for text in ("a" * 330_000, "中文字" * 100_000, " " * 330_000 + "x", noise):
        seconds = []
        for part in (text[-len(text) // 8 :], text):
            begin = time.process_time()
            reference_tokenizer().spans(part, longest=50)
            reference_tokenizer().count(part)
            seconds.append(time.process_time() - begin)
        # Eight times the text: linear is 8, quadratic 64.
        assert seconds[1] < 30 * max(seconds[0], 0.05)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    config = json.loads(FILE.read_text(encoding="utf-8"))
    config["model"]["vocab"]["of▁the"] = 32_000
    other = tmp_path / "other.json"
    other.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UnknownTokenizer, match="cannot be cut into words"):
        ReferenceTokenizer(other)


def test_import_is_light() -> None:
    code = (
        "import sys, rag_platform.encoders.tokenizer, rag_platform.encoders.wordllama,"
        " rag_platform.encoders.bm25\n"
        "print([name for name in ('tokenizers', 'wordllama', 'safetensors', 'qdrant_edge')"
        " if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
