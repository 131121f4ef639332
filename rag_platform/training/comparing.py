"""The evaluations of two versions of a model, side by side."""

import math
from collections.abc import Mapping
from typing import Any

from rag_platform.training.errors import NoSuchModel
from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.registry import ModelRegistry

_LEVEL = 0.05  # one-sided, as of the gate


def side_by_side(
    registry: ModelRegistry, model: str, a: str | None = None, b: str | None = None
) -> dict[str, Any]:
    """Champion and challenger, champion and A, or A and B, by numbers: the stable JSON form.

    It is: model, a and b (each version, units, metrics with value, low and high, and holdout), and
    paired (null where they were not compared on the same rows): version, against, test, units,
    difference (of mean losses, above zero: worse), low, high, p_worse, p_better.

    Raises `NoSuchModel` for a version that there is not, and `RegistryUnavailable`.
    """
    first, second = (a, b) if a and b else (CHAMPION, a or CHALLENGER)
    one, two = (_report(registry, model, each) for each in (first, second))
    return {
        "model": model,
        "a": _measured(one),
        "b": _measured(two),
        "paired": _paired(two, one) or _paired(one, two),
    }


def verdict(paired: Mapping[str, Any] | None) -> str:
    """What the paired test says, in words."""
    if paired is None:
        return "The two were not compared on the same rows."
    names = f"version {paired['version']} is"
    against = f"than version {paired['against']}"
    how = f"{paired['test']}, {paired['units']:,} units"
    if paired["low"] is None or not math.isfinite(paired["difference"]):
        return f"Too few units to tell whether {names} better or worse {against} ({how})."
    word = "worse" if paired["difference"] > 0 else "better"
    p = paired["p_worse"] if word == "worse" else paired["p_better"]
    sure = "" if p < _LEVEL else "not significantly "
    return f"On the held-back rows, {names} {sure}{word} {against} (p = {p:.3g}; {how})."


def _report(registry: ModelRegistry, model: str, wanted: str) -> dict[str, Any]:
    """The evaluation of a version, with its number."""
    version = registry.version(model, wanted)
    if version is None:
        raise NoSuchModel(f"{model}: there is no {wanted}; see: rag-platform models history")
    return {"version": version.number, **(registry.report(version.run_id) or {})}


def _measured(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": report["version"],
        "units": report.get("units"),
        "metrics": report.get("metrics", {}),
        "holdout": report.get("holdout", {}),
    }


def _paired(candidate: Mapping[str, Any], champion: Mapping[str, Any]) -> dict[str, Any] | None:
    """The paired test of a candidate's evaluation, where it was against this champion."""
    comparison = candidate.get("comparison")
    if not comparison or candidate.get("champion_version") != champion["version"]:
        return None
    return {"version": candidate["version"], "against": champion["version"], **comparison}
