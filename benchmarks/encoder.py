"""How fast a transformer encodes passages here, and how much of the device it uses.

    python benchmarks/encoder.py --model DIR [--texts 4096] [--batch-tokens 16384] [--device auto]
        [--dtype auto] [--max-tokens 512] [--rounds 3]

`DIR` is a model in Hugging Face's format (config.json, tokenizer.json, model.safetensors). The
passages are chunks of made documents (`scale_corpus.py`). Prints a Markdown table: real tokens a
second, padding not counted; the share of what was computed that was padding; and the share of the
device's matrix peak, which is what a large product of matrices of the same dtype reaches on this
device, measured right before. On a GPU as on a CPU; needs the extra `gpu`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import scale_corpus as corpus
from run import machine

from rag_platform.encoders.length_batches import batches, padded
from rag_platform.encoders.transformer import Rules, TransformerEmbedder
from rag_platform.indexing.chunking.chunker import Chunker

PEAK_SIZE = {"cuda": 8_192, "cpu": 1_024}
PEAK_ROUNDS = 10
WARM_UP = 256


def passages(count: int) -> list[str]:
    """Chunks of 400 tokens at most, as an index has them."""

    def made() -> Iterator[str]:
        chunker = Chunker("recursive", 400, overlap=40)
        number = 0
        while True:
            yield from (chunk.text for chunk in chunker.chunk(corpus.document(number)))
            number += 1

    return list(islice(made(), count))


def flops_per_token(config: dict[str, Any], width: int) -> float:
    """Floating-point operations of the forward pass for one token among `width`.

    Twice the weights that a token is multiplied with in each layer (query, key, value and output
    of attention; the feed-forward), and twice the two products of attention, each `width` long.
    """
    size = config["hidden_size"]
    inner = config.get("intermediate_size", 4 * size)
    heads = config["num_attention_heads"]
    shared = config.get("num_key_value_heads", heads) / heads
    is_gated = config.get("hidden_act") == "silu"  # as in Llama, Mistral and Qwen
    attention = size * size * (2 + 2 * shared)
    forward = size * inner * (3 if is_gated else 2)
    layers = int(config["num_hidden_layers"])
    return layers * float(2 * (attention + forward) + 4 * width * size)


def peak_flops(device: str, dtype: Any) -> float:
    """Operations a second of a product of square matrices; the best of some rounds."""
    import torch

    size = PEAK_SIZE[device]
    one = torch.randn(size, size, device=device, dtype=dtype)
    seconds = [_seconds(lambda: one @ one, device) for _ in range(PEAK_ROUNDS)]
    return 2 * size**3 / min(seconds)


def _seconds(work: Callable[[], object], device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measured(embedder: TransformerEmbedder, texts: list[str], rounds: int) -> dict[str, Any]:
    """The figures of a run over all texts."""
    import torch

    config = json.loads((embedder.rules.path / "config.json").read_text(encoding="utf-8"))
    embedder.embed_passages(texts[:WARM_UP])
    device, dtype = embedder._model.device, embedder._model.dtype
    peak = peak_flops(device, dtype)
    lengths = [len(ids) for ids in embedder.token_ids(texts)]
    computed = flops = 0.0
    for batch in batches(lengths, most_tokens=embedder.rules.batch_tokens):
        width = padded(max(lengths[at] for at in batch))
        computed += len(batch) * width
        flops += len(batch) * width * flops_per_token(config, width)
    size = embedder.batch_size
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]

    def work() -> None:
        for part in parts:
            embedder.embed_passages(part)

    seconds = statistics.median(_seconds(work, device) for _ in range(rounds))
    tokens = sum(lengths)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else machine()["cpu"],
        "dtype": str(dtype).removeprefix("torch."),
        "passages/s": f"{len(texts) / seconds:,.0f}",
        "tokens/s": f"{tokens / seconds:,.0f}",
        "padding": f"{1 - tokens / computed:.1%}",
        "of peak": f"{flops / seconds / peak:.1%}",
        "peak TFLOP/s": f"{peak / 1e12:,.2f}",
        "peak MB": "" if memory is None else f"{memory:,.0f}",
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=4_096)
    parser.add_argument("--batch-tokens", type=int, default=16_384)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--pooling", choices=("mean", "cls", "last"), default="mean")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    asked = vars(parser.parse_args())
    count, rounds, model = asked.pop("texts"), asked.pop("rounds"), asked.pop("model")
    embedder = TransformerEmbedder(Rules(model.resolve(), **asked), batch_size=count)
    found = measured(embedder, passages(count), rounds)
    print("| " + " | ".join(found) + " |")
    print("|---" * len(found) + "|")
    print("| " + " | ".join(found.values()) + " |")


if __name__ == "__main__":
    main()
