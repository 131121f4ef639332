"""All contestants on real documentation trees: cold, nothing changed, one real day's edits.

    python benchmarks/run.py --data DIR --ours-python .venv/bin/python [--rounds 3]

DIR holds `docs_opentelemetry` and `docs_tldr`. Within a round the contestants take turns phase by
phase on the same folder, in an order that rotates from round to round. Writes the medians and all
single figures to `benchmarks/results/<date>.json` and a table to `benchmarks/results/<date>.md`.
Contestants live in an environment of their own: `--peers-python` and `--ours-python` name the
interpreters, by default the one that runs this. A phase that takes more than half an hour has
timed out, and its contestant sits out the rest of the round.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import children
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
LIMIT_S = 1800.0

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
    """One phase of one contestant in a process of its own; `failed` where it took too long."""
    places = ["--corpus", str(folder), "--state", str(state), "--phase", phase]
    try:
        done = children.run([*command, *places], limit_s=LIMIT_S)
    except children.TimedOut as error:
        return {"failed": str(error)}
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
            for name in list(turns):
                state = Path(scratch).resolve() / f"state{names.index(name)}"
                told = measure(sides[name], folder, state, phase)
                rows.append({"side": name, "phase": phase, "round": first, **told})
                print(f"{corpus.name} {name} {phase}: {told}", file=sys.stderr, flush=True)
                if "failed" in told:
                    turns.remove(name)
    return rows


def medians(rows: list[Measurement]) -> dict[str, dict[str, Measurement]]:
    """Per contestant and phase, the median of every figure; a phase never finished is left out."""
    told: dict[str, dict[str, Measurement]] = {row["side"]: {} for row in rows}
    for side, phases in told.items():
        for phase in PHASES:
            same = [row for row in rows if (row["side"], row["phase"]) == (side, phase)]
            finished = [row for row in same if "failed" not in row]
            if finished:
                figures = [k for k, value in finished[0].items() if isinstance(value, int | float)]
                phases[phase] = {
                    key: statistics.median(row[key] for row in finished) for key in figures
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
        seconds = " | ".join(_figures(phases, "seconds", ".2f"))
        cpu = ", ".join(_figures(phases, "cpu_seconds", ".1f"))
        texts = ", ".join(_figures(phases, "embedded_texts", ",.0f"))
        peak = max((figures["peak_rss_mb"] for figures in phases.values()), default=0)
        passages = _figures(phases, "chunks", ",.0f")[-1]
        lines.append(f"| {side} | {seconds} | {cpu} | {texts} | {passages} | {peak:,.0f} |")
    return "\n".join(lines) + "\n"


def _figures(phases: dict[str, Measurement], figure: str, form: str) -> list[str]:
    """A figure of every phase."""
    return [
        format(phases[phase][figure], form) if phase in phases else "timed out" for phase in PHASES
    ]


def heading(title: str) -> str:
    """The head of a page of results: its title and the machine."""
    facts = machine()
    return f"# {title}\n\n{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}.\n"


def listed_versions(versions: dict[str, dict[str, str]]) -> str:
    """The foot of a page of results."""
    lines = [
        f"- {side}: " + ", ".join(f"{name} {number}" for name, number in installed.items())
        for side, installed in versions.items()
    ]
    return "\n".join(["## Versions", "", *lines]) + "\n"


def report(results: dict[str, list[Measurement]], rounds: int) -> tuple[str, str]:
    """The JSON record and the Markdown page."""
    rows = [row for measured in results.values() for row in measured]
    versions = {row["side"]: row["versions"] for row in rows if "versions" in row}
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "taken": taken,
        "machine": machine(),
        "rounds": rounds,
        "versions": versions,
        "medians": {corpus: medians(measured) for corpus, measured in results.items()},
        "measurements": results,
    }
    told = f"Medians of {rounds} rounds. Imports and loading the model are left out.\n"
    tables = [table(corpus, medians(measured)) for corpus, measured in results.items()]
    page = "\n".join(
        [heading(f"Benchmark of {taken[:10]}"), told, *tables, listed_versions(versions)]
    )
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
