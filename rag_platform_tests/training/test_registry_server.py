"""The registry on a real MLflow server, and what serves while the server is away."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.training.errors import RegistryUnavailable
from rag_platform.training.packaging import UnusablePackage, unpack
from rag_platform.training.predictor import Predictor
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry
from rag_platform_tests.servers.mlflow import MlflowServer, mlflow_server
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.training.put import Put
from rag_platform_tests.training.tiny import NAME, SERVICES, SPEC, TinyModel, tiny_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def server(mlflow_template: Path, tmp_path: Path) -> Iterator[MlflowServer]:
    (tmp_path / "server").mkdir()
    shutil.copyfile(mlflow_template, tmp_path / "server" / "mlflow.db")
    [port] = free_ports(1)
    with mlflow_server(tmp_path / "server", port) as running:
        yield running


def test_a_server_and_its_outages(
    server: MlflowServer,
    tmp_path: Path,
    catalog: Catalog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = ModelRegistry(server.uri, home=tmp_path / "home", catalog=catalog)
    promotions = Promotions(catalog, registry, Outbox(catalog))
    put, rows = Put(registry), tiny_rows(100)

    first, second, third = (put(threshold) for threshold in (0.1, 0.2, 0.3))
    assert put(0.1) == first
    assert [each.number for each in registry.versions(NAME)] == ["1", "2", "3"]
    assert unpack(registry.folder(first), SPEC, SERVICES).model == TinyModel(0.1)
    registry.log_evaluation(first.run_id, {"accuracy": 0.9}, {"a": b"png"}, {"n": 1})
    assert registry.report(first.run_id) == {"n": 1}
    for url in (registry.run_url(first.run_id), registry.version_url(first)):
        assert url is not None
        assert url.startswith(f"{server.uri}/#/")
    assert httpx.get(server.uri, follow_redirects=True).status_code == 200
    assert registry.version(NAME, "champion") is registry.version(NAME, "9") is None
    assert registry.version("nothing", "champion") is None
    assert registry.aliases("nothing") == {}

    for version in (first, second):
        promotions.promote(NAME, version.number, actor="ann", reason="good")
    promotions.enter(NAME, third.number, actor="training", reason="passed")
    assert registry.aliases(NAME) == {"champion": "2", "challenger": "3"}
    predictor = Predictor(SPEC, registry, promotions, SERVICES)
    before = predictor.predict(rows)
    assert set(before["version"]) == {"2"}

    # A server that hangs, and one that is gone.
    monkeypatch.setattr("rag_platform.storage.mlflow._REACH_S", 2.0)
    for end, most_s in ((signal.SIGSTOP, 10.0), (signal.SIGKILL, 5.0)):
        server.send(end)
        started = time.monotonic()
        assert predictor.predict(rows).equals(before)
        assert time.monotonic() - started < most_s
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable, match=server.uri):
            promotions.rollback(NAME, actor="ann", reason="bad")
        assert time.monotonic() - started < most_s
    assert "goes on serving: tiny_model: MLflow at" in caplog.text
    fresh = Predictor(SPEC, registry, promotions, SERVICES)
    assert fresh.predict(rows).equals(before)
    promotions.withdraw(NAME, actor="rollout", reason="errors")
    assert promotions.rollout(NAME) is None

    monkeypatch.undo()
    server.start()
    assert promotions.rollback(NAME, actor="ann", reason="bad").version == "1"
    assert registry.aliases(NAME) == {"champion": "1"}
    assert set(predictor.predict(rows)["version"]) == {"1"}

    for file in (server.folder / "artifacts").rglob("data/package/model/tiny.json"):
        file.write_text('{"threshold": 9.0}', "utf-8")
    shutil.rmtree(tmp_path / "home" / "models" / "packages")
    with pytest.raises(UnusablePackage, match="is not what was packed"):
        promotions.promote(NAME, "2", actor="ann", reason="again")
    assert set(predictor.predict(rows)["version"]) == {"1"}
