"""What an operator sees of a model: tables of checks and gates, plots, links to MLflow."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.documents.metadata import table
from rag_platform.defs.plots import png

if TYPE_CHECKING:
    from rag_platform.storage.letters import Letter
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.evaluation import Evaluation
    from rag_platform.training.ledger import Promotion
    from rag_platform.training.registry import Version
    from rag_platform.training.stages import Facts
    from rag_platform.training.task import Draw

_SHOWN = 20
_PLOTS = 8


def of_data(facts: "Facts", letters: "Sequence[Letter]") -> dict[str, Any]:
    """Rows, checks, and what could not be used."""
    checks = [[row["name"], _mark(row["passed"]), row["told"]] for row in facts["checks"]]
    told: dict[str, Any] = {
        "rows": facts["rows"],
        "records": facts["records"],
        "unusable records": facts["bad"],
        "read from": facts["url"],
        "read at": moment(facts["read_at"]),
        "newest file": moment(facts["modified"]),
        "checks": table(["check", "holds", "found"], checks),
        "figures": table(["figure", "value"], [[k, v] for k, v in facts["figures"].items()]),
    }
    if "sha256" in facts:
        told["snapshot"] = facts["sha256"]
    if letters:
        rows = [[letter.item, letter.reason, letter.detail] for letter in letters[:_SHOWN]]
        told["dead letters"] = table(["file and record", "reason", "detail"], rows)
    return told


def of_drift(champion: str | None, report: "DriftReport | None") -> dict[str, Any]:
    """What drifted, with plots."""
    if report is None:
        return {"drift": "no champion yet"}
    rows = [
        [
            each.column,
            each.aspect,
            each.test,
            _shown(each.effect),
            _shown(each.p),
            _mark(not each.drifted),
        ]
        for each in report.columns[:_SHOWN]
    ]
    header = ["column", "of its", "test", "effect (1 is large)", "p", "as before"]
    return {
        "drift": report.told,
        "champion": champion,
        "columns": table(header, rows),
        **plots(report.plots()),
    }


def of_candidate(facts: "Facts") -> dict[str, Any]:
    """Where the candidate is, and whether it had to be fitted."""
    return {
        "fitted": "before, on the same rows" if facts["reused"] else "now",
        "seconds": facts["seconds"],
        "snapshot": facts["sha256"],
        "MLflow run": link(facts["url"], facts["run_id"]),
    }


def of_evaluation(found: "Evaluation", draws: "Mapping[str, Draw]") -> dict[str, Any]:
    """Gates, metrics with their intervals, slices, groups, and what a person looks at."""
    gates = [
        [row.gate, _mark(row.passed), _shown(row.value), _shown(row.bound), row.told]
        for row in found.verdicts
    ]
    metrics = [
        [name, _shown(estimate.value), f"{_shown(estimate.low)} to {_shown(estimate.high)}"]
        for name, estimate in found.metrics.items()
    ]
    told: dict[str, Any] = {
        "passed": found.passed,
        "gates": table(["gate", "holds", "value", "bound", "found"], gates),
        "metrics": table(["metric", "value", "95 % interval"], metrics),
        "units": found.units,
    }
    if found.slices:
        names = list(dict.fromkeys(name for each in found.slices for name in each.metrics))[:6]
        rows = [
            [each.name, each.units, *(_shown(each.metrics.get(name)) for name in names)]
            for each in found.slices
        ]
        told["slices"] = table(["slice", "units", *names], rows)
    groups = [
        [
            each.column,
            each.group,
            each.size,
            f"{each.rate:.1%}",
            f"{each.low:.1%} to {each.high:.1%}",
        ]
        for impact in found.impacts
        for each in impact.groups
    ]
    if groups:
        header = ["audited", "group", "members", "favourable answers", "95 % interval"]
        told["groups"] = table(header, groups)
    return told | plots(draws)


def of_version(version: "Version", url: str | None) -> dict[str, Any]:
    """The version, and where to look at it."""
    return {
        "version": version.number,
        "MLflow version": link(url, f"{version.model} {version.number}"),
    }


def of_deployment(facts: "Facts", history: "Sequence[Promotion]") -> dict[str, Any]:
    """Which part the version plays, and what happened to the model so far."""
    rows = [
        [moment(row.at), row.action, row.version, row.champion, row.actor, row.reason]
        for row in reversed(history[-_SHOWN:])
    ]
    return {
        "version": facts["version"],
        "serves as": facts["arm"],
        "history": table(["at", "what", "version", "champion", "by", "why"], rows),
        "MLflow version": link(facts["url"], facts["version"]),
    }


def plots(draws: "Mapping[str, Draw]") -> dict[str, Any]:
    """Plots by title, the first few: all are in MLflow."""
    return {f"plot: {name}": png(draw) for name, draw in list(draws.items())[:_PLOTS]}


def link(url: str | None, name: str) -> Any:
    """A link where there is an address, the name otherwise."""
    return dg.MetadataValue.url(url) if url and url.startswith("http") else name


def moment(at: float) -> str:
    """A time for people."""
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds")


def _mark(holds: bool) -> str:
    return "yes" if holds else "NO"


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
