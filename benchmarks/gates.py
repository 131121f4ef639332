"""How often a gate of a model flips: each is judged twenty times, with seeds of its own.

    python benchmarks/gates.py [--data DIR] [--models NAME,NAME] [--seeds 20] [--left-out 0.1]

Every seed deals the rows to the folds anew and seeds every model anew; with `--left-out` it also
leaves out a share of the groups of rows, as if another week's data had come, or of rows in the
order of time the last weeks, one more with each seed. The champion of each seed is the same trainer
fitted on nine tenths of the groups, or up to the week before, so that neither is the better one by
right. `one fold` is the verdict of the first fold alone, as a single split would give it.

Without `DIR` the data is the samples that come with the platform; `DIR` holds the data sets of
`DATA`. No key of a service is used. Adds to `benchmarks/results/gates.json` and writes `gates.md`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from run import HERE, heading, listed_versions, machine

from rag_platform.platform import Platform
from rag_platform.settings import Settings
from rag_platform.training.catalogue import catalogue
from rag_platform.training.data import data_files
from rag_platform.training.evaluation import Evaluation, evaluate
from rag_platform.training.gates import NOT_WORSE
from rag_platform.training.spec import ModelSpec
from rag_platform.training.splits import points
from rag_platform.training.task import GROUP
from rag_platform.training.trainer import Services

if TYPE_CHECKING:
    import pandas as pd

DATA = {
    "intent_classifier": ("banking77", "clinc_oos"),
    "financial_ner": ("ner_fire", "ner_sec_filings", "ner_finentity"),
    "spending_predictor": ("spending_completejourney",),
    "anomaly_detector": ("anomaly_creditcard_ulb", "anomaly_nab"),
    "credit_risk_scorer": ("credit_german", "credit_taiwan"),
    "financial_advisor": ("finance_tatqa",),
}
CHAMPION_WITHOUT = 0.1
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "spacy", "xgboost-cpu")

Figures = dict[str, Any]


def of_seed(spec: ModelSpec, rows: "pd.DataFrame", seed: int, left_out: float) -> "pd.DataFrame":
    """The rows that there are in one seed's week."""
    if left_out and (periods := spec.task.periods(rows)) is not None:
        return without_last(rows, periods, seed)
    return rows[points(rows[GROUP], f"left out {seed}") >= left_out]


def without_last(rows: "pd.DataFrame", periods: Any, count: int) -> "pd.DataFrame":
    """The rows but for those of the last periods."""
    return rows[periods <= np.unique(periods)[-1 - count]]


def of_champion(spec: ModelSpec, known: "pd.DataFrame", seed: int) -> "pd.DataFrame":
    """What the champion was fitted on, of the rows that are not held back."""
    if (periods := spec.task.periods(known)) is not None:
        return without_last(known, periods, 1)
    return known[points(known[GROUP], f"champion {seed}") >= CHAMPION_WITHOUT]


def judged(
    spec: ModelSpec, rows: "pd.DataFrame", seed: int, left_out: float, services: Services
) -> Evaluation:
    """The evaluation of one seed."""
    trainer = spec.trainers["default"]
    rows = of_seed(spec, rows, seed, left_out)
    known = rows[~spec.task.holdout(rows)]
    return evaluate(
        spec,
        trainer,
        rows,
        gates={},
        twin=trainer.fit(known, seed=seed, services=services),
        champion=trainer.fit(of_champion(spec, known, seed), seed=seed + 1, services=services),
        champion_version="1",
        seed=1000 * seed,
        services=services,
    )


def gates_of(spec: ModelSpec, found: list[Evaluation]) -> Iterator[Figures]:
    """Each gate over all seeds."""
    for number, gate in enumerate(found[0].verdicts):
        verdicts = [one.verdicts[number] for one in found]
        values = [verdict.value for verdict in verdicts if verdict.value is not None]
        yield {
            "gate": gate.gate,
            "bound": gate.bound,
            "passed": sum(verdict.passed for verdict in verdicts),
            "one_fold": one_fold(spec, gate.gate, gate.bound, found),
            "mean": statistics.fmean(values) if values else None,
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "verdicts": [asdict(verdict) for verdict in verdicts],
        }


