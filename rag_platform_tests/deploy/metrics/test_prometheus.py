"""A real Prometheus over a real exporter: every panel has data, alerts fire and resolve."""

import json
import math
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rag_platform.platform import Platform
from rag_platform.settings import PROJECT_ROOT
from rag_platform.storage.measures import RECONCILE_UNREPAIRED, Measures
from rag_platform.storage.schema import reviews
from rag_platform.storage.schema_models import notifications
from rag_platform_tests.deploy.metrics.filled import measure
from rag_platform_tests.deploy.metrics.processes import TOKEN, Exporter, Prometheus

pytestmark = pytest.mark.slow

DEPLOY = PROJECT_ROOT / "deploy"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
_WAIT_S = 120.0


def _panels(board: Path) -> list[dict[str, Any]]:
    return [each for each in json.loads(board.read_text("utf-8"))["panels"] if "targets" in each]


def _expressions() -> dict[str, str]:
    """Every expression as Grafana sends it with all values chosen, by dashboard and panel."""
    return {
        f"{board.stem}: {panel['title']} {target['refId']}": re.sub(
            r"\$(source|index|model)\b", ".*", target["expr"]
        )
        for board in BOARDS
        for panel in _panels(board)
        for target in panel["targets"]
    }


def _until(is_so: Callable[[], Any], *, within_s: float = _WAIT_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.5)
    return found


def test_every_panel_has_data(platform: Platform, seen: Prometheus) -> None:
    _until(lambda: seen.query('rag_platform_collector_success{collector="dagster"} == 1'))
    measure(platform)  # so that there is a rate
    missing, deadline = _expressions(), time.monotonic() + _WAIT_S
    assert len(missing) > 90
    while missing and time.monotonic() < deadline:
        missing = {where: expr for where, expr in missing.items() if not _has_data(seen, expr)}
        time.sleep(0.5)
    assert missing == {}


def _has_data(seen: Prometheus, expr: str) -> bool:
    return any(math.isfinite(float(each["value"][1])) for each in seen.query(expr))


def test_alerts_speak_of_metrics_that_there_are(seen: Prometheus) -> None:
    """What is misspelled is no error for Prometheus: it never fires."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rag_platform.rules.yml").read_text("utf-8"))
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    expressions += _expressions().values()
    wanted = {name for expr in expressions for name in re.findall(r"\brag_platform_\w+", expr)}
    known = {each["metric"]["__name__"] for each in seen.query('{__name__=~"rag_platform_.+"}')}
    assert wanted - known == set()


def test_what_is_wrong_fires(seen: Prometheus) -> None:
    """What the platform was filled with, in words for people."""
    wrong = {"ReviewOverdue", "DeadLetters", "ModelDrift", "ModelGateFailed", "RunFailed"}
    wrong |= {"GateFailing", "AutomationFailing"}
    firing = _until(lambda: wrong <= (found := seen.firing()).keys() and found)
    told = {name: firing[name]["annotations"]["summary"] for name in wrong}
    assert told["ReviewOverdue"] == "notes: 1 reviews are overdue"
    assert told["ModelGateFailed"] == "tiny_model: the newest candidate did not pass accuracy"
    assert told["RunFailed"] == "The last run of wiki failed"
    assert firing["ModelDrift"]["annotations"]["runbook_url"] == "docs/failures/model-drift.md"
    assert told["GateFailing"] == "notes/clean_docs: the gate enough_documents failed"
    assert firing["AutomationFailing"]["labels"]["name"] == "new_notes"
    assert not {"ExporterDown", "CatalogDown", "BudgetSpent", "ClockJump"} & firing.keys()


def test_alerts_follow_the_catalog(platform: Platform, seen: Prometheus) -> None:
    """They fire when it goes wrong and resolve when it is mended."""
    measures = Measures(platform.catalog)
    _change(platform, sa.update(reviews).values(due_at=time.time() + 9_000))
    measures.keep(RECONCILE_UNREPAIRED, 2, index="v1")
    platform.outbox.tell("overdue", "Somebody should know.")
    _change(platform, sa.update(notifications).values(at=time.time() - 7_200, sent_at=None))
    wrong = {"ReconcileDrift", "NotificationsStuck"}
    firing = _until(
        lambda: wrong <= (found := seen.firing()).keys() and "ReviewOverdue" not in found and found
    )
    summary = firing["ReconcileDrift"]["annotations"]["summary"]
    assert summary == "v1: the index is not what the catalog says (2)"
    measures.keep(RECONCILE_UNREPAIRED, 0, index="v1")
    _change(platform, sa.update(notifications).values(sent_at=time.time()))
    _until(lambda: not wrong & seen.firing().keys())


def _change(platform: Platform, statement: sa.Update) -> None:
    with platform.catalog.begin() as connection:
        connection.execute(statement)


def test_what_is_served_is_valid(scraped: Exporter) -> None:
    """Nothing without the token; with it, nothing that promtool objects to."""
    assert httpx.get(f"http://{scraped.address}/metrics").status_code == 401
    assert httpx.get(f"http://{scraped.address}/readyz").text == "ready\n"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    told = httpx.get(f"http://{scraped.address}/metrics", headers=headers, timeout=30).text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=told, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    headers["Accept"] = "application/openmetrics-text; version=1.0.0"
    newer = httpx.get(f"http://{scraped.address}/metrics", headers=headers, timeout=30).text
    assert len(list(text_string_to_metric_families(newer))) > 80


def test_an_exporter_that_hangs_is_told(seen: Prometheus, scraped: Exporter) -> None:
    assert "ExporterDown" not in seen.firing()
    scraped.hang()
    _until(lambda: "ExporterDown" in seen.firing())
    scraped.go_on()
    _until(lambda: "ExporterDown" not in seen.firing())
