"""Dense vectors of a transformer in Hugging Face's format, by PyTorch, on a GPU where there is one.

The model is a folder: config.json, tokenizer.json, and weights as safetensors. Nothing is fetched,
no pickle is opened and no code of the model's is run. Texts are computed in batches of like length;
the batch is halved where it does not fit into the device's memory.

A vector depends a little on dtype, device and batch: those of bfloat16 and of float32 have a cosine
above .999 (docs/indexes.md has what was measured), so that an index made on a GPU may be searched
on a CPU, and the fingerprint does not say on what it was made.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.length_batches import batches, halving, padded
from rag_platform.encoders.validation import validate
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

VERSION = "1"
_BATCH_TEXTS = 2_048
_READ_AT_ONCE = 1 << 20

Pooling = Literal["mean", "cls", "last"]
# As sentence-transformers writes them into 1_Pooling/config.json.
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_MODULES = ("Transformer", "Pooling", "Normalize")


class NoTransformer(PlatformError):
    """The model cannot be read, PyTorch is not installed, or there is no such device."""


class OutOfMemory(PlatformError):
    """One text is too much for the memory of the device."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a model is read and run; `batch_tokens` counts padding too."""

    path: Path
    pooling: Pooling = "mean"
    passage_prefix: str = ""
    query_prefix: str = ""
    max_tokens: int = 512
    batch_tokens: int = 16_384
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "auto"


class TransformerEmbedder(Embedder):
    """Unit vectors of the length of the model's hidden state. Weights are loaded at first use.

    Raises `NoTransformer` for a folder that is not such a model.
    """

    name = "transformer"
    paid = False

    def __init__(self, rules: Rules, *, batch_size: int | None = None) -> None:
        self.rules = rules
        self.batch_size = batch_size or _BATCH_TEXTS
        self._config = _config(rules.path)
        _refuse_other_pooling(rules)
        self._tokenizer = _tokenizer(rules)
        self.dimension = _dimension(rules.path, self._config)
        _refuse_too_long(rules, self._config)
        self.fingerprint = fingerprint(rules)

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process."""
        return functools.partial(TransformerEmbedder, batch_size=self.batch_size), (self.rules,)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (len(texts), dimension), in the order of the texts.

        Raises `InvalidEmbedding` for a text without words, `OutOfMemory`, `NoTransformer`.
        """
        return self._embed(texts, self.rules.passage_prefix)

    def embed_query(self, text: str) -> Vectors:
        """The vector of a query, of unit length, float32 (dimension,)."""
        vector: Vectors = self._embed([text], self.rules.query_prefix)[0]
        return vector

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """What the model reads of each text: `max_tokens` at most, with its own marks."""
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(texts))]

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        wordy = [at for at, text in enumerate(texts) if text.strip()]
        read = zip(wordy, self.token_ids([prefix + texts[at] for at in wordy]), strict=True)
        ids = {at: one for at, one in read if one}
        places = list(ids)
        for batch, found in self._computed(list(ids.values())):
            vectors[[places[at] for at in batch]] = found
        return validate(vectors, expected=len(texts), dimension=self.dimension)

    def _computed(self, ids: list[list[int]]) -> Iterator[tuple[list[int], Vectors]]:
        """Positions and unit vectors, batch by batch."""

        def run(batch: list[int]) -> Vectors:
            return self._model([ids[at] for at in batch])

        for batch in batches(list(map(len, ids)), most_tokens=self.rules.batch_tokens):
            try:
                yield from halving(batch, run, is_too_large=_is_out_of_memory)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                raise OutOfMemory(
                    f"{self.rules.path.name}: a text of {len(ids[batch[0]])} tokens does not fit "
                    "into the device's memory; lower the embedder's `max_tokens`."
                ) from error

    @functools.cached_property
    def _model(self) -> "Model":
        return Model(self.rules, self._config)


