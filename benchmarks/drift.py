"""How often drift is told where there is none, and how often it is found where it was planted.

    python benchmarks/drift.py [--seeds 100] [--sizes 50,200,1000,10000] [--reference 2000]
        [--texts FILE --field text --other FILE]

Rows have eight numbers of different shapes, four categories, one text, gaps, and two columns of
scores. Rows without drift are drawn as those of the reference were; planted drift changes one
thing. `--texts` takes the texts from a CSV or JSON lines file, and texts of another topic from
`--other`; without it, they are made of two vocabularies.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rag_platform.training.drift.compare import DriftReport, compare
from rag_platform.training.drift.profile import Profile
from rag_platform.training.rows import DataFile
from rag_platform.training.tables import read_table

Random = np.random.Generator
Plant = Callable[[pd.DataFrame, pd.DataFrame, Random], None]


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


MONEY = words(
    "card payment transfer balance account top up refund cash machine pin limit fee exchange "
    "statement charge declined pending money currency bank salary deposit withdraw blocked lost"
)
TRAVEL = words(
    "flight hotel suitcase beach weather train ticket museum passport luggage airport island "
    "restaurant bus tour sunny hiking mountain gate boarding seat window map guide"
)
PLAIN = words("how do i can you please my the a is why when what was for to not still with")


def sentences(words: Sequence[str], count: int, random: Random) -> list[str]:
    """Texts of 4 to 13 words, half of them from a vocabulary."""
    made = []
    for length in random.integers(4, 14, count):
        pools = [words if random.random() < 0.5 else PLAIN for _ in range(length)]
        made.append(" ".join(pool[int(random.integers(len(pool)))] for pool in pools))
    return made


class World:
    """Where rows come from."""

    def __init__(self, texts: Sequence[str], others: Sequence[str]) -> None:
        self._texts, self._others = texts, others

    def texts(self, count: int, random: Random) -> list[str]:
        """Texts as the reference has them."""
        if not self._texts:
            return sentences(MONEY, count, random)
        return [self._texts[at] for at in random.integers(len(self._texts), size=count)]

    def others(self, count: int, random: Random) -> list[str]:
        """Texts of another topic."""
        if not self._others:
            return sentences(TRAVEL, count, random)
        return [self._others[at] for at in random.integers(len(self._others), size=count)]

    def rows(self, count: int, random: Random) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows and scores without drift."""
        common = random.normal(size=count)
        cities = ["north", "south", "east", "west", "other"]
        rows = pd.DataFrame(
            {
                "unit": [f"u{at}" for at in range(count)],
                "normal": random.normal(10, 3, count),
                "alike": 0.7 * common + random.normal(size=count),
                "alike_too": 0.7 * common + random.normal(size=count),
                "amount": random.lognormal(3, 1, count),
                "often_zero": random.exponential(5, count) * (random.random(count) < 0.4),
                "count": random.poisson(2, count),
                "grade": random.integers(1, 5, count),
                "share": random.beta(0.5, 0.5, count),
                "city": random.choice(cities, count, p=[0.4, 0.3, 0.15, 0.1, 0.05]),
                "rare": random.choice(["a", "b", "c"], count, p=[0.97, 0.02, 0.01]),
                "many": [f"m{at}" for at in (random.pareto(1.5, count) * 5).astype(int)],
                "flag": random.random(count) < 0.2,
                "text": self.texts(count, random),
            }
        )
        rows.loc[random.random(count) < 0.05, "amount"] = np.nan
        score = random.beta(2, 5, count)
        told = np.where(score > 0.4, "yes", "no")
        return rows, pd.DataFrame({"prediction": told, "score": score})


