"""The six models on real data: what training takes, and how right they are beside the usual means.

    python benchmarks/models.py DIR [--models NAME,NAME] [--sets NAME,NAME] [--quick]

`DIR` holds a folder for each data set of `CASES`. Each case is a process of its own with a fresh
state folder. First the chain of the platform, stage by stage as its assets run it, from the files
to the version that serves; the clock stands still for nothing but starting Python. Then quality, in
two ways: repeated cross-validation on the rows that are not held back, as the gates take it; and
the held-back rows (a fifth by a hash, or the last four weeks), answered by the model that was
fitted on the others. What a user would take instead (`rivals.py`) is fitted and measured on the
same folds and rows.

Adds to `benchmarks/results/models.json` and writes `models.md`. `--quick` is for trying this out:
small parts of the data, two folds, and nothing is written.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import children
import numpy as np
from models_page import CASES, OURS, Case, page
from run import HERE, machine

from rag_platform.training.rows import DataFile, Reader, Rows
from rag_platform.training.spec import SEED, ModelSpec
from rag_platform.training.task import GROUP, TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.platform import Platform
    from rag_platform.training.pipeline import Training
    from rag_platform.training.trainer import Model

RESAMPLES = 500
LIMIT_S = 2700.0
# Of the least rows that a model needs, classes, and the share of time series.
QUICK_ROWS, QUICK_CLASSES, QUICK_SERIES = 2, 8, 0.3
PACKAGES = (
    *("mlflow", "numpy", "onnxruntime", "pandas", "scikit-learn", "scipy", "skops", "spacy"),
    *("wordllama", "xgboost-cpu"),
)

Figures = dict[str, Any]


# What a child process does


@dataclass(frozen=True)
class Part(Reader):
    """A small part of what a reader gives: few classes, or few groups."""

    spec: ModelSpec

    def read(self, files: "list[DataFile]", *, labelled: bool) -> Rows:  # type: ignore[override]
        from rag_platform.training.splits import points

        rows = self.spec.reader.read(files, labelled=labelled)
        frame = rows.frame
        if self.spec.task.periods(frame) is None:
            classes = sorted(frame[TARGET].unique())
            if "macro_f1" in self.spec.gates:
                frame = frame[frame[TARGET].isin(classes[:QUICK_CLASSES])]
            elif "series" in frame:
                frame = frame[points(frame["series"], "quick") < QUICK_SERIES]
            else:
                share = QUICK_ROWS * self.spec.min_rows / len(frame)
                frame = frame[points(frame[GROUP], "quick") < share]
        return Rows(frame, rows.bad, rows.records)


def obey(order: Figures) -> None:
    """Run a case; what was found so far is in the file `told` at any time."""
    from rag_platform.platform import Platform
    from rag_platform.settings import Settings
    from rag_platform.settings_training import ModelSettings

    case, data = Case(**order["case"]), Path(order["data"])
    # The files are as old as they are.
    model = ModelSettings(data=data.as_uri(), trainer=case.trainer, max_age_days=36_500)
    settings = Settings(home=Path(order["home"]), models={case.model: model})
    platform = Platform(settings)
    training = platform.models.training(case.model)
    if order["quick"]:
        spec = training.spec
        training.spec = replace(spec, reader=Part(spec), folds=2, repeats=1)
    told: Figures = {}

    def tell(**found: Any) -> None:
        told.update(found)
        Path(order["told"]).write_text(json.dumps(told), encoding="utf-8")

    tell(chain=chain(training))
    measure(platform, training, told["chain"]["week"], data, tell)


def chain(training: "Training") -> Figures:
    """The stages that there are up to the first that does not let the model pass."""
    from rag_platform.training.calendar import current_week
    from rag_platform.training.stages import DATA, NotTrained, Origin

    week, origin = current_week(), Origin("benchmark")
    steps: dict[str, Callable[[], Any]] = {
        DATA: lambda: training.run_data(week),
        "drift_report": lambda: training.run_drift(week),
        "candidate_model": lambda: training.run_candidate(week, origin),
        "evaluation": lambda: training.run_evaluation(week),
        "registered_model": lambda: training.run_registration(week, origin),
        "deployment": lambda: training.run_deployment(week, origin),
    }
    stages, outcome = {}, ""
    for name, step in steps.items():
        began, spent = time.monotonic(), _cpu_seconds()
        try:
            found = step()
        except NotTrained:
            outcome = "did not pass"
            break
        stages[name] = {
            "seconds": time.monotonic() - began,
            "cpu_seconds": _cpu_seconds() - spent,
        }
        if name == DATA and not all(check.passed for check in found[1]):
            failed = [f"{check.name}: {check.told}" for check in found[1] if not check.passed]
            outcome = f"not trained on: {'; '.join(failed)}"
            break
        if name == "deployment":
            outcome = found["arm"]
    return {"stages": stages, "outcome": outcome, "peak_mb": _peak_mb(), "week": week}


def _cpu_seconds() -> float:
    """Of this process with all its threads, and of the processes that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _peak_mb() -> float:
    """Of this process, and on top of it of the largest one that it has waited for."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    own = int(status.split("VmHWM:")[1].split()[0])
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def measure(
    platform: "Platform", training: "Training", week: str, data: Path, tell: Callable[..., None]
) -> None:
    """Quality of the model and of each rival."""
    from rivals import VALUE, rivals, values_of_series

    from rag_platform.training.data import data_files
    from rag_platform.training.evaluation import Evaluation, answers, evaluate
    from rag_platform.training.packaging import unpack
    from rag_platform.training.stages import CANDIDATE, EVALUATION, NotTrained
    from rag_platform.training.statistics import paired

    spec, services = training.spec, platform.models.services
    try:
        rows = training.rows(week)
    except NotTrained:  # its checks did not pass: measured all the same
        with data_files(training.url, platform.models.s3) as files:
            rows = spec.reader.read(files, labelled=True).frame
    rows = rows.sort_values(UNIT, kind="stable", ignore_index=True)
    if spec.name == "anomaly_detector" and not any(data.glob("*.parquet")):
        rows = rows.assign(**{VALUE: rows[UNIT].map(values_of_series(data))})
    held = np.asarray(spec.task.holdout(rows), bool)
    others, test = rows[~held], rows[held]

    def evaluated(trainer: Any, twin: "Model") -> Any:
        return evaluate(
            spec,
            trainer,
            rows,
            gates={},
            twin=twin,
            champion=None,
            champion_version=None,
            seed=SEED,
            services=services,
        )

    try:
        report = Evaluation.from_json(_without_passed(training.facts(EVALUATION, week)["report"]))
        folder = platform.models.registry.run_folder(training.facts(CANDIDATE, week)["run_id"])
        twin = unpack(folder, spec, services).twin
    except NotTrained:
        twin = training.trainer.fit(others, seed=SEED, services=services)
        report = evaluated(training.trainer, twin)
    quality = {OURS: _quality(spec, report.metrics, test, twin)}
    about = {"rows": len(rows), "units": report.units, "held_back": int(held.sum())}
    gates = [asdict(verdict) for verdict in report.verdicts]
    tell(**about, gates=gates, timings=report.timings, quality=quality)

    if training.settings.trainer != "default":
        return  # the rivals are those of the default trainer's case
    for name, rival in rivals(spec).items():
        began = time.monotonic()
        fitted = rival.fit(others, seed=SEED, services=services)
        by_folds = evaluated(rival, fitted).metrics if rival.by_folds else {}
        against = None
        if len(test):
            both = (answers(spec.task, model, test) for model in (fitted, twin))
            against = asdict(paired(spec.task, test, *both, seed=SEED))
        quality[name] = _quality(spec, by_folds, test, fitted)
        quality[name] |= {"against": against, "seconds": time.monotonic() - began}
        tell(quality=quality)


def _without_passed(report: Figures) -> Figures:
    return {name: value for name, value in report.items() if name != "passed"}


def _quality(
    spec: ModelSpec, by_folds: Mapping[str, Any], test: "pd.DataFrame", model: "Model"
) -> Figures:
    return {
        "cross_validation": {name: asdict(one) for name, one in by_folds.items()},
        "held_back": dict(bootstrap(spec, test, model)),
    }


def bootstrap(
    spec: ModelSpec, rows: "pd.DataFrame", model: "Model"
) -> Iterator[tuple[str, Figures]]:
    """Metrics on rows that the model has not seen, with percentile intervals at 95 %.

    Clusters are drawn (categories of spending, else groups). One that is drawn twice counts as two:
    each draw gets a name of its own, since some metrics are means over what has one name.
    """
    from rag_platform.training.evaluation import answers
    from rag_platform.training.statistics import finite

    task, random = spec.task, np.random.default_rng(SEED)
    told = answers(task, model, rows)
    measured = finite(task.measure(rows, told))
    column = "category" if task.periods(rows) is not None else GROUP
    codes = np.unique(rows[column].to_numpy(str), return_inverse=True)[1]
    members = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
    drawn: dict[str, list[float]] = {name: [] for name in measured if ":" not in name}
    for _ in range(RESAMPLES):
        draw = random.integers(0, len(members), len(members))
        taken = np.concatenate([members[at] for at in draw])
        names = np.repeat(np.arange(len(draw)), [len(members[at]) for at in draw])
        part = rows.iloc[taken].reset_index(drop=True).assign(**{column: names})
        found = finite(task.measure(part, told.iloc[taken].reset_index(drop=True)))
        for name, values in drawn.items():
            values += [found[name]] if name in found else []
    for name, value in measured.items():
        if len(values := drawn.get(name, [])) > RESAMPLES / 2:
            low, high = np.quantile(values, [0.025, 0.975])
            yield name, {"value": value, "low": float(low), "high": float(high)}
        else:
            yield name, {"value": value}


# What the parent does


def play(case: Case, folder: Path, *, quick: bool) -> Figures:
    """A case in a process of its own."""
    began = {"taken": datetime.now(UTC).isoformat(timespec="seconds"), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="models-") as scratch:
        told = Path(scratch) / "told.json"
        order = {"case": asdict(case), "data": str((folder / case.data).resolve()), "quick": quick}
        order |= {"home": str(Path(scratch) / "home"), "told": str(told)}
        (Path(scratch) / "home").mkdir()
        command = [sys.executable, str(HERE / "models.py"), "--child", json.dumps(order)]
        failed = ""
        try:
            done = children.run(command, limit_s=LIMIT_S)
            if done.returncode != 0:
                failed = (done.stderr.strip().splitlines() or ["no word"])[-1][:300]
                print(done.stderr[-3000:], file=sys.stderr)
        except children.TimedOut as error:
            failed = str(error)
        text = told.read_text(encoding="utf-8") if told.exists() else "{}"
    found: Figures = json.loads(text.replace(str(folder.resolve()), "DIR"))
    return asdict(case) | began | found | ({"failed": failed} if failed else {})


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder of the data sets")
    parser.add_argument("--models", default=",".join(dict.fromkeys(c.model for c in CASES)))
    parser.add_argument("--sets", default=",".join(dict.fromkeys(c.data for c in CASES)))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("OPENAI_API_KEY", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    if options.child:
        obey(json.loads(options.child))
        return
    if options.data is None:
        parser.error("DIR is needed")
    file = HERE / "results" / "models.json"
    known = json.loads(file.read_text(encoding="utf-8"))["measured"] if file.exists() else {}
    known = {} if options.quick else known
    for case in CASES:
        if case.model not in options.models.split(",") or case.data not in options.sets.split(","):
            continue
        known[case.name] = play(case, options.data, quick=options.quick)
        print(json.dumps(known[case.name])[:400], file=sys.stderr, flush=True)
        record = {
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "versions": _versions(),
            "measured": known,
        }
        if not options.quick:
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            file.with_suffix(".md").write_text(page(record), encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    main()
