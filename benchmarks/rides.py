"""Anomalous rides: what is found of those planted, how fast, and in how much memory.

    python benchmarks/rides.py [--data DIR] [--sizes 10000,100000,1000000] [--rounds 3]

Odd rides are planted in eight ways (`rag_platform_tests/rides/planted.py`) among the rides of five
cities that share nothing with each other, and, with `DIR`, among the real ones of its folders
`taxi_nyc_tlc` and `taxi_chicago`. Three contestants look for them on the same features: ours;
scikit-learn's DBSCAN with one eps, the best one for 10,000 rides, found with the answers at hand;
and scikit-learn's IsolationForest, at its own threshold and at the true share. Each measurement is
a process of its own, in turns. Writes `benchmarks/results/rides.json` and `rides.md`.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import children
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from run import HERE, heading, listed_versions, machine

from rag_platform.rides.clustering import SAMPLE, find_clusters
from rag_platform.rides.features import Usual, readings
from rag_platform.rides.simulation import simulate_marked
from rag_platform_tests.rides import planted

SIDES = ("rag_platform", "dbscan", "isolation_forest")
TITLES = {
    "rag_platform": "rag_platform",
    "dbscan": "DBSCAN, one eps",
    "forest_auto": "IsolationForest, auto",
    "forest_share": "IsolationForest, true share",
}
SHARES = (0.001, 0.01, 0.03)
TIMED = "two_towns"
MIN_SAMPLES = 10
MEMORY_BYTES = 8 * 2**30
LIMIT_S = 180.0
PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy")

Figures = dict[str, Any]


def simulated(rides: int, random: np.random.Generator) -> pa.Table:
    """The day of `rag-platform simulate-rides` without its own odd rides."""
    table, odd = simulate_marked(date(2026, 6, 30), round(rides * 1.01) + 5, 3)
    return table.filter(pa.array(~odd)).slice(0, rides)


CITIES = planted.CITIES | {"simulated": simulated}


def real(folder: Path, adapter: str, pattern: str) -> pa.Table:
    """The rides of some files."""
    from rag_platform.rides.reading import read_file

    files = sorted(folder.glob(pattern))
    return pa.concat_tables(
        table for path in files for table, _ in read_file(path, path.name, adapter)
    )


# What a child process does


def obey(order: Figures) -> Figures:
    """Find the odd rides of a file; the answers of the contestant go into files of their own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    rides = pq.read_table(order["rides"])
    find_clusters(rides.slice(0, 1000))  # imports are not counted
    answer = {
        "rag_platform": _ours,
        "dbscan": partial(_dbscan, eps=order["eps"]),
        "isolation_forest": partial(_forest, share=order["share"]),
    }[order["side"]]
    if order["side"] != "rag_platform":
        import sklearn.cluster
        import sklearn.ensemble  # noqa: F401
    started, cpu = time.monotonic(), time.process_time()
    try:
        found = answer(rides)
    except MemoryError:
        return {"failed": f"more than {MEMORY_BYTES // 2**30} GB"}
    told = {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
    }
    np.savez(order["answers"], **found)
    return told


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _features(rides: pa.Table) -> Any:
    """The features that ours clusters, without the clustering."""
    values = readings(rides)
    usual = Usual.of(values.take(np.argsort(values.key, kind="stable")[:SAMPLE]))
    return np.nan_to_num(usual.features(values))


def _ours(rides: pa.Table) -> dict[str, Any]:
    return {"rag_platform": find_clusters(rides).is_anomaly}


def _dbscan(rides: pa.Table, eps: float) -> dict[str, Any]:
    from sklearn.cluster import DBSCAN

    labels = DBSCAN(eps=eps, min_samples=MIN_SAMPLES, n_jobs=-1).fit_predict(_features(rides))
    return {"dbscan": labels == -1}


