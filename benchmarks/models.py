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
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import children
import numpy as np
from run import HERE, heading, listed_versions, machine

from rag_platform.training.rows import DataFile, Reader, Rows
from rag_platform.training.spec import SEED, ModelSpec
from rag_platform.training.task import GROUP, TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.platform import Platform
    from rag_platform.training.pipeline import Training
    from rag_platform.training.trainer import Model


@dataclass(frozen=True)
class Case:
    """A model on a data set. Only default trainers count for the time of all six."""

    model: str
    data: str
    trainer: str = "default"

    @property
    def name(self) -> str:
        return f"{self.model}/{self.data}/{self.trainer}"


CASES = (
    Case("credit_risk_scorer", "credit_german"),
    Case("credit_risk_scorer", "credit_german", "histgb"),
    Case("credit_risk_scorer", "credit_taiwan"),
    Case("credit_risk_scorer", "credit_taiwan", "histgb"),
    Case("anomaly_detector", "anomaly_creditcard_ulb"),
    Case("anomaly_detector", "anomaly_nab"),
    Case("financial_advisor", "finance_tatqa"),
    Case("financial_advisor", "finance_pdf_qa"),
    Case("spending_predictor", "spending_completejourney"),
    Case("spending_predictor", "spending_delaware_pcard"),
    Case("spending_predictor", "spending_card_affinity"),
    Case("intent_classifier", "banking77"),
    Case("intent_classifier", "clinc_oos"),
    Case("intent_classifier", "banking77", "minilm"),
    Case("financial_ner", "ner_fire"),
    Case("financial_ner", "ner_finentity"),
    Case("financial_ner", "ner_sec_filings"),
)
# What is hoped for of held-back rows.
AIMS = (
    (CASES[11], "accuracy", 0.92),
    (CASES[13], "accuracy", 0.935),
    (CASES[0], "auc", 0.79),
    (CASES[2], "auc", 0.78),
    (CASES[4], "roc_auc", 0.94),
    *((CASES[number], "improvement_over_4_week_mean", 0.10) for number in (8, 9, 10)),
)
ALL_SIX_S, ALL_SIX_MB, CORES = 1200, 4096, 2
# The first tells models apart and is shown with intervals.
SHOWN = {
    "credit_risk_scorer": ("auc", "accuracy", "brier"),
    "anomaly_detector": ("roc_auc", "average_precision", "alert_rate"),
    "financial_advisor": ("f1", "exact_match", "grounded", "refusal_recall", "answered"),
    "spending_predictor": ("mase", "mae", "improvement_over_4_week_mean", "coverage"),
    "intent_classifier": ("accuracy", "macro_f1", "out_of_scope_recall"),
    "financial_ner": ("f1", "precision", "recall"),
}
OURS = "rag_platform"
PACKAGES = (
    *("mlflow", "numpy", "onnxruntime", "pandas", "scikit-learn", "scipy", "skops", "spacy"),
    *("wordllama", "xgboost-cpu"),
)
RESAMPLES = 500
LIMIT_S = 2700.0
QUICK_ROWS, QUICK_CLASSES = 1500, 8

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
            frame = frame[points(frame[GROUP], "quick") < QUICK_ROWS / len(frame)]
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
    measure(platform, training, data, tell)


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
        except NotTrained as error:
            outcome = str(error)
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
    platform: "Platform", training: "Training", data: Path, tell: Callable[..., None]
) -> None:
    """Quality of the model and of each rival."""
    from rivals import VALUE, rivals, values_of_series

    from rag_platform.training.data import data_files
    from rag_platform.training.evaluation import Evaluation, evaluate
    from rag_platform.training.packaging import unpack
    from rag_platform.training.stages import CANDIDATE, EVALUATION, NotTrained

    spec, services = training.spec, platform.models.services
    week = json.loads(json.dumps(_week()))
    try:
        rows = training.rows(week)
    except NotTrained:  # its checks did not pass: measured all the same
        with data_files(training.url, platform.models.s3) as files:
            rows = spec.reader.read(files, labelled=True).frame
    rows = rows.sort_values(UNIT, kind="stable", ignore_index=True)
    held = np.asarray(spec.task.holdout(rows), bool)
    others, test = rows[~held], rows[held]
    try:
        report = Evaluation.from_json(_without_passed(training.facts(EVALUATION, week)["report"]))
        folder = platform.models.registry.run_folder(training.facts(CANDIDATE, week)["run_id"])
        twin = unpack(folder, spec, services).twin
    except NotTrained:
        twin = training.trainer.fit(others, seed=SEED, services=services)
        report = evaluate(
            spec,
            training.trainer,
            rows,
            gates={},
            twin=twin,
            champion=None,
            champion_version=None,
            seed=SEED,
            services=services,
        )
    quality = {OURS: _quality(spec, report, test, twin)}
    about = {"rows": len(rows), "units": report.units, "held_back": int(held.sum())}
    gates = [asdict(verdict) for verdict in report.verdicts]
    tell(**about, gates=gates, timings=report.timings, quality=quality)

    if spec.name == "anomaly_detector" and not any(data.glob("*.parquet")):
        rows = rows.assign(**{VALUE: rows[UNIT].map(values_of_series(data))})
        others, test = rows[~held], rows[held]
    for name, rival in rivals(spec).items():
        began = time.monotonic()
        fitted = rival.fit(others, seed=SEED, services=services)
        found = evaluate(
            spec,
            rival,
            rows,
            gates={},
            twin=fitted,
            champion=twin,
            champion_version=None,
            seed=SEED,
            services=services,
        )
        quality[name] = _quality(spec, found, test, fitted)
        quality[name] |= {
            "against": asdict(found.comparison) if found.comparison else None,
            "seconds": time.monotonic() - began,
        }
        tell(quality=quality)


