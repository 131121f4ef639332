"""Entities by spaCy."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.tasks.spans import Span, as_text, from_text
from rag_platform.training.tasks.tagging import Tagging
from rag_platform.training.trainers.ner import NerModel, NerTrainer
from rag_platform_tests.training.tiny import SERVICES

TRAINER = NerTrainer()
COMPANIES = ("Acme", "Borealis", "Cyan Holdings", "Delta Oil", "Eon Group", "Fjord")
AMOUNTS = ("$5 million", "$70,000", "$3.2 billion", "$900")
FORMS = (
    "{company} Inc. paid {amount} to its lenders.",
    "On Monday the shares of {company} Inc. fell after it lost {amount}.",
    "Analysts say that {amount} is too much.",
    "The board of {company} Inc. met.",
)


def texts(count: int, seed: int) -> pd.DataFrame:
    """Sentences of a few forms with their entities, named by their places."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        company, amount = chance.choice(COMPANIES), chance.choice(AMOUNTS)
        text = chance.choice(FORMS).format(company=company, amount=amount)
        named = {"Company": f"{company} Inc.", "Money": amount}
        spans = [
            Span(text.index(name), text.index(name) + len(name), label)
            for label, name in named.items()
            if name in text
        ]
        made.append((f"u{number:03}", text, as_text(spans, text)))
    return pd.DataFrame(made, columns=["unit", "text", "target"])


@pytest.fixture(scope="module")
def model() -> NerModel:
    return TRAINER.fit(texts(50, seed=1), seed=7, services=SERVICES)


def test_entities_are_found_at_their_places(model: NerModel) -> None:
    rows = texts(40, seed=2).set_index(pd.RangeIndex(5, 45))
    told = model.predict(rows.drop(columns="target"))
    assert told.index.equals(rows.index)
    assert list(told.columns) == list(Tagging.prediction_columns)
    for text, written, count in zip(
        rows["text"], told["prediction"], told["entities"], strict=True
    ):
        spans = json.loads(written)
        assert len(spans) == count
        assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)
    assert Tagging().measure(rows, told)["f1"] > 0.9
    assert model.parameters()["labels"] == "Company, Money"


def test_the_same_rows_in_any_order_give_the_same_model(model: NerModel, tmp_path: Path) -> None:
    shuffled = texts(50, seed=1).sample(frac=1, random_state=1)
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["key"]
    again = TRAINER.fit(shuffled, seed=7, services=SERVICES)
    assert random.getstate() == before[0]
    after = np.random.get_state(legacy=False)["state"]["key"]
    np.testing.assert_array_equal(after, before[1])
    for name, each in (("a", model), ("b", again)):
        (tmp_path / name).mkdir()
        each.save(tmp_path / name)
    files = [file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*")]
    assert Path("spacy/config.cfg") in files
    model_files = [*files, Path("spacy/ner/model")]
    for file in (file for file in model_files if (tmp_path / "a" / file).is_file()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_what_is_saved_answers_alike(model: NerModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = TRAINER.load(tmp_path, services=SERVICES)
    rows = texts(20, seed=3)
    pd.testing.assert_frame_equal(loaded.predict(rows), model.predict(rows))
    assert not [file for file in tmp_path.rglob("*") if "pickle" in file.name or "pkl" in file.name]


def test_a_saved_configuration_decides_nothing(model: NerModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    config = tmp_path / "spacy" / "config.cfg"
    config.write_text(config.read_text().replace('lang = "en"', 'lang = "de"'))
    assert TRAINER.load(tmp_path, services=SERVICES).pipeline.lang == "en"


@pytest.mark.parametrize("file", ["spacy/evil.py", "spacy/ner/model.pkl"])
def test_other_folders_are_refused(model: NerModel, tmp_path: Path, file: str) -> None:
    with pytest.raises(UnusableData, match="train it again"):
        TRAINER.load(tmp_path, services=SERVICES)
    model.save(tmp_path)
    (tmp_path / file).write_text("")
    with pytest.raises(UnusableData, match="train it again"):
        TRAINER.load(tmp_path, services=SERVICES)


def test_hostile_texts_are_answered(model: NerModel) -> None:
    hostile = ["", "  ", "\x00\x1b[2J", "😀" * 99, "\ud800 Acme Inc.", "$ " * 50_000, "a" * 120_000]
    told = model.predict(pd.DataFrame({"text": hostile}, dtype=object))
    assert len(told) == len(hostile)
    for text, written in zip(hostile, told["prediction"], strict=True):
        assert all(0 <= span.start < span.end <= len(text) for span in from_text(written))


def test_what_is_no_text_is_refused(model: NerModel) -> None:
    with pytest.raises(UnusableData, match="1 of 2 rows have no text"):
        model.predict(pd.DataFrame({"text": ["a", None]}))
    with pytest.raises(UnusableData, match="no column 'text'"):
        model.predict(pd.DataFrame({"content": ["a"]}))
    with pytest.raises(UnusableData, match="need entities"):
        TRAINER.fit(texts(5, seed=0).assign(target="[]"), seed=0, services=SERVICES)
