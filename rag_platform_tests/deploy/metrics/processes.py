"""The exporter and Prometheus as processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from rag_platform.settings import PROJECT_ROOT
from rag_platform_tests.servers.ports import free_ports

DEPLOY = PROJECT_ROOT / "deploy" / "prometheus"
_START_S = 120.0

TOKEN = "a-token-of-many-letters"

# The tiny model is known to the tests only.
_METRICS = """
import pytest
from rag_platform_tests.console.library import tiny_models
from rag_platform.cli import main

with pytest.MonkeyPatch.context() as patch, tiny_models(patch):
    main(["metrics", "--port", "0"])
"""


@dataclass
class Exporter:
    """The process, and its address as host:port."""

    process: "subprocess.Popen[str]"
    address: str

    def hang(self) -> None:
        """It answers no more."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It does again."""
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def exporter(folder: Path) -> Iterator[Exporter]:
    """`rag-platform metrics` over the platform of the environment, for those with the token."""
    served = subprocess.Popen(
        [sys.executable, "-c", _METRICS],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "RAG_PLATFORM_METRICS_TOKEN": TOKEN},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stderr is not None
        line = next((line for line in served.stderr if "Metrics at " in line), None)
        assert line is not None, "the exporter did not start"
        yield Exporter(served, line.split("Metrics at http://")[1].split("/")[0])
    finally:
        served.kill()
        served.wait()
        served.stderr.close()


@dataclass(frozen=True)
class Prometheus:
    """A server to be asked."""

    client: httpx.Client

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression now, each with `metric` and `value`."""
        answer = self.client.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name, with `labels` and `annotations`."""
        alerts = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus with the files of deploy/, in a hurry: no alert waits before it fires."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), "2s"
    )
    config["scrape_configs"] = config["scrape_configs"][:1]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    config["scrape_configs"][0]["authorization"] = {"credentials_file": str(folder / "token")}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for file in DEPLOY.glob("*.rules.yml"):
        rules = yaml.safe_load(file.read_text("utf-8"))
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["for"] = "0s"
        (folder / file.name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
    try:
        deadline = time.monotonic() + _START_S
        while not _is_ready(client):
            told = (folder / "log").read_text("utf-8")
            assert server.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        yield Prometheus(client)
    finally:
        client.close()
        server.kill()
        server.wait()


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/-/ready").status_code == 200
    return False
