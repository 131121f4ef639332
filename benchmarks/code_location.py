"""How long the code location takes to load, beside Dagster alone.

    python benchmarks/code_location.py [--runs 7]

Median CPU seconds of fresh processes, started in turns; `import dagster`, Dagster's own definitions
with one trivial asset, and ours with the settings of this checkout.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_TRIVIAL = """
import dagster as dg

@dg.asset
def trivial():
    return 1

defs = dg.Definitions(assets=[trivial], executor=dg.in_process_executor)
defs.get_repository_def()
"""

_OURS = """
from rag_platform.definitions import defs

defs.get_repository_def()
"""

SUBJECTS = {
    "import dagster": "import dagster",
    "dagster with one asset": _TRIVIAL,
    "rag_platform.definitions": _OURS,
}


def seconds(code: str) -> float:
    """CPU time that a fresh process needs for `code`, the interpreter's start left out."""
    timed = f"import time; start = time.process_time()\n{code}\nprint(time.process_time() - start)"
    # Without bytecode every process would compile Dagster again.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", timed],
        cwd=ROOT,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    for code in SUBJECTS.values():
        seconds(code)  # writes the bytecode
    taken: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for _ in range(runs):
        for name, code in SUBJECTS.items():
            taken[name].append(seconds(code))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    base = medians["dagster with one asset"]
    print(f"| loading | CPU s, median of {runs} | ratio |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
