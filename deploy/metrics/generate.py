"""Writes what Prometheus and Grafana read: rules, configuration, dashboards.

    python deploy/metrics/generate.py [--runbooks URL] [--console URL] [--dagster URL]

Run it after a change to the files beside it. The addresses are what alerts and dashboards link to.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from alerts import PAGES, rules
from board_documents import DOCUMENTS
from board_llm import LLM
from board_models import MODELS, RIDES
from board_platform import PLATFORM

BOARDS = (DOCUMENTS, LLM, RIDES, MODELS, PLATFORM)
_MADE = "# Made by deploy/metrics/generate.py: change what it reads, not this file.\n"

PROMETHEUS = {
    "global": {"scrape_interval": "30s", "scrape_timeout": "10s", "evaluation_interval": "30s"},
    "rule_files": ["*.rules.yml"],
    "scrape_configs": [
        {"job_name": "rag_platform", "static_configs": [{"targets": ["metrics:9464"]}]},
        {"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]},
    ],
}
_PROMETHEUS_NOTE = """\
# An `alerting` section with the address of an Alertmanager tells people of alerts.
# An exporter with RAG_PLATFORM_METRICS_TOKEN wants `authorization: {credentials_file: ...}`.
"""
_DATASOURCES = {
    "apiVersion": 1,
    "datasources": [
        {
            "name": "Prometheus",
            "uid": "rag_platform_prometheus",
            "type": "prometheus",
            "access": "proxy",
            "url": "http://prometheus:9090",
            "isDefault": True,
            "editable": False,
            "jsonData": {"timeInterval": "30s", "httpMethod": "POST"},
        }
    ],
}
_DASHBOARDS = {
    "apiVersion": 1,
    "providers": [
        {
            "name": "rag_platform",
            "folder": "rag_platform",
            "type": "file",
            "allowUiUpdates": False,
            "options": {"path": "/var/lib/grafana/dashboards"},
        }
    ],
}


def files(*, runbooks: str, console: str, dagster: str) -> dict[str, str]:
    """Every file by its path below deploy/."""
    found = {
        "prometheus/prometheus.yml": _MADE + _PROMETHEUS_NOTE + _yaml(PROMETHEUS),
        "prometheus/rag_platform.rules.yml": _MADE + _yaml(rules(runbooks)),
        "grafana/provisioning/datasources/rag_platform.yaml": _MADE + _yaml(_DATASOURCES),
        "grafana/provisioning/dashboards/rag_platform.yaml": _MADE + _yaml(_DASHBOARDS),
    }
    for board in BOARDS:
        drawn = board.drawn(console=console, dagster=dagster)
        found[f"grafana/dashboards/{board.uid}.json"] = json.dumps(drawn, indent=1) + "\n"
    return found


def _yaml(tree: Any) -> str:
    return yaml.safe_dump(tree, sort_keys=False, width=1_000)


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description="Writes what Prometheus and Grafana read.")
    parser.add_argument("--runbooks", default=PAGES, help="address of docs/failures")
    parser.add_argument("--console", default="http://127.0.0.1:8080")
    parser.add_argument("--dagster", default="http://127.0.0.1:3000")
    parser.add_argument("--target", type=Path, default=Path(__file__).resolve().parents[1])
    given = parser.parse_args()
    made = files(runbooks=given.runbooks, console=given.console, dagster=given.dagster)
    for name, content in made.items():
        path = given.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
