"""Figures of anomalies: of events, by scikit-learn or by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score

from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL, UNLABELLED, Anomalies

TASK = Anomalies(sliced="series")


def frames(
    groups: list[str], targets: list[str], score: list[float], alerts_from: float = 0.5
) -> tuple[pd.DataFrame, pd.DataFrame]:
    units = [f"u{number}" for number in range(len(groups))]
    rows = pd.DataFrame(
        {UNIT: units, GROUP: groups, TARGET: targets}, index=range(3, 3 + len(units))
    )
    told = np.where(np.array(score) >= alerts_from, ANOMALY, NORMAL)
    return rows, pd.DataFrame({"prediction": told, "score": score}, index=rows.index)


def single(true: list[bool], score: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"g{number}" for number in range(len(true))]
    return frames(names, [ANOMALY if one else NORMAL for one in true], score)


# w1 is found by one of two rows, w2 is missed, s1 is a false alert, s2 quiet, f not measured.
EVENTS = frames(
    ["w1", "w1", "w2", "s1", "s1", "s2", "f"],
    [ANOMALY, ANOMALY, ANOMALY, NORMAL, NORMAL, NORMAL, UNLABELLED],
    [0.1, 0.9, 0.3, 0.6, 0.2, 0.2, 0.95],
)


def test_events_are_measured_and_not_rows() -> None:
    found = TASK.measure(*EVENTS)
    assert found["recall"] == 1 / 2
    assert found["precision"] == 1 / 2
    assert found["roc_auc"] == roc_auc_score([1, 1, 0, 0], [0.9, 0.3, 0.6, 0.2])
    assert found["average_precision"] == average_precision_score([1, 1, 0, 0], [0.9, 0.3, 0.6, 0.2])
    # Of all rows, labelled or not.
    assert found["alert_rate"] == pytest.approx(3 / 7)
    assert set(found) == set(TASK.metrics)


def test_losses_by_hand() -> None:
    # w1 is above both stretches, w2 above one; one of two windows is below s1, none below s2: the
    # placements are 0 and .5, .5 and 0. 1 - area is .25, from which each departs by .25, times 7
    # rows over 2 events of the class, and over the event's rows.
    whole = 0.25 * 7 / 2
    expected = [-whole / 2, -whole / 2, whole, whole / 2, whole / 2, -whole, 0]
    assert TASK.losses(*EVENTS) == pytest.approx(0.25 + np.array(expected))


def test_the_variance_of_the_losses_is_delongs() -> None:
    chance = np.random.default_rng(1)
    true = np.arange(300) < 60
    score = chance.normal(size=300) + true
    losses = TASK.losses(*single(true.tolist(), score.tolist()))
    above = (score[true][:, None] > score[~true][None, :]).astype(float)
    delong = above.mean(1).var(ddof=1) / 60 + above.mean(0).var(ddof=1) / 240
    assert losses.var() / 300 == pytest.approx(delong, rel=0.02)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 9).map(lambda one: one / 10)),
        min_size=2,
        max_size=60,
    ).filter(lambda rows: len({true for true, _ in rows}) == 2)
)
@settings(max_examples=30, deadline=None)
def test_the_mean_loss_is_what_the_area_lacks(rows: list[tuple[bool, float]]) -> None:
    true, score = [one for one, _ in rows], [one for _, one in rows]
    pair = single(true, score)
    area = roc_auc_score(true, score)
    assert TASK.measure(*pair)["roc_auc"] == pytest.approx(area)
    assert TASK.losses(*pair).mean() == pytest.approx(1 - area)


def test_without_labels_only_alerts_are_counted() -> None:
    pair = frames(["a", "b"], [UNLABELLED] * 2, [0.9, 0.1])
    assert TASK.measure(*pair) == {"alert_rate": 0.5}
    assert TASK.losses(*pair).tolist() == [0, 0]
    assert TASK.findings(pair[0]) == []
    assert set(TASK.plots(*pair)) == {"scores"}
    normal = frames(["a", "b"], [NORMAL] * 2, [0.9, 0.1])
    assert TASK.measure(*normal) == {"alert_rate": 0.5}
    assert TASK.losses(*normal).tolist() == [0, 0]


def test_findings() -> None:
    def told(targets: list[str]) -> list[str]:
        rows = frames([str(one) for one in range(len(targets))], targets, [0.0] * len(targets))[0]
        return [finding.told for finding in TASK.findings(rows)]

    assert told([NORMAL] * 9 + [ANOMALY]) == []
    assert told([ANOMALY] * 9 + [NORMAL]) == ["9 anomalies and 1 normal rows: exchanged?"]
    assert told([NORMAL] * 9 + ["fraud"]) == ["1 classes besides anomaly and normal"]


def test_events_stay_whole_in_folds() -> None:
    groups = [f"e{number // 5}" for number in range(100)]
    targets = [ANOMALY if number < 25 else NORMAL for number in range(100)]
    rows = frames(groups, targets, [0.0] * 100)[0]
    for fitted, measured in TASK.folds(rows, folds=5, repeats=2, seed=1):
        assert not set(rows[GROUP].iloc[fitted]) & set(rows[GROUP].iloc[measured])
        assert (rows[TARGET].iloc[measured] == ANOMALY).sum() == 5


def test_series_are_slices() -> None:
    rows = pd.DataFrame({"series": ["a/one"] * 30 + ["b/two"] * 25 + ["c"] * 3})
    sizes = {name: int(part.sum()) for name, part in TASK.slices(rows).items()}
    assert sizes == {"series: a/one": 30, "series: b/two": 25}
    assert TASK.slices(pd.DataFrame({"x": [1]})) == {}


def test_plots_can_be_drawn() -> None:
    plots = TASK.plots(*EVENTS)
    assert set(plots) == {"scores", "roc", "precision_recall"}
    for draw in [*plots.values(), *TASK.plots(*frames(["a"], [UNLABELLED], [0.2])).values()]:
        figure = Figure()
        draw(figure)
        figure.canvas.draw()
        assert figure.axes
