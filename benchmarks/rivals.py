"""What a user would take in the place of a model of the platform: a few lines of a library.

Each is a trainer, so that it is measured on the same folds and rows. It sees the columns of the
data, without those that the platform makes of them (ratios, features of series) and without those
that a model must not see (age, sex, marital status).
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import RESERVED, TARGET
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL
from rag_platform.training.tasks.forecast import CATEGORY
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform.training.trainers.history import YEAR, History

if TYPE_CHECKING:
    import pandas as pd

# Values of a time series as they are measured; put beside the features of the rows.
VALUE, SERIES = "raw_value", "series"
EPOCHS = 10

Answer = Callable[["pd.DataFrame"], "pd.DataFrame"]
# From the model, the rows to be fitted to and a seed to what answers.
Fit = Callable[[ModelSpec, "pd.DataFrame", int], Answer]


@dataclass(frozen=True)
class Rival(Trainer, Model):
    """A trainer, and after `fit` the model, which lives as long as the process."""

    spec: ModelSpec
    how: Fit
    # False: fitting takes long; measured on the held-back rows alone.
    by_folds: bool = True
    answer: Answer | None = None

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> "Rival":
        return replace(self, answer=self.how(self.spec, rows, seed))

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        assert self.answer is not None
        return self.answer(rows)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path, *, services: Services) -> "Rival":
        raise NotImplementedError


def rivals(spec: ModelSpec) -> dict[str, Rival]:
    """By their names; none for a model that has no counterpart."""
    return {
        name: Rival(spec, how, by_folds=how is not spacy_default)
        for name, how in RIVALS.get(spec.name, {}).items()
    }


# Intents


def tfidf(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    """As scikit-learn has them, without a parameter."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(rows["text"], rows[TARGET])

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        shares = model.predict_proba(asked["text"])
        return _told(asked, model.classes_[shares.argmax(axis=1)], shares.max(axis=1))

    return answer


# Credit


def logistic(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    from sklearn.linear_model import LogisticRegression

    return _credit(spec, rows, LogisticRegression(max_iter=1000))


def random_forest(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    from sklearn.ensemble import RandomForestClassifier

    return _credit(spec, rows, RandomForestClassifier(random_state=seed % 2**32, n_jobs=2))


def _credit(spec: ModelSpec, rows: "pd.DataFrame", classifier: Any) -> Answer:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    made = (*RESERVED, *spec.audited, *getattr(spec.reader, "ratios", ()))
    given = rows.drop(columns=[name for name in made if name in rows])
    numbers = list(given.select_dtypes("number"))
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), [n for n in given if n not in numbers]),
        ),
        classifier,
    ).fit(given, rows[TARGET])
    positive = list(model.classes_).index(spec.task.positive)

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        return _told(asked, model.predict(asked), model.predict_proba(asked)[:, positive])

    return answer


# Anomalies


