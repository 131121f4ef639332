"""The files that Prometheus and Grafana read: as the generator makes them, and well formed."""

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from rag_platform.settings import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rag_platform.rules.yml"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def _generate(target: Path, *arguments: str) -> dict[str, str]:
    program = DEPLOY / "metrics" / "generate.py"
    subprocess.run([sys.executable, program, "--target", target, *arguments], check=True)
    return {
        str(path.relative_to(target)): path.read_text("utf-8")
        for path in target.rglob("*")
        if path.is_file()
    }


def test_the_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    made = _generate(tmp_path)
    there = {
        str(path.relative_to(DEPLOY)): path.read_text("utf-8")
        for folder in ("prometheus", "grafana")
        for path in (DEPLOY / folder).rglob("*")
        if path.is_file()
    }
    assert made.keys() == there.keys()
    differ = [name for name, content in made.items() if there[name] != content]
    assert differ == [], "python deploy/metrics/generate.py"


def test_addresses_may_be_given(tmp_path: Path) -> None:
    made = _generate(
        tmp_path, "--runbooks", "https://wiki.example/runbooks", "--console", "https://c.example"
    )
    rules = yaml.safe_load(made["prometheus/rag_platform.rules.yml"])
    first = rules["groups"][0]["rules"][0]["annotations"]["runbook_url"]
    assert first == "https://wiki.example/runbooks/page-overdue.md"
    board = json.loads(made["grafana/dashboards/llm.json"])
    (console,) = (v for v in board["templating"]["list"] if v["name"] == "console")
    assert console["current"]["value"] == "https://c.example"


def test_prometheus_takes_them() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    for arguments in (
        ["rules", str(RULES)],
        ["config", str(DEPLOY / "prometheus" / "prometheus.yml")],
    ):
        done = subprocess.run(["promtool", "check", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_a_page(rule: dict[str, Any]) -> None:
    assert (PROJECT_ROOT / rule["annotations"]["runbook_url"]).is_file()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_in_order(path: Path) -> None:
    board = json.loads(path.read_text("utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    declared = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all"}
    assert used <= declared
    assert declared - used == set(), "a choice that changes nothing"
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        assert not _overlap(one, other)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_what_is_bad_is_not_green(path: Path) -> None:
    """Of bars of 0 and 1, 1 is good."""
    for panel in json.loads(path.read_text("utf-8"))["panels"]:
        drawn = panel.get("fieldConfig", {}).get("defaults", {})
        if panel["type"] == "bargauge" and drawn["unit"] == "short" and drawn.get("max") == 1:
            colours = [(step["value"], step["color"]) for step in drawn["thresholds"]["steps"]]
            assert colours == [(None, "red"), (1, "green")], panel["title"]


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "w"), ("y", "h"))
    )
