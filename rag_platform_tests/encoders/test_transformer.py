"""The transformer embedder: its folder and its batches; with the extra `gpu`, also its vectors."""

import importlib.util
import json
import pickle
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_platform.encoders import transformer as module
from rag_platform.encoders.base import Vectors
from rag_platform.encoders.transformer import (
    NoTransformer,
    OutOfMemory,
    Rules,
    TransformerEmbedder,
    fingerprint,
)
from rag_platform.encoders.validation import InvalidEmbedding

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "sun", "moon", "star", "sky", "query", "passage", ":"]
PAD, BEGIN, END = 0, 1, 2
DIMENSION = 8

installed = all(map(importlib.util.find_spec, ("torch", "transformers")))
needs_torch = pytest.mark.skipif(not installed, reason="the extra gpu is not installed")


def write_tokenizer(folder: Path) -> None:
    """Words by their place in WORDS, between two marks."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as far as it is read without PyTorch."""
    from safetensors.numpy import save_file

    config = {"model_type": "bert", "hidden_size": DIMENSION, "pad_token_id": PAD}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.ones((2, 2), np.float32)}, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path)
    return tmp_path


class CountingModel:
    """A vector that says how many tokens a text has, and which comes second; takes a few rows."""

    def __init__(self, rows: int = 1_000) -> None:
        self.rows = rows
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, rows: Sequence[Sequence[int]]) -> Vectors:
        self.shapes.append((len(rows), max(map(len, rows))))
        if len(rows) > self.rows:
            raise MemoryError
        vectors = np.zeros((len(rows), DIMENSION), np.float32)
        vectors[:, 0] = [len(row) for row in rows]
        vectors[:, 1] = [row[1] for row in rows]
        return vectors


def embedder(folder: Path, model: CountingModel | None = None, **rules: Any) -> TransformerEmbedder:
    ours = TransformerEmbedder(Rules(folder, **rules))
    vars(ours)["_model"] = model or CountingModel()
    return ours


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MemoryError stands for that of the device."""
    monkeypatch.setattr(module, "_is_out_of_memory", lambda e: isinstance(e, MemoryError))


# Batches


def test_vectors_are_in_the_order_of_the_texts_whatever_their_batches(folder: Path) -> None:
    texts = ["sun", "moon " * 20, "star sky", "sky " * 9, "moon"]
    model = CountingModel()
    vectors = embedder(folder, model, batch_tokens=32).embed_passages(texts)
    assert vectors.dtype == np.float32
    # Words and two marks; the number of the first word.
    assert vectors[:, :2].tolist() == [[3, 4], [22, 5], [4, 6], [11, 7], [3, 5]]
    # 24 wide one fits, and 16 wide two, the second of which may be shorter; 8 wide the rest.
    assert model.shapes == [(1, 22), (2, 11), (2, 3)]


def test_passages_and_queries_have_their_own_prefix(folder: Path) -> None:
    ours = embedder(folder, passage_prefix="passage: ", query_prefix="query: ")
    assert ours.embed_passages(["sun"])[0, :2].tolist() == [5, WORDS.index("passage")]
    assert ours.embed_query("sun")[:2].tolist() == [5, WORDS.index("query")]
    assert ours.embed_query("sun").shape == (DIMENSION,)


def test_a_long_text_is_cut_and_keeps_its_end_mark(folder: Path) -> None:
    (ids,) = embedder(folder, max_tokens=6).token_ids(["sun moon " * 50])
    assert ids == [BEGIN, 4, 5, 4, 5, END]


@pytest.mark.usefixtures("no_memory")
def test_a_batch_that_is_too_large_for_the_device_is_halved(folder: Path) -> None:
    texts = [word * 1 for word in ("sun", "moon", "star", "sky", "sun moon")]
    model = CountingModel(rows=2)
    vectors = embedder(folder, model).embed_passages(texts)
    assert vectors[:, 1].tolist() == [4, 5, 6, 7, 4]
    assert [rows for rows, _ in model.shapes] == [5, 2, 3, 1, 2]


@pytest.mark.usefixtures("no_memory")
def test_one_text_that_is_too_large_says_what_to_lower(folder: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"a text of 3 tokens does not fit.*`max_tokens`"):
        embedder(folder, CountingModel(rows=0)).embed_passages(["sun"])


def test_texts_without_words_are_refused_by_position(folder: Path) -> None:
    with pytest.raises(InvalidEmbedding, match="zero norm in 2 of 3 vectors, at position 1, 2;"):
        embedder(folder).embed_passages(["sun", "", " \n"])
    assert embedder(folder).embed_passages([]).shape == (0, DIMENSION)


def test_a_text_of_which_the_tokenizer_makes_nothing_has_no_vector(folder: Path) -> None:
    """Its vector would be that of the padding. Not so where marks stand around it."""
    saved = json.loads((folder / "tokenizer.json").read_text())
    saved |= {"post_processor": None, "model": saved["model"] | {"unk_token": "none"}}
    saved["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}
    saved["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "[^a-z]+"},
        "behavior": "Removed",
        "invert": False,
    }
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    ours = embedder(folder)
    assert ours.token_ids(["sun moon", "--"]) == [[4, 5], []]
    with pytest.raises(InvalidEmbedding, match="zero norm in 1 of 3 vectors, at position 1;"):
        ours.embed_passages(["sun moon", "--", "moon sun"])


# The folder


def test_the_fingerprint_is_of_all_that_changes_a_vector(folder: Path, tmp_path: Path) -> None:
    rules = Rules(folder)
    known = fingerprint(rules)
    others = [
        replace(rules, pooling="cls"),
        replace(rules, passage_prefix="passage: "),
        replace(rules, query_prefix="passage: "),
        replace(rules, max_tokens=511),
    ]
    assert len({known, *map(fingerprint, others)}) == 5
    same = replace(rules, batch_tokens=1, dtype="bfloat16", device="cpu")
    assert fingerprint(same) == known
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        copy = tmp_path / f"other-{name}"
        shutil.copytree(folder, copy, ignore=lambda *_: [p.name for p in tmp_path.glob("other*")])
        assert fingerprint(replace(rules, path=copy)) == known, "a copy is the same model"
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        assert fingerprint(replace(rules, path=copy)) != known


def test_opening_does_not_load_the_weights_and_it_travels(folder: Path) -> None:
    ours = TransformerEmbedder(Rules(folder), batch_size=7)
    assert "_model" not in vars(ours)
    assert (ours.dimension, ours.batch_size, ours.paid) == (DIMENSION, 7, False)
    copied = pickle.loads(pickle.dumps(ours))
    assert (copied.fingerprint, copied.batch_size) == (ours.fingerprint, 7)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", None, "config.json: cannot be read.*names a folder with"),
        ("config.json", "[1]", "config.json is not that of a model"),
        ("config.json", "{}", "says no hidden_size"),
        (
            "config.json",
            '{"hidden_size": 8, "max_position_embeddings": 256}',
            "takes 256 tokens at most.*lower the embedder's `max_tokens` from 512",
        ),
        ("tokenizer.json", "{", "tokenizer.json: cannot be read"),
        ("tokenizer.json", None, "tokenizer.json: cannot be read"),
        ("model.safetensors", None, r"has no \*.safetensors; other formats of weights may hold"),
        ("modules.json", '[{"type": "x.Transformer"}, {"type": "x.Dense"}]', "has Dense, which"),
        ("1_Pooling/config.json", '{"pooling_mode_cls_token": true}', "says cls.*says? mean"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "says what is not offered"),
    ],
)
def test_a_folder_that_is_no_such_model_is_refused(
    folder: Path, file: str, content: str | None, words: str
) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(NoTransformer, match=words) as refused:
        TransformerEmbedder(Rules(folder))
    assert "\n" not in str(refused.value)


def test_missing_packages_are_told_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NoTransformer, match=r"torch is not installed.*rag_platform\[gpu\]"):
        TransformerEmbedder(Rules(folder)).embed_query("sun")


# The vectors


@pytest.fixture
def tiny(folder: Path) -> Path:
    """A model of random weights."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=PAD,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