def _forest(rides: pa.Table, share: float) -> dict[str, Any]:
    from sklearn.ensemble import IsolationForest

    places = _features(rides)
    model = IsolationForest(random_state=0, n_jobs=-1).fit(places)
    score = model.score_samples(places)
    # -0.5 is its threshold where `contamination` is `auto`; else it is a quantile.
    return {"forest_auto": score < -0.5, "forest_share": score < np.quantile(score, share)}


# What the parent does


class Bench:
    """Files and measurements of one run."""

    def __init__(self, scratch: Path, eps: float) -> None:
        self._scratch = scratch
        self._eps = eps
        self.measured: list[Figures] = []

    def play(self, rides: pa.Table, share: float, sides: tuple[str, ...], **about: Any) -> None:
        """Plant odd rides, and let each contestant look for them in a process of its own."""
        table, kind = planted.plant(rides, share, seed=2)
        file = self._scratch / "rides.parquet"
        pq.write_table(table, file)
        for side in sides:
            told, answers = self._ask(side, file, share)
            for name, found in answers.items() or [(side, None)]:
                verdict = judged(found, kind) if found is not None else {}
                facts = {**about, "rides": len(kind), "share": share, "side": name}
                self.measured.append({**facts, **told, **verdict})
                print({**facts, **told, **verdict}, file=sys.stderr, flush=True)

    def _ask(self, side: str, file: Path, share: float) -> tuple[Figures, dict[str, Any]]:
        answers = self._scratch / "answers.npz"
        answers.unlink(missing_ok=True)
        order = {"side": side, "rides": str(file), "answers": str(answers)}
        order |= {"eps": self._eps, "share": share}
        command = [sys.executable, str(HERE / "rides.py"), "--child", json.dumps(order)]
        try:
            done = children.run(command, limit_s=LIMIT_S)
        except children.TimedOut as error:
            return {"failed": str(error)}, {}
        if done.returncode != 0:
            return {"failed": done.stderr.strip().splitlines()[-1][:100]}, {}
        told = json.loads(done.stdout)
        if "failed" in told:
            return told, {}
        with np.load(answers) as found:
            return told, dict(found)


def judged(found: Any, kind: Any) -> Figures:
    """Recall, precision, and recall of each kind that was planted."""
    odd = kind >= 0
    kinds = {
        name: float(found[kind == number].mean())
        for number, name in enumerate(planted.KINDS)
        if (kind == number).any()
    }
    return {
        "recall": float(found[odd].mean()),
        "precision": float(odd[found].mean()) if found.any() else 0.0,
        "kinds": kinds,
    }


def best_eps() -> float:
    """The eps with the best F1 for DBSCAN on 10,000 rides of `TIMED`, with 1 percent planted."""
    from sklearn.cluster import DBSCAN

    rides, kind = planted.plant(CITIES[TIMED](10_000, np.random.default_rng(1)), 0.01, seed=2)
    places = _features(rides)

    def f1(eps: float) -> float:
        noise = DBSCAN(eps=eps, min_samples=MIN_SAMPLES).fit_predict(places) == -1
        return 2.0 * float((noise & (kind >= 0)).sum()) / float(noise.sum() + (kind >= 0).sum())

    return max((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0), key=f1)


# The page


