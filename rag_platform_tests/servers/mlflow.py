"""A real MLflow server in a process of its own, on a free port of the loopback interface."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_START_S = 120.0


@dataclass
class MlflowServer:
    """A server over the database and the artifacts in a folder; it can die and come back."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                    *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
                    *("--artifacts-destination", str(self.folder / "artifacts")),
                ],
                cwd=self.folder,
                env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.uri}/health", timeout=2).status_code == 200:
                    return
            time.sleep(0.2)
        told = (self.folder / "server.log").read_text("utf-8", errors="replace")
        raise RuntimeError(f"the MLflow server did not start:\n{told[-2000:]}")

    def send(self, signal: int) -> None:
        """Send a signal to the server and its workers."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[MlflowServer]:
    """Start a server; it is gone when the context ends."""
    import signal

    server = MlflowServer(folder, port)
    try:
        server.start()
        yield server
    finally:
        server.send(signal.SIGKILL)
        if server.process is not None:
            server.process.wait()
