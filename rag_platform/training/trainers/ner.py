"""Named entities by spaCy from blank: a small network of hashed words, fitted to the rows alone."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.entities import MAX_TEXT, TEXT
from rag_platform.training.task import TARGET, UNIT
from rag_platform.training.tasks.spans import Span, as_text, from_text
from rag_platform.training.trainer import Model, Services, Trainer

if TYPE_CHECKING:
    import pandas as pd
    from spacy.language import Language
    from spacy.training import Example

# The network: width of its vectors, layers of windows of three words, rows of the hash tables of
# norms, prefixes, suffixes and shapes. Wider and deeper as spaCy comes (96, 4) a fit takes two to
# three times as long; of news it then tells some .02 of F1 more.
_WIDTH, _DEPTH, _HIDDEN = 64, 2, 64
_ROWS = (2000, 500, 1000, 1000)
_DROPOUT = 0.1
_LEARN_RATE = 0.001
# Words of a batch: few at first, for many small steps, then more, as spaCy's configuration has it.
_FIRST_WORDS, _MOST_WORDS, _GROWTH = 100.0, 1000.0, 1.001
_PASSES = 10

_SETTINGS, _PIPELINE = "model.json", "spacy"
# What spaCy's own `to_disk` writes here; anything else does not belong in a model.
_FILES = frozenset(
    {
        "config.cfg",
        "meta.json",
        "ner/cfg",
        "ner/model",
        "ner/moves",
        "tokenizer",
        "vocab/lookups.bin",
        "vocab/strings.json",
        "vocab/vectors",
        "vocab/vectors.cfg",
        "vocab/key2row",
    }
)


# Half of a pair of UTF-16 is no character; one stands in its place, so that positions stay.
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class Settings(BaseModel):
    """What is known of a model besides spaCy's files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainer: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class NerModel(Model):
    """Tells the entities of each row's `text`."""

    settings: Settings
    pipeline: "Language"

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """`prediction` (JSON, see `spans.as_text`) and `entities`, how many they are.

        Of a text the first 100,000 characters are read. Raises `UnusableData` where there is no
        column of texts.
        """
        import pandas as pd

        texts = _texts(rows)
        found = [
            [Span(each.start_char, each.end_char, each.label_) for each in document.ents]
            for document in self.pipeline.pipe(texts)
        ]
        written = [as_text(spans, text) for spans, text in zip(found, texts, strict=True)]
        return pd.DataFrame(
            {
                "prediction": pd.Series(written, dtype="str").to_numpy(),
                "entities": np.array(list(map(len, found)), np.int64),
            },
            index=rows.index,
        )

    def save(self, folder: Path) -> None:
        """spaCy's own folder (JSON and msgpack), and JSON beside it."""
        (folder / _SETTINGS).write_text(self.settings.model_dump_json(indent=1), encoding="utf-8")
        self.pipeline.to_disk(folder / _PIPELINE)

    def parameters(self) -> dict[str, str | int | float | bool]:
        """The labels, and how often the rows were gone through."""
        return {"labels": ", ".join(self.settings.labels)[:500], "passes": _PASSES}


@dataclass(frozen=True)
class NerTrainer(Trainer):
    """Fits a pipeline of one component, `ner`."""

    version: ClassVar[str] = "2"
    requirements: ClassVar[tuple[str, ...]] = ("spacy",)

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> NerModel:
        """A model of the rows, in whatever order they are.

        Raises `UnusableData` when they have no entity.
        """
        rows = rows.sort_values(UNIT, kind="stable")
        pipeline = _blank()
        examples = _examples(pipeline, rows)
        labels = sorted({each.label_ for one in examples for each in one.reference.ents})
        if not labels:
            raise UnusableData(f"{len(rows)} texts: to be fitted they need entities.")
        with _own_chance(seed):
            _fit(pipeline, examples, labels, seed)
        settings = Settings(trainer=type(self).__name__, labels=tuple(labels))
        return NerModel(settings, pipeline)

    def load(self, folder: Path, *, services: Services) -> NerModel:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
        try:
            text = (folder / _SETTINGS).read_text(encoding="utf-8")
            settings = Settings.model_validate(json.loads(text))
            if settings.trainer != type(self).__name__:
                raise ValueError(f"made by {settings.trainer[:60]!r}")
            return NerModel(settings, _loaded(folder / _PIPELINE))
        except Exception as error:
            raise UnusableData(
                f"no model of {type(self).__name__} in the folder ({type(error).__name__}); train "
                "it again."
            ) from error