def page(record: Figures) -> str:
    """The Markdown page of a record."""
    rows = record["measured"]
    day = record["taken"][:10]
    parts = [
        heading(f"Anomalous rides on {day}"),
        f"`recall / precision`. DBSCAN has min_samples {MIN_SAMPLES} and eps {record['eps']}, "
        "the best for 10,000 rides of two_towns. Memory is the whole process.",
        _timed_table([row for row in rows if row["part"] == "timed"]),
        _quality_table([row for row in rows if row["part"] == "cities"], "city"),
        _kinds_table([row for row in rows if row["part"] == "cities"]),
    ]
    if real_rows := [row for row in rows if row["part"] == "real"]:
        parts.append(_quality_table(real_rows, "city"))
        parts.append(
            "Real rides hold odd ones that nobody planted: rides of 0 km in 3 s, of 24 hours, at "
            "300 km/h. Found, they count against precision here."
        )
    parts.append(listed_versions({"all contestants": record["versions"]}))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _median(rows: list[Figures], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def _timed_table(rows: list[Figures]) -> str:
    lines = [
        f"## 1 percent planted in {TIMED}: medians over rounds",
        "",
        "| rides | contestant | recall / precision | seconds | CPU s | peak MB |",
        "|--:|---|---|--:|--:|--:|",
    ]
    for size, side in dict.fromkeys((row["rides"], row["side"]) for row in rows):
        same = [row for row in rows if (row["rides"], row["side"]) == (size, side)]
        cells = [f"{size:,}", TITLES.get(side, side)]
        if "failed" in same[0]:
            cells += [same[0]["failed"], "", "", ""]
        else:
            cells += [
                f"{_median(same, 'recall'):.2f} / {_median(same, 'precision'):.2f}",
                f"{_median(same, 'seconds'):.2f}",
                f"{_median(same, 'cpu_seconds'):.2f}",
                f"{_median(same, 'peak_mb'):,.0f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _quality_table(rows: list[Figures], by: str) -> str:
    sides = list(dict.fromkeys(row["side"] for row in rows))
    named = " | ".join(TITLES[side] for side in sides)
    lines = [
        "## Real rides" if rows[0]["part"] == "real" else "## Five cities",
        "",
        f"| {by} | rides | planted | {named} |",
        f"|---|--:|--:|{'---|' * len(sides)}",
    ]
    for case in dict.fromkeys((row[by], row["rides"], row["share"]) for row in rows):
        cells = [case[0], f"{case[1]:,}", f"{case[2]:.1%}"]
        for side in sides:
            found = next(
                row
                for row in rows
                if (row[by], row["rides"], row["share"]) == case and row["side"] == side
            )
            failed = found.get("failed")
            cells.append(failed or f"{found['recall']:.2f} / {found['precision']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kinds_table(rows: list[Figures]) -> str:
    ours = [row for row in rows if row["side"] == "rag_platform"]
    sizes = list(dict.fromkeys(row["rides"] for row in ours))
    lines = [
        "## Recall of rag_platform by kind: mean over cities and shares",
        "",
        f"| planted | {' | '.join(f'{size:,}' for size in sizes)} |",
        f"|---|{'--:|' * len(sizes)}",
    ]
    for kind in planted.KINDS:
        cells = [kind]
        for size in sizes:
            found = [r["kinds"][kind] for r in ours if r["rides"] == size and kind in r["kinds"]]
            cells.append(f"{statistics.mean(found):.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(obey(json.loads(options.child))))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    eps = best_eps()
    with tempfile.TemporaryDirectory(prefix="rides-") as scratch:
        bench = Bench(Path(scratch), eps)
        for size in sizes:
            rides = CITIES[TIMED](size, np.random.default_rng(1))
            for _ in range(options.rounds):
                bench.play(rides, 0.01, SIDES, part="timed", city=TIMED)
            for city, build in CITIES.items():
                rides = build(size, np.random.default_rng(4))
                for share in SHARES:
                    both = ("rag_platform", "isolation_forest")
                    bench.play(rides, share, both, part="cities", city=city)
        if options.data:
            york, chicago = options.data / "taxi_nyc_tlc", options.data / "taxi_chicago"
            for city, rides in {
                "New York": real(york, "nyc_tlc", "yellow/*2019*.parquet"),
                "Chicago": real(chicago, "chicago", "*.csv.gz"),
            }.items():
                for share in SHARES:
                    bench.play(
                        rides, share, ("rag_platform", "isolation_forest"), part="real", city=city
                    )
    record = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | {"load": os.getloadavg()[0]},
        "versions": {name: version(name) for name in PACKAGES},
        "eps": eps,
        "rounds": options.rounds,
        "measured": bench.measured,
    }
    results = HERE / "results"
    (results / "rides.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (results / "rides.md").write_text(page(record), encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    main()
