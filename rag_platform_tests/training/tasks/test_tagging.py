"""How entities are measured."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.tasks.spans import BadSpans, Span, as_text, checked, from_text, joined
from rag_platform.training.tasks.tagging import NOTHING, Tagging, confusion

TASK = Tagging(min_entities=2)
WORDS = "aa bb cc dd ee ff"


def frames(true: list[list[Span]], told: list[list[Span]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    units = [f"u{at}" for at in range(len(true))]
    rows = pd.DataFrame({"unit": units, "group": units, "text": WORDS})
    rows["target"] = [as_text(spans, WORDS) for spans in true]
    predictions = pd.DataFrame({"prediction": [as_text(spans, WORDS) for spans in told]})
    return rows, predictions.assign(entities=list(map(len, told)))


A, A_LONGER, A_AS_Y = Span(0, 2, "X"), Span(0, 5, "X"), Span(0, 2, "Y")
B, C = Span(6, 8, "Y"), Span(9, 11, "X")


def test_only_spans_that_are_right_in_all_count() -> None:
    true = [[A, B], [A, C], [], [A]]
    told = [[A, B], [A_LONGER, C], [B], [A_AS_Y]]
    rows, predictions = frames(true, told)
    measured = TASK.measure(rows, predictions)
    # Right: A, B, C. Told 6, true 5.
    assert measured["precision"] == 3 / 6
    assert measured["recall"] == 3 / 5
    assert measured["f1"] == 2 * 3 / 11
    assert measured["rows_right"] == 1 / 4
    # X: true 4, told 3, right 2. Y: true 1, told 3, right 1.
    assert measured["f1:X"] == 2 * 2 / 7
    assert measured["f1:Y"] == 2 / 4
    # Of the second row A was missed and another told; of the last one, likewise.
    assert TASK.losses(rows, predictions).tolist() == [0, 2, 1, 2]


def test_what_cannot_be_told_is_left_out() -> None:
    rows, predictions = frames([[], []], [[], []])
    assert TASK.measure(rows, predictions) == {"rows_right": 1.0}
    rows, predictions = frames([[A]], [[]])
    assert TASK.measure(rows, predictions) == {"rows_right": 0, "f1": 0, "recall": 0, "f1:X": 0}


SPANS = st.lists(st.sampled_from([A, A_LONGER, A_AS_Y, B, C]), unique=True, max_size=4)


@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=6))
def test_the_figures_hang_together(pairs: list[tuple[list[Span], list[Span]]]) -> None:
    true, told = [one for one, _ in pairs], [two for _, two in pairs]
    rows, predictions = frames(true, told)
    measured = TASK.measure(rows, predictions)
    losses = TASK.losses(rows, predictions)
    missed = sum(len(set(a) - set(b)) for a, b in pairs)
    wrong = sum(len(set(b) - set(a)) for a, b in pairs)
    total = sum(map(len, true)) + sum(map(len, told))
    assert losses.sum() == missed + wrong
    if total:
        assert measured["f1"] == pytest.approx(1 - losses.sum() / total)
    assert measured["rows_right"] == np.mean(losses == 0)
    # Told and true change places: precision is recall.
    mirrored = TASK.measure(*frames(told, true))
    assert mirrored.get("precision") == measured.get("recall")
    assert TASK.measure(rows, predictions.iloc[::1].set_axis(range(5, 5 + len(rows)))) == measured


def test_which_label_was_taken_for_which() -> None:
    pairs = [(frozenset({A, B}), frozenset({A_AS_Y})), (frozenset(), frozenset({C}))]
    counts, names = confusion(pairs)
    assert names == ["X", "Y", NOTHING]
    assert counts.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_every_label_needs_entities() -> None:
    rows, _ = frames([[A, B], [C]], [[], []])
    (finding,) = TASK.findings(rows)
    assert finding.check == "entities_per_label"
    assert "Y (1)" in finding.told
    assert TASK.findings(frames([[A, B], [C, B]], [[], []])[0]) == []
    (finding,) = TASK.findings(frames([[]], [[]])[0])
    assert "no entity" in finding.told


def test_rare_labels_are_dealt_out_and_groups_stay_whole() -> None:
    rows, _ = frames([[A, B] if at % 10 == 0 else [A] for at in range(60)], [[]] * 60)
    rows["group"] = [f"g{at // 2}" for at in range(60)]
    for fitted, measured in TASK.folds(rows, folds=3, repeats=1, seed=0):
        assert set(rows["group"].iloc[fitted]).isdisjoint(rows["group"].iloc[measured])
        assert rows["target"].iloc[measured].str.contains('"Y"').sum() == 2


def test_slices_by_length_and_label() -> None:
    rows, _ = frames([[A], [B], []], [[]] * 3)
    rows["text"] = ["one two", "w " * 30, "w " * 100]
    slices = {name: part.tolist() for name, part in TASK.slices(rows).items()}
    assert slices == {
        "up to 15 words": [True, False, False],
        "over 15 to 40 words": [False, True, False],
        "over 40 words": [False, False, True],
        "with X": [True, False, False],
        "with Y": [False, True, False],
    }


def test_the_plots_can_be_drawn_with_hostile_labels() -> None:
    from rag_platform.pictures import png_bytes

    odd = Span(0, 2, "$\\frac{<script>")
    rows, predictions = frames([[odd], [B]], [[B], [B]])
    drawn = TASK.plots(rows, predictions)
    assert set(drawn) == {"f1_by_label", "labels"}
    assert all(png_bytes(draw).startswith(b"\x89PNG") for draw in drawn.values())
    assert TASK.plots(*frames([[]], [[]])) == {}


@given(st.lists(st.sampled_from(["a", "Inc.", ",", "(", ")", "$", "'s", "😀", "%"]), max_size=12))
def test_joined_tokens_are_where_they_are_said_to_be(tokens: list[str]) -> None:
    every = [Span(at, at + 1, "T") for at in range(len(tokens))]
    text, spans = joined(tokens, every)
    assert [text[start:end] for start, end, _ in spans] == tokens
    assert text.replace(" ", "") == "".join(tokens)


def test_spans_are_checked_and_without_blanks() -> None:
    assert checked(" ab ", [Span(0, 4, " L "), Span(1, 3, "L")]) == (Span(1, 3, "L"),)
    for wrong in (Span(0, 1, "L"), Span(2, 5, "L"), Span(3, 2, "L"), Span(1, 2, "")):
        with pytest.raises(BadSpans):
            checked(" ab ", [wrong])
    with pytest.raises(BadSpans, match="overlap"):
        checked("abcd", [Span(0, 2, "L"), Span(1, 3, "M")])


@pytest.mark.parametrize("written", ["", "7", "[7]", '[{"start": 0}]', '[{"start": "0"}]', "[" * 9])
def test_what_is_no_list_of_entities_is_refused(written: Any) -> None:
    with pytest.raises(UnusableData, match="start, end and label"):
        from_text(written)


def test_lists_of_labels_that_came_later_are_taken_as_they_are() -> None:
    rows, predictions = frames([[A]], [[A]])
    rows["target"] = [json.loads(rows["target"].iloc[0])]
    assert TASK.measure(rows, predictions)["f1"] == 1
