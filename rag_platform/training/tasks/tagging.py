"""Telling where in a text which entities are. Right is a span with both ends and the label right.

Targets and predictions are JSON text, lists of objects with `start`, `end`, `label` and `text`
(`spans.py`).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.folds import stratified_folds
from rag_platform.training.task import GROUP, TARGET, Draw, Finding, Metric, Task
from rag_platform.training.tasks import classification_plots as plots
from rag_platform.training.tasks.spans import Span, from_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TEXT = "text"
# Up to so many words, and more than so many, are parts of the rows.
SHORT, LONG = 15, 40
MAX_LABELS = 15
NOTHING = "nothing"

Spans = frozenset[Span]


@dataclass(frozen=True)
class Tagging(Task):
    """Named entities. `entities` is how many were told, a number whose drift can be seen."""

    metrics: ClassVar[Mapping[str, Metric]] = {
        "f1": Metric("harmonic mean of precision and recall"),
        "precision": Metric("share of the entities told that are right"),
        "recall": Metric("share of the entities that are found"),
        "rows_right": Metric("share of the texts without a mistake"),
    }
    primary: ClassVar[str] = "f1"
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction", "entities")
    watched_columns: ClassVar[tuple[str, ...]] = ("entities",)
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "bootstrap"
    checks: ClassVar[tuple[str, ...]] = ("entities_per_label",)

    min_entities: int = 5

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """No entity at all, or labels with too few to be learned."""
        counts = Counter(span.label for spans in _spans(rows[TARGET]) for span in spans)
        if not counts:
            return [Finding("entities_per_label", f"no entity in {len(rows)} texts")]
        few = sorted(name for name, count in counts.items() if count < self.min_entities)
        if not few:
            return []
        told = ", ".join(f"{name:.40} ({counts[name]})" for name in few[:5])
        return [Finding("entities_per_label", f"{told}: at least {self.min_entities} are needed")]

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Texts by their rarest label are dealt out evenly; groups stay whole."""
        import pandas as pd

        spans = _spans(rows[TARGET])
        counts = Counter(span.label for each in spans for span in each)
        rarest = [
            min((span.label for span in each), key=lambda name: (counts[name], name), default="")
            for each in spans
        ]
        strata = pd.Series(rarest, index=rows.index, dtype="str")
        return stratified_folds(strata, rows[GROUP], folds=folds, repeats=repeats, seed=seed)

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """Over all entities of the rows, and `f1:LABEL` for each label that was there or told."""
        pairs = _pairs(rows, predictions)
        right, told, true = (_by_label(spans) for spans in _sides(pairs))
        hits, selected, wanted = right.total(), told.total(), true.total()
        measured = {"rows_right": float(np.mean([a == b for a, b in pairs]))} if pairs else {}
        measured |= _shares(
            f1=(2 * hits, selected + wanted), precision=(hits, selected), recall=(hits, wanted)
        )
        for name in sorted(told | true):
            measured[f"f1:{name}"] = 2 * right[name] / (told[name] + true[name])
        return measured

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> NDArray[np.float64]:
        """Entities that were missed, and ones told that are not."""
        return np.array([len(a ^ b) for a, b in _pairs(rows, predictions)], np.float64)

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, NDArray[np.bool_]]:
        """Texts by length, and those that have an entity of a label."""
        words = rows[TEXT].str.split().str.len().to_numpy()
        found = {
            f"up to {SHORT} words": words <= SHORT,
            f"over {SHORT} to {LONG} words": (words > SHORT) & (words <= LONG),
            f"over {LONG} words": words > LONG,
        }
        labels = [{span.label for span in spans} for spans in _spans(rows[TARGET])]
        counts = Counter(name for names in labels for name in names)
        for name, _ in sorted(counts.most_common(MAX_LABELS)):
            found[f"with {name}"] = np.array([name in names for names in labels], np.bool_)
        return {name: np.asarray(part, np.bool_) for name, part in found.items() if part.any()}

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """How right each label is, and which is taken for which where the ends are right."""
        pairs = _pairs(rows, predictions)
        counts, names = confusion(pairs)
        measured = self.measure(rows, predictions)
        by_label = {
            name.removeprefix("f1:"): value
            for name, value in measured.items()
            if name.startswith("f1:")
        }
        if not by_label:
            return {}
        entities = _by_label([span for true, _ in pairs for span in true])
        return {
            "f1_by_label": _bars(by_label, entities),
            "labels": plots.confusion(counts, names),
        }


def confusion(pairs: list[tuple[Spans, Spans]]) -> tuple[NDArray[np.int_], list[str]]:
    """How often each label (down) was told as each (across), and the labels; `NOTHING` last.

    Spans are matched by their ends; what has no match was taken for nothing, or nothing for it.
    """
    told: Counter[tuple[str, str]] = Counter()
    for true, predicted in pairs:
        ours = {span[:2]: span.label for span in true}
        theirs = {span[:2]: span.label for span in predicted}
        told.update((ours.get(ends, NOTHING), theirs.get(ends, NOTHING)) for ends in ours | theirs)
    names = [*sorted({name for pair in told for name in pair} - {NOTHING}), NOTHING]
    counts = np.zeros((len(names), len(names)), np.int_)
    for (true_name, told_name), count in told.items():
        counts[names.index(true_name), names.index(told_name)] = count
    return counts, names


def _bars(by_label: dict[str, float], entities: Counter[str]) -> Draw:
    names = sorted(by_label, key=lambda name: (-entities[name], name))[:MAX_LABELS][::-1]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        places = range(len(names))
        axes.barh(places, [by_label[name] for name in names], color="#1f77b4")
        axes.set_yticks(places, [f"{plots.label(name)} ({entities[name]})" for name in names])
        axes.set(xlabel="F1", xlim=(0, 1), title="F1 by label (entities)")

    return draw


def _spans(written: "pd.Series[Any]") -> list[Spans]:
    # Labels that come later may be lists, as their files hold them.
    return [from_text(each if isinstance(each, str) else json.dumps(each)) for each in written]


def _pairs(rows: "pd.DataFrame", predictions: "pd.DataFrame") -> list[tuple[Spans, Spans]]:
    """True and told entities, by position."""
    return list(zip(_spans(rows[TARGET]), _spans(predictions["prediction"]), strict=True))


def _sides(pairs: list[tuple[Spans, Spans]]) -> Iterator[list[Span]]:
    """All entities that are right, all told ones, all true ones."""
    yield [span for true, told in pairs for span in true & told]
    yield [span for _, told in pairs for span in told]
    yield [span for true, _ in pairs for span in true]


def _by_label(spans: list[Span]) -> Counter[str]:
    return Counter(span.label for span in spans)


def _shares(**parts: tuple[int, int]) -> dict[str, float]:
    """Part over whole by name, where there is a whole."""
    return {name: part / whole for name, (part, whole) in parts.items() if whole}
