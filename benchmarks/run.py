"""All contestants on real documentation trees: cold, nothing changed, one real day's edits.

    python benchmarks/run.py --data DIR [--corpora otel,tldr] [--rounds 3]

DIR holds `docs_opentelemetry` and `docs_tldr`. Within a round the contestants take turns phase by
phase on the same folder, in an order that rotates from round to round. Writes the medians and all
single figures to `benchmarks/results/<date>.json` and a table to `benchmarks/results/<date>.md`.
Contestants live in an environment of their own: `--peers-python` and `--ours-python` name the
interpreters, by default the one that runs this.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestant import PHASES
from corpora import apply_day, days, unpack_base

HERE = Path(__file__).resolve().parent
CORPORA = {"otel": "docs_opentelemetry", "tldr": "docs_tldr"}
OURS = {
    "rag_platform through Dagster": ["ours.py", "--via", "dagster"],
    "rag_platform without Dagster": ["ours.py", "--via", "direct"],
}
PEERS = {
    "LangChain, Chroma": ["with_langchain.py"],
    "LangChain, FAISS": ["with_langchain_faiss.py"],
    "LlamaIndex, Chroma": ["with_llama_index.py"],
    "CocoIndex, LanceDB": ["with_cocoindex.py"],
}

Measurement = dict[str, Any]


def machine() -> dict[str, str | int | None]:
    """What the figures were taken on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        model = platform.processor()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def measure(command: list[str], folder: Path, state: Path, phase: str) -> Measurement:
    """One phase of one contestant in a process of its own."""
    places = ["--corpus", str(folder), "--state", str(state), "--phase", phase]
    done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} {phase}: {done.stderr[-2000:]}")
    told: Measurement = json.loads(done.stdout.splitlines()[-1])
    return told


def play_round(sides: dict[str, list[str]], corpus: Path, first: int) -> list[Measurement]:
    """One round: every phase for every contestant, beginning with the contestant `first`."""
    names = list(sides)
    turns = names[first % len(names) :] + names[: first % len(names)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        folder = Path(scratch).resolve() / "corpus"
        unpack_base(corpus, folder)
        for phase in PHASES:
            if phase == "day":
                apply_day(corpus, days(corpus)[0], folder)
            for name in turns:
                state = Path(scratch).resolve() / f"state{names.index(name)}"
                told = measure(sides[name], folder, state, phase)
                rows.append({"side": name, "phase": phase, "round": first, **told})
                print(f"{corpus.name} {name} {phase}: {told}", file=sys.stderr, flush=True)
    return rows


def medians(rows: list[Measurement]) -> dict[str, dict[str, Measurement]]:
    """Per contestant and phase, the median of every figure."""
    told: dict[str, dict[str, Measurement]] = {}
    for side in dict.fromkeys(row["side"] for row in rows):
        for phase in PHASES:
            same = [row for row in rows if row["side"] == side and row["phase"] == phase]
            figures = [key for key, value in same[0].items() if isinstance(value, int | float)]
            told.setdefault(side, {})[phase] = {
                key: statistics.median(row[key] for row in same) for key in figures
            }
    return told


def table(corpus: str, told: dict[str, dict[str, Measurement]]) -> str:
    """A corpus' results in Markdown."""
    lines = [
        f"## {corpus}",
        "",
        "| | cold s | unchanged s | day s | CPU s: cold, unchanged, day | texts embedded: cold, "
        "unchanged, day | passages | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for side, phases in told.items():
        seconds = " | ".join(f"{phases[phase]['seconds']:.2f}" for phase in PHASES)
        cpu = ", ".join(f"{phases[phase]['cpu_seconds']:.1f}" for phase in PHASES)
        texts = ", ".join(f"{phases[phase]['embedded_texts']:,.0f}" for phase in PHASES)
        peak = max(phases[phase]["peak_rss_mb"] for phase in PHASES)
        passages = phases["day"]["chunks"]
        lines.append(f"| {side} | {seconds} | {cpu} | {texts} | {passages:,.0f} | {peak:,.0f} |")
    return "\n".join(lines) + "\n"


def report(results: dict[str, list[Measurement]], rounds: int) -> tuple[str, str]:
    """The JSON record and the Markdown page."""
    facts = machine()
    rows = [row for measured in results.values() for row in measured]
    versions = {row["side"]: row["versions"] for row in rows}
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "taken": taken,
        "machine": facts,
        "rounds": rounds,
        "versions": versions,
        "medians": {corpus: medians(measured) for corpus, measured in results.items()},
        "measurements": results,
    }
    heading = (
        f"# Benchmark of {taken[:10]}\n\n"
        f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}; medians of {rounds} "
        "rounds. Imports and loading the model are left out.\n"
    )
    tables = [table(corpus, medians(measured)) for corpus, measured in results.items()]
    listed = [
        f"- {side}: " + ", ".join(f"{name} {number}" for name, number in installed.items())
        for side, installed in versions.items()
    ]
    page = "\n".join([heading, *tables, "## Versions", "", *listed]) + "\n"
    return json.dumps(record, indent=1), page


def chosen_sides(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The contestants asked for, each with the command that runs it."""
    sides = {}
    for group, python in (
        (OURS, arguments.ours_python),
        (PEERS, arguments.peers_python),
    ):
        for name, (script, *options) in group.items():
            if not arguments.sides or any(part in name for part in arguments.sides.split(",")):
                sides[name] = [python, str(HERE / script), *options]
    return sides


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpora", default="otel,tldr")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="", help="parts of names, by comma; default: everyone")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--ours-python", default=sys.executable)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()

    sides = chosen_sides(arguments)
    results: dict[str, list[Measurement]] = {}
    for short in arguments.corpora.split(","):
        corpus = arguments.data / CORPORA[short]
        results[corpus.name] = []
        for number in range(arguments.rounds):
            results[corpus.name] += play_round(sides, corpus, number)
    record, page = report(results, arguments.rounds)
    arguments.results.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    (arguments.results / f"{day}.json").write_text(record, encoding="utf-8")
    (arguments.results / f"{day}.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
