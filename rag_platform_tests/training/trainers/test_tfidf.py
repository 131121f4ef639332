"""Intents of messages."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.models.intent_classifier import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.trainers.tfidf import OUT_OF_SCOPE_SHARE, MessageModel, TfidfTrainer
from rag_platform.training.trainers.views import MAX_CHARACTERS, Vocabulary, clean
from rag_platform_tests.training.tiny import SERVICES

TRAINER = TfidfTrainer(out_of_scope="oos")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Messages of five intents, and some out of scope."""
    assert SPEC.sample_path
    path = SPEC.sample_path / "messages.csv.gz"
    frame = SPEC.reader.read([DataFile(path.name, path, 0.0)], labelled=True).frame
    kept = [*sorted(set(frame["target"]) - {"oos"})[:5], "oos"]
    return frame[frame["target"].isin(kept)].groupby("target").head(40)


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> MessageModel:
    return TRAINER.fit(rows.iloc[::2], seed=1, services=SERVICES)


def test_most_messages_are_understood(rows: pd.DataFrame, model: MessageModel) -> None:
    others = rows.iloc[1::2]
    told = model.predict(others.drop(columns="target"))
    assert told.index.equals(others.index)
    assert list(told.columns) == ["prediction", "score"]
    assert (told["prediction"] == others["target"]).mean() > 0.9
    right = (told["prediction"] == others["target"]).mean()
    assert abs(told["score"].mean() - right) < 0.1


def test_a_message_is_answered_alike_alone_and_among_others(
    rows: pd.DataFrame, model: MessageModel
) -> None:
    together = model.predict(rows.head(9))
    alone = pd.concat([model.predict(rows.iloc[[at]]) for at in range(9)])
    assert together["prediction"].equals(alone["prediction"])
    np.testing.assert_allclose(together["score"], alone["score"], atol=1e-4)


def test_the_same_rows_in_any_order_give_the_same_model(
    rows: pd.DataFrame, model: MessageModel, tmp_path: Path
) -> None:
    again = TRAINER.fit(rows.iloc[::2].sample(frac=1, random_state=3), seed=1, services=SERVICES)
    for name, each in (("a", model), ("b", again)):
        (tmp_path / name).mkdir()
        each.save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_is_saved_answers_alike(
    rows: pd.DataFrame, model: MessageModel, tmp_path: Path
) -> None:
    model.save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = TRAINER.load(tmp_path, services=SERVICES)
    pd.testing.assert_frame_equal(loaded.predict(rows), model.predict(rows))
    assert loaded.parameters() == model.parameters()


def test_another_folder_is_refused(model: MessageModel, tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="train it again"):
        TRAINER.load(tmp_path, services=SERVICES)
    model.save(tmp_path)
    settings = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**settings, "trainer": "os.system"}))
    with pytest.raises(UnusableData, match="train it again"):
        TRAINER.load(tmp_path, services=SERVICES)


HOSTILE = [
    *("", " \t\n", "\x00\x1b[2J\x07", "😀" * 50, "a" * 100_000, "?", "\ud800", "ﷺ" * 5_000),
    *("<script>alert(1)</script>", "\u202eabc", "x " * 60_000, "一二三", "' OR 1=1 --"),
]


def test_hostile_messages_are_answered(model: MessageModel) -> None:
    told = model.predict(pd.DataFrame({"text": HOSTILE}, dtype=object))
    assert told["prediction"].isin(model.settings.classes).all()
    assert told["score"].between(1 / 6, 1).all()


@given(st.lists(st.text(), max_size=4))
@settings(max_examples=30, deadline=None)
def test_every_text_is_answered(model: MessageModel, texts: list[str]) -> None:
    told = model.predict(pd.DataFrame({"text": texts}, dtype=object))
    assert len(told) == len(texts)
    assert np.isfinite(told["score"]).all()


@pytest.mark.parametrize("texts", [[None], ["a", 7], [math.nan]])
def test_what_is_no_text_is_refused(model: MessageModel, texts: list[Any]) -> None:
    with pytest.raises(UnusableData, match="have no text"):
        model.predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}))
    with pytest.raises(UnusableData, match="no column 'text'"):
        model.predict(pd.DataFrame({"message": ["a"]}))


def test_one_intent_is_no_question(rows: pd.DataFrame) -> None:
    with pytest.raises(UnusableData, match="two intents"):
        TRAINER.fit(rows[rows["target"] == "oos"], seed=1, services=SERVICES)


def test_messages_of_nothing_but_marks_can_be_learned() -> None:
    rows = pd.DataFrame(
        {"unit": ["a", "b", "c"], "text": ["!", "?", "\x00"], "target": ["x", "y", "x"]}
    )
    told = TRAINER.fit(rows, seed=1, services=SERVICES).predict(rows)
    assert told["prediction"].tolist() == ["x", "y", "x"]


def test_what_is_out_of_scope_is_reckoned_with(rows: pd.DataFrame) -> None:
    few = rows[rows["target"] != "oos"]
    few = pd.concat([few, rows[rows["target"] == "oos"].head(4)])
    unaware = TfidfTrainer().fit(few, seed=1, services=SERVICES)
    aware = TRAINER.fit(few, seed=1, services=SERVICES)
    assert set(unaware.settings.odds) == {1.0}
    # Raised by their odds, the shares of the classes in the data become those reckoned with.
    share = 4 / len(few)
    ratio = (OUT_OF_SCOPE_SHARE / (1 - OUT_OF_SCOPE_SHARE)) / (share / (1 - share))
    odds = dict(zip(aware.settings.classes, aware.settings.odds, strict=True))
    others = {odds[name] for name in odds if name != "oos"}
    assert odds["oos"] / others.pop() == pytest.approx(ratio)
    assert not others
    unseen = rows[rows["target"] == "oos"].tail(30)
    found = [(one.predict(unseen)["prediction"] == "oos").sum() for one in (unaware, aware)]
    assert found[1] > found[0]


def test_cleaning_makes_one_form_of_what_looks_alike() -> None:
    assert clean("\ufeff\uff28\uff49\u200b there\x00!\r\n") == "Hi there !"
    assert clean("\x07\u200b") == ""
    assert len(clean("ﷺ" * 100_000)) <= MAX_CHARACTERS


@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once.encode().decode() == once


def test_terms_weigh_as_in_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["where is my card", "my card is lost", "is it?"]
    ours = Vocabulary.of("words", texts)
    theirs = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\b\w+\b|[^\w\s]"
    ).fit(texts)
    assert list(ours.terms) == theirs.get_feature_names_out().tolist()
    restored = Vocabulary.model_validate_json(ours.model_dump_json())
    expected = theirs.transform(["my card? ?"]).toarray()
    np.testing.assert_allclose(restored.vectors(["my card? ?"]).toarray(), expected, atol=1e-6)
    assert Vocabulary.of("letters", ["a", "b"]).vectors(["a"]).shape == (1, 0)