def one_fold(
    spec: ModelSpec, gate: str, bound: float | None, found: list[Evaluation]
) -> int | None:
    """How often the first fold alone would have passed; None where the gate is of no metric."""
    metric = spec.task.metrics.get(gate.partition(":")[0])
    if metric is None or bound is None or any(len(one.folds.get(gate, ())) < 2 for one in found):
        return None
    sign = 1 if metric.higher_is_better else -1
    return sum(sign * one.folds[gate][0] >= sign * bound for one in found)


def measured(
    spec: ModelSpec, name: str, url: str, options: argparse.Namespace, platform: Platform
) -> Figures:
    """All seeds of one model on one data set."""
    with data_files(url, platform.models.s3) as files:
        rows = spec.reader.read(files, labelled=True).frame.reset_index(drop=True)
    started, found = time.monotonic(), []
    for seed in range(options.seeds):
        found.append(judged(spec, rows, seed, options.left_out, platform.models.services))
        told = "; ".join(verdict.told for verdict in found[-1].verdicts)
        print(f"{spec.name} on {name}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return {
        "model": spec.name,
        "data": name,
        "left_out": options.left_out,
        "rows": len(rows),
        "held_back": found[0].held_back,
        "seeds": options.seeds,
        "folds": spec.folds,
        "repeats": spec.repeats,
        "seconds": time.monotonic() - started,
        "gates": list(gates_of(spec, found)),
    }


def sets(spec: ModelSpec, data: Path | None) -> Iterator[tuple[str, str]]:
    """Names and URLs of the data of a model."""
    if data is None:
        if spec.sample_path is not None:
            yield "sample", spec.sample_path.as_uri()
        return
    for name in DATA[spec.name]:
        yield name, (data / name).resolve().as_uri()


def page(record: Figures) -> str:
    """The Markdown page of a record."""
    rows = sorted(record["measured"].values(), key=lambda one: (one["model"], one["data"]))
    parts = [
        heading(f"How often gates flip, on {record['taken'][:10]}"),
        "`passed` counts the seeds whose mean over all folds passed, `one fold` those whose first "
        "fold alone would have. A gate that never flips has all or none of them. `away` is how "
        "far the mean lies from the bound, in standard deviations between seeds. Of "
        f"`{NOT_WORSE}`, mean and sd are of the p-value; the champion is the same trainer with a "
        "tenth less of the rows, or of the week before; 1 in 20 fails by design. Other rows are "
        "those of another week: less a share of them, or in the order of time up to an earlier "
        "week.",
    ]
    for left_out in sorted({one["left_out"] for one in rows}):
        title = "The same rows" if not left_out else f"Other rows ({left_out:.0%} left out)"
        parts += [f"## {title}", _table([one for one in rows if one["left_out"] == left_out])]
    parts.append(listed_versions({"libraries": record["versions"]}))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(rows: list[Figures]) -> str:
    columns = "model | data | rows | gate | bound | passed | one fold | mean | sd | away"
    lines = [f"| {columns} |", "|---|---|" + "---:|---|" + "---:|" * 6]
    for one in rows:
        for gate in one["gates"]:
            cells = [
                one["model"],
                one["data"],
                f"{one['rows']:,}",
                gate["gate"],
                _shown(gate["bound"]),
                f"{gate['passed']} of {one['seeds']}",
                "" if gate["one_fold"] is None else f"{gate['one_fold']} of {one['seeds']}",
                _shown(gate["mean"]),
                _shown(gate["sd"]),
                _away(gate),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _away(gate: Figures) -> str:
    if gate["gate"] == NOT_WORSE or gate["mean"] is None or not gate["sd"]:
        return ""
    return f"{abs(gate['mean'] - gate['bound']) / gate['sd']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets; the samples without")
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(catalogue()))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--left-out", type=float, default=0.0)
    options = parser.parse_args()
    os.environ.pop("OPENAI_API_KEY", None)
    file = HERE / "results" / "gates.json"
    known = json.loads(file.read_text(encoding="utf-8"))["measured"] if file.exists() else {}
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(Settings(home=Path(home)))
        for model in options.models:
            spec = catalogue()[model]
            for name, url in sets(spec, options.data):
                key = f"{model}/{name}/{options.left_out}"
                known[key] = measured(spec, name, url, options, platform)
                record = {
                    "taken": datetime.now(UTC).isoformat(timespec="seconds"),
                    "machine": machine() | {"load": os.getloadavg()[0]},
                    "versions": {package: version(package) for package in PACKAGES},
                    "measured": known,
                }
                file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                file.with_suffix(".md").write_text(page(record), encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    main()