class Model:
    """The weights on their device. `device` and `dtype` are what the rules came to."""

    def __init__(self, rules: Rules, config: dict[str, Any]) -> None:
        transformers = _installed()
        self.device = _device(rules.device)
        self.dtype = _dtype(rules.dtype, self.device)
        self._pooling = rules.pooling
        pad = config.get("pad_token_id")
        self._pad = pad if isinstance(pad, int) else 0
        transformers.utils.logging.disable_progress_bar()
        try:
            model, found = transformers.AutoModel.from_pretrained(
                rules.path,
                dtype=self.dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # a damaged file raises what its reader does
            raise NoTransformer(
                f"{rules.path}: cannot be loaded ({_line(error)}). It needs a model that the "
                "installed transformers knows, as model.safetensors."
            ) from error
        _refuse_lacking(rules.path, found["missing_keys"])
        self.network = model.to(self.device).eval()

    def __call__(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Unit vectors of token ids, float32 (rows, dimension)."""
        import torch

        width = padded(max(1, *map(len, rows)))
        ids = np.full((len(rows), width), self._pad, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        with torch.inference_mode():
            shown = torch.from_numpy(mask).to(self.device)
            hidden = self.network(
                input_ids=torch.from_numpy(ids).to(self.device), attention_mask=shown
            ).last_hidden_state
            pooled = _pooled(hidden, shown, self._pooling)
            unit = torch.nn.functional.normalize(pooled, dim=1)
            vectors: Vectors = unit.cpu().numpy()
        return vectors


def _refuse_lacking(folder: Path, lacking: Collection[str]) -> None:
    """What the folder has no weights for is made up by chance. The pooler is not asked here."""
    used = sorted(name for name in lacking if "pooler" not in name)
    if used:
        raise NoTransformer(
            f"{folder}: config.json describes {len(used)} weights that *.safetensors lack, such as "
            f"{used[0]}. The two are not of one model."
        )


def fingerprint(rules: Rules) -> str:
    """What the vectors depend on: weights, configuration, tokenizer, and how they are read."""
    digest = hashlib.sha256()
    weights = sorted(rules.path.glob("*.safetensors"))
    if not weights:
        raise NoTransformer(
            f"{rules.path}: has no *.safetensors; other formats of weights may hold code and are "
            "not read. Save the model as safetensors."
        )
    for file in (*weights, rules.path / "config.json", rules.path / "tokenizer.json"):
        digest.update(_digest(file))
    how = [rules.pooling, rules.passage_prefix, rules.query_prefix, rules.max_tokens]
    digest.update(json.dumps(how).encode())
    return f"transformer:{VERSION}:{digest.hexdigest()[:32]}"


def _digest(path: Path) -> bytes:
    """SHA-256 of a file; weights take a second a gigabyte, so it is kept as long as it stands."""
    try:
        told = path.stat()
    except OSError as error:
        raise NoTransformer(f"{path}: cannot be read ({error.strerror}).") from error
    return _digest_of(path, told.st_size, told.st_mtime_ns)


@functools.cache
def _digest_of(path: Path, _size: int, _changed_ns: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_AT_ONCE):
            digest.update(part)
    return digest.digest()


def _config(folder: Path) -> dict[str, Any]:
    config = _read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise NoTransformer(f"{folder}: config.json is not that of a model.")
    return config


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NoTransformer(
            f"{path}: cannot be read ({_line(error)}). The embedder's `path` names a folder with "
            "config.json, tokenizer.json and model.safetensors."
        ) from error


def _dimension(folder: Path, config: dict[str, Any]) -> int:
    for name in ("hidden_size", "d_model", "dim"):
        if isinstance(config.get(name), int):
            return int(config[name])
    raise NoTransformer(f"{folder}: config.json says no hidden_size; the model is of no known kind")


def _refuse_too_long(rules: Rules, config: dict[str, Any]) -> None:
    """A token beyond the model's places ends in an error of the device's, deep in a run."""
    places = config.get("max_position_embeddings")
    if isinstance(places, int) and rules.max_tokens > places:
        raise NoTransformer(
            f"{rules.path}: takes {places} tokens at most (max_position_embeddings); lower the "
            f"embedder's `max_tokens` from {rules.max_tokens}."
        )


def _refuse_other_pooling(rules: Rules) -> None:
    """Where the folder says how its sentence vectors are made, that must be what is done here."""
    modules = rules.path / "modules.json"
    if modules.exists():
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in _read_json(modules)]
        if other := [kind for kind in kinds if kind not in _MODULES]:
            raise NoTransformer(
                f"{rules.path}: modules.json has {', '.join(other)}, which is not read: its "
                "vectors would be others than its makers'. Take another model, or a server."
            )
    pooling = rules.path / "1_Pooling" / "config.json"
    if pooling.exists():
        said = _read_json(pooling)
        wanted = [name for mode, name in _POOLINGS.items() if said.get(mode)]
        if wanted != [rules.pooling]:
            named = wanted[0] if len(wanted) == 1 else "what is not offered here"
            raise NoTransformer(
                f"{rules.path}: 1_Pooling/config.json says {named}, the settings say "
                f"{rules.pooling}. Set the embedder's `pooling`."
            )


def _tokenizer(rules: Rules) -> "Tokenizer":
    from tokenizers import Tokenizer

    path = rules.path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more special
        raise NoTransformer(f"{path}: cannot be read ({_line(error)}).") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(rules.max_tokens)
    return tokenizer


def _installed() -> Any:
    """The module `transformers`, with PyTorch beside it."""
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise NoTransformer(
            f"{error.name} is not installed; run: pip install 'rag_platform[gpu]'."
        ) from error
    return transformers


def _device(asked: str) -> str:
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise NoTransformer(
            "cuda: no GPU is seen by PyTorch. Check the driver (nvidia-smi) and that this PyTorch "
            "is built for it, or set the embedder's `device: auto`."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def _dtype(asked: str, device: str) -> "torch.dtype":
    import torch

    if asked == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


def _pooled(hidden: "torch.Tensor", mask: "torch.Tensor", pooling: Pooling) -> "torch.Tensor":
    """One vector a row: (rows, width, dimension) and (rows, width) to float32 (rows, dimension)."""
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "last":
        import torch

        rows = torch.arange(len(hidden), device=hidden.device)
        return hidden[rows, mask.sum(dim=1) - 1].float()
    shown = mask.unsqueeze(-1).float()
    return (hidden.float() * shown).sum(dim=1) / shown.sum(dim=1)


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