TEXTS = ["sun moon", "star " * 30, "sky", "moon star sky sun"]


def alone(folder: Path, text: str) -> Any:
    """The token vectors of one text, by the library alone."""
    import torch
    import transformers

    words = text.split()
    ids = torch.tensor([[BEGIN, *map(WORDS.index, words), END]])
    with torch.inference_mode():
        model = transformers.BertModel.from_pretrained(folder).eval()
        return model(input_ids=ids).last_hidden_state[0].numpy()


@needs_torch
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_are_those_of_the_model(tiny: Path, pooling: Any) -> None:
    rules = Rules(tiny, pooling=pooling, device="cpu", batch_tokens=64)
    vectors = TransformerEmbedder(rules).embed_passages(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        tokens = alone(tiny, text)
        wanted = {"mean": tokens.mean(axis=0), "cls": tokens[0], "last": tokens[-1]}[pooling]
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6)


@needs_torch
def test_half_precision_points_the_same_way(tiny: Path) -> None:
    exact = TransformerEmbedder(Rules(tiny, device="cpu")).embed_passages(TEXTS)
    rough = TransformerEmbedder(Rules(tiny, device="cpu", dtype="bfloat16")).embed_passages(TEXTS)
    assert (exact * rough).sum(axis=1).min() > 0.999
    assert not np.array_equal(exact, rough)


@needs_torch
def test_a_model_with_code_of_its_own_or_other_weights_is_refused(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoModel": "own.Model"}}
    (tiny / "own.py").write_text("raise SystemExit('was run')")
    (tiny / "config.json").write_text(json.dumps(config | own))
    with pytest.raises(NoTransformer, match="cannot be loaded"):
        TransformerEmbedder(Rules(tiny)).embed_query("sun")


@needs_torch
def test_weights_that_are_of_another_model_are_refused(tiny: Path) -> None:
    """The library would make up those that lack, others each time."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(tiny / "model.safetensors")
    no_pooler = {name: value for name, value in weights.items() if "pooler" not in name}
    save_file(no_pooler, tiny / "model.safetensors", metadata={"format": "pt"})
    assert TransformerEmbedder(Rules(tiny, device="cpu")).embed_query("sun").shape == (DIMENSION,)
    half = {name: value for name, value in no_pooler.items() if "layer.1" not in name}
    save_file(half, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NoTransformer, match=r"weights that \*.safetensors lack, such as encoder"):
        TransformerEmbedder(Rules(tiny, device="cpu")).embed_query("sun")
    (tiny / "model.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(NoTransformer, match="cannot be loaded"):
        TransformerEmbedder(Rules(tiny, device="cpu")).embed_query("sun")


def test_weights_that_lack_are_named(folder: Path) -> None:
    module._refuse_lacking(folder, ["pooler.dense.weight"])
    with pytest.raises(NoTransformer, match=r"describes 1 weights .* such as encoder\.one"):
        module._refuse_lacking(folder, ["pooler.dense.weight", "encoder.one"])


@needs_torch
def test_a_missing_gpu_is_told(tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(NoTransformer, match="cuda: no GPU is seen"):
        TransformerEmbedder(Rules(tiny, device="cuda")).embed_query("sun")