def _week() -> str:
    from rag_platform.training.calendar import current_week

    return current_week()


def _without_passed(report: Figures) -> Figures:
    return {name: value for name, value in report.items() if name != "passed"}


def _quality(spec: ModelSpec, report: Any, test: "pd.DataFrame", model: "Model") -> Figures:
    return {
        "cross_validation": {name: asdict(one) for name, one in report.metrics.items()},
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
        found = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    found = json.loads(json.dumps(found).replace(str(folder.resolve()), "DIR"))
    return asdict(case) | began | found | ({"failed": failed} if failed else {})


# The page


def page(record: Figures) -> str:
    """The Markdown page of a record."""
    found = record["measured"]
    rows = [found[case.name] for case in CASES if case.name in found]
    threads = record["threads"] or "not set"
    parts = [
        heading(f"The six models, on {record['taken'][:10]}"),
        "`python benchmarks/models.py DIR`. Load is the system's (1 minute) when a case began: "
        f"above {CORES}, seconds are longer than they would be. OMP_NUM_THREADS: {threads}. No "
        "model service was used: financial_advisor answers by rules.",
        _aims(found),
        _chains(rows),
        "## Quality\n\nIntervals at 95 %: over folds by the corrected resampled t-test, of "
        "held-back rows by a bootstrap of groups (of categories, in spending). The other metrics "
        "are cross-validation / held back. `Against` is the paired test of losses on the held-back "
        "rows: how the platform's model does there, and the one-sided p.",
        *(_quality_table(name, rows) for name in dict.fromkeys(row["model"] for row in rows)),
        listed_versions({"all": record["versions"]}),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _aims(found: dict[str, Figures]) -> str:
    lines = [
        "## Aims",
        "",
        "| model | data | trainer | metric | aim | held back | cross-validation | reached |",
        "|---|---|---|---|--:|---|---|---|",
    ]
    for case, metric, aim in AIMS:
        cells = [case.model, case.data, case.trainer, metric, f"{aim:g}"]
        quality = found.get(case.name, {}).get("quality", {}).get(OURS)
        if quality is None:
            lines.append(f"| {' | '.join(cells)} | not measured |  |  |")
            continue
        kinds = [quality[kind].get(metric) for kind in ("held_back", "cross_validation")]
        reached = [one is not None and one["value"] >= aim for one in kinds]
        words = {(1, 1): "yes", (0, 0): "no", (1, 0): "held back only", (0, 1): "over folds only"}
        lines.append(
            f"| {' | '.join([*cells, *map(_interval, kinds)])} | {words[(*map(int, reached),)]} |"
        )
    for case in (CASES[8], CASES[9], CASES[10]):
        if quality := found.get(case.name, {}).get("quality"):
            lines.append(_under_the_mean(case, quality))
    return "\n".join([*lines, "", _all_six(found)])


def _under_the_mean(case: Case, quality: Figures) -> str:
    """By how much the mean absolute error is below that of the mean of four weeks."""
    under = [
        1 - quality[OURS][kind]["mae"]["value"] / quality["mean of 4 weeks"][kind]["mae"]["value"]
        for kind in ("held_back", "cross_validation")
        if "mean of 4 weeks" in quality
    ]
    if not under:
        return ""
    reached = {2: "yes", 0: "no"}.get(
        sum(one >= 0.1 for one in under), "held back only" if under[0] >= 0.1 else "over folds only"
    )
    shown = " | ".join(f"{one:.3f}" for one in under)
    name = "mae under that of 4 weeks"
    return f"| {case.model} | {case.data} | {case.trainer} | {name} | 0.1 | {shown} | {reached} |"


def _all_six(found: dict[str, Figures]) -> str:
    ours = [
        found[c.name] for c in CASES if c.trainer == "default" and "chain" in found.get(c.name, {})
    ]
    seconds, cpu = (_sum(row["chain"] for row in ours) for _sum in (_seconds, _cpu))
    peak = max((row["chain"]["peak_mb"] for row in ours), default=0.0)
    sets = sum(case.trainer == "default" for case in CASES)
    reached = len(ours) == sets and seconds <= ALL_SIX_S and peak <= ALL_SIX_MB
    return (
        f"All six models with their default trainers, on {len(ours)} of {sets} data sets one after "
        f"the other: {seconds:,.0f} s, {cpu:,.0f} CPU s, at most {peak:,.0f} MB; aimed at "
        f"{ALL_SIX_S:,} s on {CORES} cores and {ALL_SIX_MB:,} MB: "
        f"{'reached' if reached else 'not reached'}."
    )


def _seconds(chains: Any) -> float:
    return float(sum(one["seconds"] for each in chains for one in each["stages"].values()))


def _cpu(chains: Any) -> float:
    return float(sum(one["cpu_seconds"] for each in chains for one in each["stages"].values()))


def _chains(rows: list[Figures]) -> str:
    stages = ("training_data", "drift_report", "candidate_model", "evaluation")
    stages += ("registered_model", "deployment")
    columns = ["model", "data", "trainer", "rows", "held back", *stages]
    columns += ["all s", "CPU s", "peak MB", "load"]
    lines = [
        "## The chain: seconds a stage",
        "",
        f"| {' | '.join(columns)} | ends as |",
        f"|---|---|---|{'--:|' * (len(columns) - 3)}---|",
    ]
    for row in rows:
        cells = [row["model"], row["data"], row["trainer"]]
        if (ran := row.get("chain")) is None:
            lines.append(f"| {' | '.join(cells)} | {'| ' * (len(columns) - 3)}{row['failed']} |")
            continue
        cells += [f"{row[name]:,}" if name in row else "" for name in ("rows", "held_back")]
        found = ran["stages"]
        cells += [f"{found[name]['seconds']:.1f}" if name in found else "" for name in stages]
        cells += [f"{_seconds([ran]):,.1f}", f"{_cpu([ran]):,.1f}", f"{ran['peak_mb']:,.0f}"]
        ends = ran["outcome"] + (f"; {row['failed']}" if "failed" in row else "")
        cells += [f"{row['load']:.1f}", ends.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _quality_table(model: str, rows: list[Figures]) -> str:
    first, *others = SHOWN[model]
    lines = [
        f"### {model}",
        "",
        f"| data | contestant | {first}, cross-validation | {first}, held back | "
        f"{' | '.join(others)} | against |",
        f"|---|---|---|---|{'--:|' * len(others)}---|",
    ]
    for row in (row for row in rows if row["model"] == model and "quality" in row):
        shown = dict(row["quality"])
        if row["trainer"] != "default":  # the rivals stand with the default trainer
            shown = {f"{OURS}, {row['trainer']}": shown[OURS]}
        for name, quality in shown.items():
            over, held = quality["cross_validation"], quality["held_back"]
            cells = [row["data"], name, _interval(over.get(first)), _interval(held.get(first))]
            cells += [f"{_value(over.get(one))} / {_value(held.get(one))}" for one in others]
            lines.append(f"| {' | '.join([*cells, _against(quality.get('against'))])} |")
    if model == "financial_advisor":
        lines += ["", "There is no usual counterpart without a model service."]
    return "\n".join(lines)


def _value(one: Figures | None) -> str:
    if one is None:
        return "-"
    return f"{one['value']:.3f}" if abs(one["value"]) < 100 else f"{one['value']:,.0f}"


def _interval(one: Figures | None) -> str:
    if one is None or "low" not in one:
        return _value(one)
    low, high = (_value({"value": one[end]}) for end in ("low", "high"))
    return f"{_value(one)} ({low} to {high})"


def _against(comparison: Figures | None) -> str:
    if comparison is None:
        return ""
    # The comparison is of the rival with the platform's model.
    better, worse = comparison["p_worse"], comparison["p_better"]
    word = "better" if better < 0.05 else "worse" if worse < 0.05 else "no difference told"
    return f"{word}, p {min(better, worse):.3f}"


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
