"""A model of one number, `x`, for tests of everything around models.

It answers "yes" where x is at least a threshold: halfway between the means of the two classes.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import GROUP, TARGET, UNIT, Metric, Task
from rag_platform.training.trainer import Model, Services, Trainer

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.llm.gateway import Gateway

NAME = "tiny_model"


class TinyTask(Task):
    """Is it a yes?"""

    metrics: ClassVar = {"accuracy": Metric("Share of right answers.")}
    primary: ClassVar = "accuracy"
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "mcnemar"

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]]:
        """Every n-th row, of rows in an order by chance."""
        for repeat in range(repeats):
            order = np.random.default_rng(seed + repeat).permutation(len(rows))
            for fold in range(folds):
                yield np.delete(order, slice(fold, None, folds)), order[fold::folds]

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The share of right answers."""
        return {"accuracy": 1.0 - float(self.losses(rows, predictions).mean())}

    def losses(
        self, rows: "pd.DataFrame", predictions: "pd.DataFrame"
    ) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """0 for right, 1 for wrong."""
        wrong = rows[TARGET].to_numpy() != predictions["prediction"].to_numpy()
        return np.asarray(wrong, np.float64)


class TinyReader(Reader):
    """CSV files with unit, x and target."""

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """The rows; one whose x is no number is bad."""
        import pandas as pd

        found: dict[int, dict[str, Any]] = {}
        bad: list[BadRow] = []
        number = 0
        for file in files:
            with file.path.open(encoding="utf-8", newline="") as lines:
                reader = csv.DictReader(lines)
                if "x" not in (reader.fieldnames or ()):
                    raise UnusableData(f"{file.name}: no column x")
                for at, record in enumerate(reader, start=1):
                    number += 1
                    try:
                        row = {UNIT: record[UNIT], GROUP: record[UNIT], "x": float(record["x"])}
                    except ValueError:
                        bad.append(BadRow(file.name, at, "no_number", "x is no number"))
                        continue
                    found[number] = row | ({TARGET: record[TARGET]} if labelled else {})
        return Rows(pd.DataFrame.from_dict(found, orient="index"), bad, number)


@dataclass(frozen=True)
class TinyModel(Model):
    """A threshold."""

    threshold: float

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Yes or no, and how far x is above the threshold, as a share."""
        import pandas as pd

        if "x" not in rows:
            raise UnusableData("no column x")
        x = rows["x"].to_numpy(dtype=np.float64)
        answers = np.where(x >= self.threshold, "yes", "no")
        scores = 1.0 / (1.0 + np.exp(self.threshold - x))
        return pd.DataFrame({"prediction": answers, "score": scores}, index=rows.index)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / "tiny.json").write_text(json.dumps({"threshold": self.threshold}), "utf-8")

    def parameters(self) -> dict[str, str | int | float | bool]:
        """The threshold."""
        return {"threshold": self.threshold}


@dataclass(frozen=True)
class TinyTrainer(Trainer):
    """Halfway between the classes, and `shift` to the right of it: worse, the larger it is."""

    shift: float = 0.0
    requirements: ClassVar[tuple[str, ...]] = ("numpy",)

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> TinyModel:
        """The threshold between the means of the classes."""
        means = rows.groupby(TARGET)["x"].mean()
        return TinyModel(float(means.mean()) + self.shift)

    def load(self, folder: Path, *, services: Services) -> TinyModel:
        """What was saved."""
        try:
            found = json.loads((folder / "tiny.json").read_text("utf-8"))
            return TinyModel(float(found["threshold"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnusableData(f"{folder.name}: holds no tiny model") from error

    def fingerprint(self, services: Services | None = None) -> str:
        """With the shift."""
        return f"{super().fingerprint(services)}/{self.shift}"


@dataclass(frozen=True)
class NoServices:
    """Whoever asks for a gateway is wrong here."""

    asked: list[str] = field(default_factory=list)

    def gateway(self, purpose: str) -> "Gateway":
        """There is none."""
        self.asked.append(purpose)
        raise AssertionError("a tiny model asks nobody")


SERVICES = Services(gateway=NoServices().gateway)

SPEC = ModelSpec(
    name=NAME,
    description="Tells whether a number is large.",
    task=TinyTask(),
    reader=TinyReader(),
    trainers={"default": TinyTrainer(), "shifted": TinyTrainer(shift=0.5)},
    gates={"accuracy": 0.8},
    schedule="0 2 * * 0",
    sample="tiny_model",
    min_rows=20,
)


def tiny_rows(count: int = 200, *, seed: int = 0, spread: float = 0.5) -> "pd.DataFrame":
    """Labelled rows: x around 0 for "no" and around 1 for "yes"; units `u0`, `u1`, ..."""
    import pandas as pd

    random = np.random.default_rng(seed)
    is_yes = random.random(count) < 0.5
    units = [f"u{number}" for number in range(count)]
    return pd.DataFrame(
        {
            UNIT: units,
            GROUP: units,
            "x": is_yes + random.normal(0.0, spread, count),
            TARGET: np.where(is_yes, "yes", "no"),
        }
    )