def planted(world: World) -> dict[str, Plant]:
    """What is changed, by name; each changes rows or scores in place."""

    def mean(by: float) -> Plant:
        return lambda rows, _, __: rows.update(rows["normal"] + 3 * by)

    def spread(rows: pd.DataFrame, _: pd.DataFrame, __: Random) -> None:
        rows["normal"] = 10 + 2 * (rows["normal"] - 10)

    def category(rows: pd.DataFrame, _: pd.DataFrame, random: Random) -> None:
        rows.loc[random.random(len(rows)) < 0.4, "city"] = "west"

    def new_category(rows: pd.DataFrame, _: pd.DataFrame, random: Random) -> None:
        rows.loc[random.random(len(rows)) < 0.1, "city"] = "abroad"

    def gaps(share: float) -> Plant:
        def plant(rows: pd.DataFrame, _: pd.DataFrame, random: Random) -> None:
            rows.loc[random.random(len(rows)) < share, "normal"] = np.nan

        return plant

    def topic(share: float) -> Plant:
        def plant(rows: pd.DataFrame, _: pd.DataFrame, random: Random) -> None:
            chosen = random.random(len(rows)) < share
            rows.loc[chosen, "text"] = world.others(int(chosen.sum()), random)

        return plant

    def scores(_: pd.DataFrame, predictions: pd.DataFrame, __: Random) -> None:
        predictions["score"] = predictions["score"] ** 0.7

    return {
        "mean + 0.3 sd": mean(0.3),
        "mean + 0.5 sd": mean(0.5),
        "mean + 1 sd": mean(1.0),
        "spread x 2": spread,
        "category 10 % to 46 %": category,
        "new category 10 %": new_category,
        "missing 0 to 6 %": gaps(0.06),
        "missing 0 to 20 %": gaps(0.2),
        "topic 20 %": topic(0.2),
        "topic 50 %": topic(0.5),
        "scores up": scores,
    }


def alarms(report: DriftReport) -> int:
    """How many columns have drifted."""
    return sum(column.drifted for column in report.columns)


def measure(options: argparse.Namespace, world: World) -> list[dict[str, object]]:
    """One row for each size and plant: the share of reports with an alarm."""
    plants: dict[str, Plant | None] = {"nothing": None, **planted(world)}
    found: dict[tuple[str, int], list[bool]] = {}
    for seed in range(options.seeds):
        random = np.random.default_rng(seed)
        profile = Profile.of(*world.rows(options.reference, random))
        profile = Profile.from_json(json.loads(json.dumps(profile.to_json())))
        for size in options.sizes:
            for name, plant in plants.items():
                if plant is not None and seed >= options.planted_seeds:
                    continue
                rows, scores = world.rows(size, random)
                if plant is not None:
                    plant(rows, scores, random)
                report = compare(profile, rows, scores)
                found.setdefault((name, size), []).append(alarms(report) > 0)
    return [
        {"planted": name, "rows": size, "reports": len(told), "alarms": float(np.mean(told))}
        for (name, size), told in found.items()
    ]


def read(file: Path | None, field: str) -> list[str]:
    """The texts of a file."""
    if file is None:
        return []
    return list(map(str, read_table(DataFile(file.name, file, 0.0))[field]))


def main() -> None:
    """Measure and print a table; exit with 1 where more than 5 % of reports are false alarms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--planted-seeds", type=int, default=20)
    parser.add_argument("--sizes", default="50,200,1000,10000")
    parser.add_argument("--reference", type=int, default=2_000)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--field", default="text")
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.sizes.split(",")]
    world = World(read(options.texts, options.field), read(options.other, options.field))
    begun = time.monotonic()
    table = pd.DataFrame(measure(options, world))
    shown = table.pivot(index="planted", columns="rows", values="alarms")
    print(shown.loc[table["planted"].drop_duplicates()].map("{:.1%}".format).to_string())
    print(f"{time.monotonic() - begun:.0f} s; shares of reports with an alarm")
    sys.exit(bool((table.loc[table["planted"] == "nothing", "alarms"] > 0.05).any()))


if __name__ == "__main__":
    main()
