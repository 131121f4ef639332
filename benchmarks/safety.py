"""How well secrets, personal data and text made for models are found, and at what cost.

    python benchmarks/safety.py CORPORA_FOLDER

Rates on the labelled texts of `rag_platform_tests/documents/safety`: one half was looked at while
the rules were written, the other was not. Then what is found in documents that nobody wrote to be
found (docs_opentelemetry, complaints_cfpb, neardup_articles of CORPORA_FOLDER; needs `zstd` and
`tar`), and CPU time beside that of cleaning. Writes `benchmarks/results/safety.json` and
`safety.md`.
"""

import argparse
import gzip
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from run import HERE, heading, machine

from rag_platform.documents.cleaning import clean
from rag_platform.documents.safety.injections import injection_score
from rag_platform.documents.safety.rules import Group
from rag_platform.documents.safety.scanner import scan
from rag_platform_tests.documents.safety.labelled import Case, findings, injections

GROUPS: tuple[Group, ...] = ("secrets", "pii")
THRESHOLD = 0.5


def kinds(text: str, language: str = "en") -> list[str]:
    """The kinds of all findings."""
    return [each.kind for each in scan(text, groups=GROUPS, language=language)]


def rates(
    cases: Sequence[Case], is_there: Callable[[Case], bool], is_found: Callable[[Case], bool]
) -> dict[str, Any]:
    """True and false positives of each half."""
    halves = {}
    for held_out in (False, True):
        half = [case for case in cases if case.held_out == held_out]
        there = [case for case in half if is_there(case)]
        rest = [case for case in half if not is_there(case)]
        halves["held out" if held_out else "looked at"] = {
            "positives": len(there),
            "found": sum(map(is_found, there)),
            "negatives": len(rest),
            "wrong": sum(map(is_found, rest)),
        }
    return halves


def on_labelled() -> dict[str, Any]:
    """A finding counts where its kind is the right one."""
    return {
        "injections": rates(
            injections(),
            lambda case: case.injection,
            lambda case: injection_score(case.text) >= THRESHOLD,
        ),
        "secrets and personal data": rates(
            findings(),
            lambda case: case.kind is not None,
            lambda case: (
                bool(set(kinds(case.text, case.language)) & {case.kind or ""})
                if case.kind
                else bool(kinds(case.text, case.language))
            ),
        ),
    }


def on_documents(texts: Sequence[str]) -> dict[str, Any]:
    """What is found in some documents, and CPU seconds a million characters, at best of three."""
    size = sum(map(len, texts)) / 1e6
    held: Counter[str] = Counter()
    for text in texts:
        held.update(set(kinds(text)))
    return {
        "documents": len(texts),
        "million characters": round(size, 2),
        "speak to a model": sum(injection_score(text) >= THRESHOLD for text in texts),
        "documents with": dict(held.most_common()),
        "clean": round(_seconds(clean, texts) / size, 4),
        "scan": round(_seconds(kinds, texts) / size, 4),
        "injections": round(_seconds(injection_score, texts) / size, 4),
    }


def _seconds(work: Callable[[str], Any], texts: Sequence[str]) -> float:
    def once() -> float:
        started = time.process_time()
        for text in texts:
            work(text)
        return time.process_time() - started

    return min(once() for _ in range(3))


def corpora(folder: Path) -> dict[str, list[str]]:
    """Documents that people wrote for people."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        packed = folder / "docs_opentelemetry" / "base_2026-06-30.tar.zst"
        command = ["tar", "-x", "-I", "zstd -d --long=27", "-f", str(packed), "-C", place]
        subprocess.run(command, check=True)
        pages = sorted(Path(place).rglob("*.md"))
        found["docs_opentelemetry"] = [page.read_text(encoding="utf-8") for page in pages]
    for name in ("complaints_cfpb/complaints_dev", "neardup_articles/articles"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line).values() for line in lines]
        found[name.split("/")[0]] = [
            "\n".join(value for value in row if isinstance(value, str)) for row in rows
        ]
    return found


def page(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = [heading("Secrets, personal data and injections"), "## Labelled texts", ""]
    lines += ["| | half | true positives | false positives |", "|---|---|--:|--:|"]
    for what, halves in results["labelled"].items():
        for half, of in halves.items():
            lines.append(
                f"| {what} | {half} | {of['found']} of {of['positives']} "
                f"| {of['wrong']} of {of['negatives']} |"
            )
    lines += ["", "## Documents", "", "CPU milliseconds a million characters.", ""]
    lines += ["| | documents | speak to a model | documents with | clean | scan | injections |"]
    lines += ["|---|--:|--:|---|--:|--:|--:|"]
    for name, of in results["documents"].items():
        held = ", ".join(f"{kind} {n}" for kind, n in of["documents with"].items())
        spent = " | ".join(f"{1000 * of[step]:.1f}" for step in ("clean", "scan", "injections"))
        lines.append(
            f"| {name} | {of['documents']:,} | {of['speak to a model']} | {held} | {spent} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path)
    folder = parser.parse_args().corpora
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "labelled": on_labelled(),
        "documents": {name: on_documents(texts) for name, texts in corpora(folder).items()},
    }
    (HERE / "results" / "safety.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results" / "safety.md").write_text(page(results))


if __name__ == "__main__":
    main()