def isolation_forest(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    from sklearn.ensemble import IsolationForest

    return _anomalies(rows, IsolationForest(random_state=seed % 2**32))


def outlier_factor(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    from sklearn.neighbors import LocalOutlierFactor

    return _anomalies(rows, LocalOutlierFactor(novelty=True))


def _anomalies(rows: "pd.DataFrame", model: Any) -> Answer:
    if VALUE in rows:
        by_series = rows.groupby(SERIES)[VALUE]
        means, spreads = by_series.mean(), by_series.std()

        def scaled(some: "pd.DataFrame") -> Any:
            place = some[SERIES]
            distance = (some[VALUE] - place.map(means)) / place.map(spreads)
            return distance.fillna(0.0).to_numpy(float)[:, None]  # of a series that is new

    else:
        from sklearn.preprocessing import StandardScaler

        columns = list(rows.drop(columns=list(RESERVED)).select_dtypes("number"))
        scaler = StandardScaler().fit(rows[columns])

        def scaled(some: "pd.DataFrame") -> Any:
            return scaler.transform(some[columns])

    model.fit(scaled(rows))

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        given = scaled(asked)
        told = np.where(model.predict(given) == -1, ANOMALY, NORMAL).astype(object)
        return _told(asked, told, -model.score_samples(given))

    return answer


def values_of_series(folder: Path) -> "pd.Series[float]":
    """The values of all series below a folder, by the unit of their rows."""
    import pandas as pd

    found = []
    for file in sorted(folder.rglob("*.csv.gz")):
        table = pd.read_csv(file, parse_dates=["timestamp"])
        name = file.relative_to(folder).as_posix().removesuffix(".csv.gz")
        table.index = name + "@" + table["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
        found.append(table["value"].groupby(level=0).first())
    return pd.concat(found)


# Named entities


def spacy_default(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    """A blank pipeline with the component `ner` as it comes, batches as `spacy init config` has
    them."""
    import spacy
    from spacy.training import Example
    from spacy.training.batchers import minibatch_by_words
    from thinc.api import compounding, fix_random_seed

    fix_random_seed(seed % 2**32)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("ner")
    examples = [
        Example.from_dict(
            pipeline.make_doc(text),
            {"entities": [(one["start"], one["end"], one["label"]) for one in json.loads(target)]},
        )
        for text, target in zip(rows["text"], rows[TARGET], strict=True)
    ]
    optimizer = pipeline.initialize(lambda: examples)
    shuffle = random.Random(seed).shuffle
    words: Any = compounding(100, 1000, 1.001)
    for _ in range(EPOCHS):
        shuffle(examples)
        for batch in minibatch_by_words(examples, words):
            pipeline.update(batch, drop=0.1, sgd=optimizer)

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        documents = list(pipeline.pipe(asked["text"]))
        return _entities(
            asked, [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in documents]
        )

    return answer


def dictionary(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    """Every wording that was an entity is one wherever it stands, with its most frequent label."""
    labels: dict[str, Counter[str]] = {}
    for text, target in zip(rows["text"], rows[TARGET], strict=True):
        for one in json.loads(target):
            labels.setdefault(text[one["start"] : one["end"]], Counter())[one["label"]] += 1
    longest_first = sorted(labels, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        found = [
            [(*one.span(), labels[one[0]].most_common(1)[0][0]) for one in pattern.finditer(text)]
            for text in asked["text"]
        ]
        return _entities(asked, found)

    return answer


def _entities(asked: "pd.DataFrame", found: list[list[tuple[int, int, str]]]) -> "pd.DataFrame":
    import pandas as pd

    written = [
        json.dumps([dict(zip(("start", "end", "label"), one, strict=True)) for one in each])
        for each in found
    ]
    return pd.DataFrame(
        {"prediction": written, "entities": [len(each) for each in found]}, index=asked.index
    )


# Spending


def mean_of_4_weeks(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    history = History.of(rows)
    return _forecast(spec, rows, seed, history, history.recent_mean(len(history.amounts)))


def seasonal_naive(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Answer:
    """The same week of last year; without one the last week."""
    return _forecast(spec, rows, seed, History.of(rows), None)


def _forecast(
    spec: ModelSpec, rows: "pd.DataFrame", seed: int, history: History, fixed: Any
) -> Answer:
    # For the error of the naive forecast, by which those of categories are made comparable.
    told = spec.trainers["default"].fit(rows, seed=seed, services=Services(gateway=_no_gateway))
    amounts = history.amounts
    places = {name: place for place, name in enumerate(history.categories)}

    def one(category: str, week: Any) -> float:
        place = places.get(category)
        if place is None:
            return float("nan")
        if fixed is not None:
            return float(fixed[place])
        then = int((np.datetime64(week, "D") - history.first) // np.timedelta64(7, "D")) - YEAR
        known = amounts[then, place] if 0 <= then < len(amounts) else np.nan
        return float(amounts[-1, place] if np.isnan(known) else known)

    def answer(asked: "pd.DataFrame") -> "pd.DataFrame":
        found = [one(c, w) for c, w in zip(asked[CATEGORY], asked["week"], strict=True)]
        return told.predict(asked).assign(prediction=found, lower=np.nan, upper=np.nan)

    return answer


def _no_gateway(purpose: str) -> Any:
    raise RuntimeError(f"{purpose}: forecasts ask no model")


def _told(asked: "pd.DataFrame", prediction: Any, score: Any) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({"prediction": prediction, "score": score}, index=asked.index)


RIVALS: Mapping[str, Mapping[str, Fit]] = {
    "intent_classifier": {"TF-IDF + logistic regression": tfidf},
    "credit_risk_scorer": {
        "one-hot + logistic regression": logistic,
        "one-hot + random forest": random_forest,
    },
    "anomaly_detector": {
        "IsolationForest, scaled columns": isolation_forest,
        "LocalOutlierFactor, scaled columns": outlier_factor,
    },
    "financial_ner": {f"spaCy blank, {EPOCHS} epochs": spacy_default, "dictionary": dictionary},
    "spending_predictor": {
        "mean of 4 weeks": mean_of_4_weeks,
        "seasonal naive": seasonal_naive,
    },
}
