"""A cluster of two machines, which are processes here; one is killed in the middle."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from rag_platform.compute.fill import fill
from rag_platform.encoders.openai import EmbeddingServiceError
from rag_platform_tests.compute.site import (
    BATCH,
    EMBEDDINGS,
    INDEX,
    SOURCE,
    WINDOW,
    Site,
    prepare,
    requests,
    state,
    tokens,
    write_documents,
)
from rag_platform_tests.servers.openai_api import KEY, Fault, OpenAIServer, failing
from rag_platform_tests.servers.openai_chat import Body
from rag_platform_tests.servers.seaweed import S3Server

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="needs the package ray")

_STORE_BYTES = 80_000_000
# Ray takes 127.0.0.1 for the address of the machine in its network, which no test may use.
_DRIVERS_ADDRESS, _OTHER_ADDRESS = "127.0.0.2", "127.0.0.3"
# A machine is dead after three seconds of silence; by default after twenty.
_QUICK = {
    "health_check_initial_delay_ms": 1_000,
    "health_check_period_ms": 1_000,
    "health_check_timeout_ms": 1_000,
    "health_check_failure_threshold": 3,
    # No processes that wait for work which never comes.
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
}
DOCUMENTS, TEXTS = 20, 61  # three passages each, and one that all share


class Machines:
    """The driver's machine and another; what they know of the site is in the environment."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._add(_DRIVERS_ADDRESS, include_dashboard=False, _system_config=_QUICK)
        self._other = self._add(_OTHER_ADDRESS)
        self.address = str(self._cluster.address)

    def _add(self, address: str, **options: Any) -> Any:
        return self._cluster.add_node(
            num_cpus=1, object_store_memory=_STORE_BYTES, node_ip_address=address, **options
        )

    def kill(self) -> None:
        """Every process of the other machine, at once."""
        [raylet] = self._other.all_processes["raylet"]
        process = psutil.Process(raylet.process.pid)
        for one in [*process.children(recursive=True), process]:
            one.kill()

    def close(self) -> None:
        """End both."""
        self._cluster.shutdown()


class Service:
    """Embeds like the server, but holds the first requests until two of them are there: then
    `both` is called, with two workers in the middle of a batch."""

    def __init__(self, server: OpenAIServer, both: Callable[[], None]) -> None:
        self._server = server
        self._embed = server.endpoints["/v1/embeddings"]
        self._barrier = Barrier(2, action=both, timeout=60)

    def __call__(self, body: Body, fault: str) -> Body:
        if not self._barrier.broken and self._barrier.n_waiting < 2:
            with contextlib.suppress(BrokenBarrierError):
                self._barrier.wait()
                self._barrier.abort()  # once
        return self._embed(body, fault)

    def __enter__(self) -> "Service":
        self._server.endpoints["/v1/embeddings"] = self
        return self

    def __exit__(self, *_: object) -> None:
        self._server.endpoints["/v1/embeddings"] = self._embed


@dataclass(frozen=True)
class Setting:
    """The site that the cluster works for, and how to have another like it beside."""

    site: Site
    documents: Path
    server: OpenAIServer
    machines: Machines
    stores: Callable[[], dict[str, Any]]


@pytest.fixture
def setting(
    tmp_path: Path, postgres_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setting]:
    root = tmp_path / "cluster"
    write_documents(root / "docs", DOCUMENTS)
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")

    def stores() -> dict[str, Any]:
        name = f"compute_{uuid.uuid4().hex}"
        with engine.connect() as connection:
            connection.execute(sa.text(f"create database {name}"))
        catalog = sa.make_url(postgres_url).set(database=name)
        return {
            "catalog": catalog.render_as_string(hide_password=False),
            "storage": f"s3://{s3_server.make_bucket()}/pages",
            "s3": {"endpoint_url": s3_server.endpoint},
        }

    with OpenAIServer() as server:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
        site = Site(root / "site", root / "docs", server, **stores())
        for name, value in site.environ.items():
            monkeypatch.setenv(name, value)
        machines = Machines()
        try:
            workers = {"min": 2, "max": 2}
            compute = {"engine": "ray", "address": machines.address, "workers": workers}
            site.configure(compute=compute | {"batch": 2 * BATCH})
            yield Setting(site, root / "docs", server, machines, stores)
        finally:
            machines.close()
    engine.dispose()


def test_with_a_machine_killed_and_a_unit_that_fails_the_state_is_as_ever(
    setting: Setting, tmp_path: Path
) -> None:
    server, site = setting.server, setting.site
    alone = Site(tmp_path / "alone", setting.documents, server, **setting.stores())
    others, parts = alone.platform(), site.platform()
    prepare(others)
    others.embeddings(SOURCE, INDEX).run(WINDOW)
    others.vector_index(SOURCE, INDEX).run(WINDOW)
    before = len(server.requests)
    bad = "Lamp 1 of house 7 is lit at dusk"

    def refuse(body: Body) -> Fault | None:
        return failing(400, "bad") if any(bad in text for text in body.get("input", ())) else None

    prepare(parts)
    server.refuse = refuse
    with Service(server, both=setting.machines.kill):
        helped = fill(parts, EMBEDDINGS, [WINDOW])[WINDOW]
    # One unit failed, and what the killed worker wrote is counted by nobody.
    assert TEXTS - 3 * BATCH <= helped.embedded_chunks < TEXTS
    embeddings = parts.embeddings(SOURCE, INDEX)
    with pytest.raises(EmbeddingServiceError, match="answered 400"):
        embeddings.run(WINDOW, filled=helped)
    server.refuse = None
    assert embeddings.run(WINDOW).embedded_chunks <= 2 * BATCH
    parts.vector_index(SOURCE, INDEX).run(WINDOW)

    assert state(parts) == state(others)
    sent = Counter(
        text
        for request in server.requests[before:]
        if request.status == 200
        for text in request.body.get("input", ())
    )
    again = [text for text, times in sent.items() if times > 1]
    assert len(sent) == TEXTS
    assert 0 < len(again) <= BATCH  # what the killed worker had sent and not yet written
    assert max(sent.values()) == 2
    assert tokens(parts) == tokens(others)
    assert requests(parts)["reserved"] == 1  # may have been billed
    parts.close()
    others.close()