def _blank() -> "Language":
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("ner", config={"model": _architecture()})
    return pipeline


def _architecture() -> dict[str, Any]:
    """spaCy's transition-based parser over hashed features of words."""
    return {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": _HIDDEN,
        "maxout_pieces": 2,
        "use_upper": True,
        "nO": None,
        "tok2vec": {
            "@architectures": "spacy.Tok2Vec.v2",
            "embed": {
                "@architectures": "spacy.MultiHashEmbed.v2",
                "width": _WIDTH,
                "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
                "rows": list(_ROWS),
                "include_static_vectors": False,
            },
            "encode": {
                "@architectures": "spacy.MaxoutWindowEncoder.v2",
                "width": _WIDTH,
                "depth": _DEPTH,
                "window_size": 1,
                "maxout_pieces": 3,
            },
        },
    }


def _examples(pipeline: "Language", rows: "pd.DataFrame") -> "list[Example]":
    """Entities that begin or end within a word of spaCy are taken with the whole word."""
    from spacy.training import Example

    examples = []
    for text, target in zip(_texts(rows), rows[TARGET], strict=True):
        document = pipeline.make_doc(text)
        reference = document.copy()
        taken: list[Any] = []
        for start, end, label in sorted(from_text(target)):
            span = reference.char_span(start, end, label=label, alignment_mode="expand")
            if span is not None and (not taken or taken[-1].end <= span.start):
                taken.append(span)
        reference.set_ents(taken)
        examples.append(Example(document, reference))
    return examples


def _fit(pipeline: "Language", examples: "list[Example]", labels: list[str], seed: int) -> None:
    """Go through the examples; the weights are the means over the steps."""
    from thinc.api import set_dropout_rate

    # Not that of the process: the first import of a library may draw from it.
    chance = random.Random(seed)
    for label in labels:
        pipeline.get_pipe("ner").add_label(label)  # type: ignore[attr-defined]
    optimizer = pipeline.initialize(lambda: examples)
    optimizer.learn_rate = _LEARN_RATE
    steps = 0
    for _ in range(_PASSES):
        chance.shuffle(examples)
        for batch in _batches(examples, steps):
            pipeline.update(batch, drop=_DROPOUT, sgd=optimizer)
            steps += 1
    # The first answer would do so; a model has the same bytes before and after.
    set_dropout_rate(pipeline.get_pipe("ner").model, 0.0)  # type: ignore[attr-defined]
    with pipeline.use_params(optimizer.averages):
        averaged = pipeline.to_bytes()
    pipeline.from_bytes(averaged)


def _batches(examples: "list[Example]", step: int) -> "Iterator[list[Example]]":
    """The examples in batches whose size grows with every step, of which there were `step`."""
    batch: list[Example] = []
    words = 0
    for example in examples:
        batch.append(example)
        words += len(example.reference)
        if words >= min(_FIRST_WORDS * _GROWTH**step, _MOST_WORDS):
            yield batch
            batch, words, step = [], 0, step + 1
    if batch:
        yield batch


@contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """spaCy draws from the generators of the whole process: seeded here, and put back."""
    from thinc.api import fix_random_seed

    kept, kept_numpy = random.getstate(), np.random.get_state()
    fix_random_seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(kept)
        np.random.set_state(kept_numpy)


def _loaded(folder: Path) -> "Language":
    """The blank pipeline with the weights of a folder; its configuration decides nothing."""
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    if not there <= _FILES:
        raise ValueError("files that do not belong to the model")
    return _blank().from_disk(folder)


def _texts(rows: "pd.DataFrame") -> list[str]:
    if TEXT not in rows:
        raise UnusableData(f"no column {TEXT!r}, which the model needs.")
    texts = rows[TEXT].tolist()
    if wrong := sum(not isinstance(text, str) for text in texts):
        raise UnusableData(f"{wrong} of {len(texts)} rows have no text in column {TEXT!r}.")
    return [_HALF_PAIR.sub("\ufffd", text[:MAX_TEXT]) for text in texts]
