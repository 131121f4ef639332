"""Forecasts of spending, one to four weeks ahead, against the mean of the last four weeks.

    python benchmarks/spending.py DATA [--sets completejourney,delaware,affinity] [--prophet]
                                       [--development] [--step 1]

`DATA` has the folders `spending_completejourney`, `spending_delaware_pcard` and
`spending_card_affinity`. Measured is the last quarter of the weeks of each set, which took no part
in any choice; with `--development` the weeks before it, by which choices were made. A model is
fitted at every origin (`--step`: every so many weeks) on the weeks before it and measured on the
four weeks from it on, by the task's own metrics. `boosting` is scikit-learn's gradient boosting
over all categories on the same lags, means and medians, without scale, with the weeks ahead and the
part of the month; it is no part of the platform. Prophet is slow, a model for each category and
origin: every fourth origin is enough. Nothing is written; the table goes to the terminal.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from rag_platform.training.models.spending_predictor import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.spec import SEED
from rag_platform.training.task import TARGET
from rag_platform.training.tasks.forecast import HORIZON, LEAST_WEEKS, WEEK
from rag_platform.training.trainer import Services
from rag_platform.training.trainers.history import Floats, History, mean, median

if TYPE_CHECKING:
    import pandas as pd

SETS = {
    "completejourney": "spending_completejourney/transactions_2017-01_2017-10.parquet",
    "delaware": "spending_delaware_pcard/pcard_2014-06_2018-12.csv.gz",
    "affinity": "spending_card_affinity/national_daily.csv.gz",
}
MEASURED_SHARE = 0.25
METRICS = ("mase", "improvement_over_4_week_mean", "below_naive", "coverage", "mae", "seconds")


def origins(weeks: int, *, development: bool, step: int) -> range:
    """Places of the first week that is forecast."""
    end = weeks - round(MEASURED_SHARE * weeks)
    if development:
        return range(max(LEAST_WEEKS, end // 3), end - HORIZON + 1, step)
    return range(end, weeks - HORIZON + 1, step)


def _no_gateway(purpose: str) -> Any:
    raise RuntimeError(f"{purpose}: forecasts ask no model")


def by_trainer(name: str, past: "pd.DataFrame", ahead: "pd.DataFrame") -> "pd.DataFrame":
    """The answers of one of the platform's trainers."""
    services = Services(gateway=_no_gateway)
    return SPEC.trainers[name].fit(past, seed=SEED, services=services).predict(ahead)


# Gradient boosting on the same lags


def _features(amounts: Floats, at: int, ahead: int, monday: Any) -> tuple[Floats, Floats, Floats]:
    """Features without scale, the level that the answer is told from, and the scale."""
    past = amounts[:at]
    scale = mean(np.abs(np.diff(past[-53:], axis=0)))
    scale = np.where(scale > 0, scale, 1.0)
    level = mean(past[-4:])
    lags = [past[-back] for back in (1, 2, 3, 4)]
    lags += [mean(past[-weeks:]) for weeks in (2, 8, 13, 26, 52)]
    lags += [median(past[-weeks:]) for weeks in (8, 13, 26, 52)]
    then = at + ahead - 52
    lags.append(amounts[then] if then >= 0 else np.full(len(level), np.nan))
    day = int(str(monday)[8:10])
    rest = np.tile([float(ahead), float(day <= 7), float(day > 21)], (len(level), 1))
    return np.c_[(np.array(lags) - level).T / scale[:, None], rest], level, scale


def by_boosting(past: "pd.DataFrame", ahead: "pd.DataFrame") -> "pd.DataFrame":
    """The answers of gradient boosting, without intervals."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    history = History.of(past)
    amounts, weeks = history.amounts, len(history.amounts)
    parts: list[tuple[Floats, Floats]] = []
    for at in range(10, weeks):
        for step in range(min(HORIZON, weeks - at)):
            given, level, scale = _features(amounts, at, step, history.first + 7 * (at + step))
            parts.append((given, np.clip((amounts[at + step] - level) / scale, -8, 8)))
    given, wanted = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    known = ~np.isnan(wanted)
    # A column without a value cannot be binned.
    given[:, np.isnan(given[known]).all(axis=0)] = 0.0
    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=60,
        learning_rate=0.05,
        max_leaf_nodes=6,
        min_samples_leaf=100,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=SEED,
    ).fit(given[known], wanted[known])
    found = by_trainer("default", past, ahead)  # for the reference figures that come with it
    first = history.first + 7 * weeks
    steps = (ahead[WEEK].to_numpy().astype("datetime64[D]") - first).astype(int) // 7
    places = [history.categories.index(name) for name in ahead["category"]]
    for step in range(HORIZON):
        given, level, scale = _features(amounts, weeks, step, first + 7 * step)
        told = level + scale * model.predict(given)
        here = steps == step
        found.loc[here, "prediction"] = told[np.array(places)[here]]
    return found.assign(lower=np.nan, upper=np.nan)


def measured(
    rows: "pd.DataFrame", contestant: str, places: range
) -> Iterator[tuple[dict[str, float], int]]:
    """The metrics of every origin, and how many rows were measured there."""
    weeks = np.sort(rows[WEEK].unique())
    for origin in places:
        past = rows[rows[WEEK] < weeks[origin]]
        ahead = rows[rows[WEEK].isin(weeks[origin : origin + HORIZON])]
        asked = ahead.drop(columns=TARGET)
        started = time.perf_counter()
        if contestant == "boosting":
            told = by_boosting(past, asked)
        else:
            told = by_trainer("default" if contestant == "mean_4" else contestant, past, asked)
        if contestant == "mean_4":
            told = told.assign(prediction=told["mean_4"], lower=np.nan, upper=np.nan)
        seconds = time.perf_counter() - started
        found = SPEC.task.measure(ahead, told) | {"seconds": seconds}
        if contestant in ("mean_4", "boosting"):
            del found["coverage"]
        yield found, len(ahead)


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--prophet", action="store_true")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--step", type=int, default=1)
    asked = parser.parse_args()
    contestants = ["mean_4", "default", "boosting", *(["prophet"] if asked.prophet else [])]
    for name in asked.sets.split(","):
        file = asked.data / SETS[name]
        rows = SPEC.reader.read([DataFile(file.name, file, 0.0)], labelled=True).frame
        weeks = rows[WEEK].nunique()
        places = origins(weeks, development=asked.development, step=asked.step)
        print(
            f"\n{name}: {weeks} weeks, {rows['category'].nunique()} categories; "
            f"{len(places)} origins, weeks {places[0] + 1} to {places[-1] + HORIZON}"
        )
        print(f"{'':10s}" + "".join(f"{metric[:15]:>16s}" for metric in METRICS), flush=True)
        for contestant in contestants:
            found = [one for one, _ in measured(rows, contestant, places)]
            cells = [np.mean([one[m] for one in found if m in one] or [np.nan]) for m in METRICS]
            print(f"{contestant:10s}" + "".join(f"{cell:16.4f}" for cell in cells), flush=True)
            worst = max(
                (np.mean([one[m] for one in found if m in one]), m)
                for m in found[0]
                if m.startswith("mase:")
            )
            print(f"{'':10s}  worst category: {worst[1]} {worst[0]:.3f}", flush=True)


if __name__ == "__main__":
    main()
