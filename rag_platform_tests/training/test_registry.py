"""Candidates and versions in a real MLflow: each once, and only what was registered is loaded."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.mlflow import mlflow_client
from rag_platform.training import catalogue, packages
from rag_platform.training import registry as module
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable
from rag_platform.training.ledger import Ledger
from rag_platform.training.packaging import UnusablePackage, unpack
from rag_platform.training.registry import FINGERPRINT, MODEL, SHA256, ModelRegistry, Version
from rag_platform_tests.training.put import Put, manifest, own
from rag_platform_tests.training.tiny import NAME, SERVICES, SPEC, TinyModel, tiny_rows

# Forked, since starting anew imports MLflow for seconds.
FORKS = multiprocessing.get_context("fork")


def artifacts(registry: ModelRegistry, run_id: str) -> Path:
    """Where the artifacts of a run lie on this machine."""
    uri = mlflow_client(registry.uri).get_run(run_id).info.artifact_uri
    return Path(str(uri).removeprefix("file://"))


def test_a_candidate_is_a_finished_run_with_all_that_made_it(
    registry: ModelRegistry, put: Put, tmp_path: Path
) -> None:
    run_id = put.candidate(0.5, {"dagster.run_id": "abc", "dagster.run_url": "http://d/runs/abc"})
    client = mlflow_client(registry.uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"threshold": "0.5", "trainer": "default"}
    said = manifest("0.5")
    expected = {
        MODEL: NAME,
        FINGERPRINT: said.fingerprint,
        "rag_platform.data_sha256": said.data_sha256,
        "rag_platform.week": "2026-11-23",
        "rag_platform.rows": "200",
        "rag_platform.trainer_fingerprint": SPEC.trainers["default"].fingerprint(),
        "dagster.run_id": "abc",
        "dagster.run_url": "http://d/runs/abc",
    }
    assert expected.items() <= run.data.tags.items()
    assert client.get_experiment(run.info.experiment_id).name == f"rag_platform/{NAME}"
    kept = artifacts(registry, run_id) / "model"
    assert kept.is_relative_to(tmp_path / "home")
    requirements = (kept / "requirements.txt").read_text("utf-8").splitlines()
    assert "numpy" in {line.partition("==")[0] for line in requirements}
    assert all(re.fullmatch(r"[\w-]+==[\w.+]+", line) for line in requirements)
    mlmodel = (kept / "MLmodel").read_text("utf-8")
    assert "cloudpickle" not in mlmodel
    assert "loader_module: rag_platform.training.serving" in mlmodel
    assert not list(kept.rglob("*.pkl"))
    assert json.loads((kept / "input_example.json").read_text("utf-8"))["columns"] == ["unit", "x"]
    assert "target" not in (kept / "MLmodel").read_text("utf-8")


def test_nothing_is_written_into_the_working_folder(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "uv.lock").write_text("", "utf-8")
    monkeypatch.chdir(work)
    put()
    assert [path.name for path in work.iterdir()] == ["uv.lock"]


def test_the_same_candidate_is_kept_once(registry: ModelRegistry, put: Put) -> None:
    assert registry.find(NAME, manifest("0.5").fingerprint) is None
    run_id = put.candidate(0.5)
    assert put.candidate(0.5) == run_id
    assert registry.find(NAME, manifest("0.5").fingerprint) == run_id
    assert put.candidate(0.6) != run_id
    assert registry.find(NAME, manifest("0.7").fingerprint) is None


def test_a_run_that_was_killed_is_not_found_and_is_buried(
    registry: ModelRegistry, put: Put
) -> None:
    client = mlflow_client(registry.uri)
    put.candidate(0.1)
    [experiment] = [each for each in client.search_experiments() if NAME in each.name]
    tags = {MODEL: NAME, FINGERPRINT: manifest("0.5").fingerprint, SHA256: "0" * 64}
    killed = client.create_run(experiment.experiment_id, tags=tags).info.run_id
    of_another = client.create_run(experiment.experiment_id).info.run_id
    assert registry.find(NAME, manifest("0.5").fingerprint) is None
    run_id = put.candidate(0.5)
    assert run_id != killed
    assert client.get_run(killed).info.status == "KILLED"
    assert client.get_run(of_another).info.status == "RUNNING"


def test_a_candidate_whose_package_was_changed_is_made_anew(
    registry: ModelRegistry, put: Put
) -> None:
    first = put.candidate(0.5)
    tamper(registry, first)
    assert registry.find(NAME, manifest("0.5").fingerprint) is None
    second = put.candidate(0.5)
    assert second != first
    assert unpack(registry.run_folder(second), SPEC, SERVICES).model == TinyModel(0.5)


def test_an_evaluation_is_kept_and_replaced(registry: ModelRegistry, put: Put) -> None:
    run_id = put.candidate()
    assert registry.report(run_id) is None
    first = {"accuracy": 0.5, "f1:is it?/x": 0.25, "nothing": float("nan")}
    registry.log_evaluation(run_id, first, {"cost (USD)": b"png", "b": b"png"}, {"n": 1})
    registry.log_evaluation(run_id, {"accuracy": 0.75}, {"b": b"more"}, {"n": 2})
    data = mlflow_client(registry.uri).get_run(run_id).data
    assert data.metrics == {"accuracy": 0.75, "f1:is it__x": 0.25}
    assert registry.report(run_id) == {"n": 2}
    figures = artifacts(registry, run_id) / "figures"
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == {
        "cost_USD_.png": b"png",
        "b.png": b"more",
    }


def test_a_candidate_is_registered_once(
    registry: ModelRegistry, put: Put, catalog: Catalog
) -> None:
    run_id = put.candidate()
    first = registry.register(NAME, run_id, description="Week 1.", tags={"dagster.run_id": "abc"})
    again = registry.register(NAME, run_id, description="Week 1.", tags={})
    assert (first.model, first.number, first.run_id) == (NAME, "1", run_id)
    assert again == first == registry.version(NAME, "1")
    assert registry.versions(NAME) == [first]
    assert first.tags["dagster.run_id"] == "abc"
    assert abs(first.created_at - time.time()) < 600
    [row] = Ledger(catalog).rows(NAME)
    assert (row.action, row.version, row.champion) == ("registered", "1", None)
    assert row.facts == {"run_id": run_id, "sha256": first.tags[SHA256]}
    known = registry.registered(NAME, "1")
    assert known is not None
    assert (known.run_id, known.tags[SHA256]) == (run_id, first.tags[SHA256])


def test_the_same_package_of_another_run_is_the_same_version(
    registry: ModelRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(0.5)
    monkeypatch.setattr(ModelRegistry, "_find", lambda *_: None)
    other = put.candidate(0.5)
    assert other != version.run_id
    assert registry.register(NAME, other, description="", tags={}) == version


def test_only_a_finished_candidate_is_registered(registry: ModelRegistry, put: Put) -> None:
    run_id = put.candidate()
    with pytest.raises(NoSuchModel, match="there is no run nothing"):
        registry.register(NAME, "nothing", description="", tags={})
    with pytest.raises(NoSuchModel, match="is no finished candidate"):
        registry.register("other_model", run_id, description="", tags={})
    mlflow_client(registry.uri).set_terminated(run_id, "FAILED")
    with pytest.raises(NoSuchModel, match="is no finished candidate"):
        registry.register(NAME, run_id, description="", tags={})
    assert registry.versions(NAME) == []


def test_versions_over_several_pages(
    registry: ModelRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    for threshold in range(5):
        put(float(threshold))
    assert [version.number for version in registry.versions(NAME)] == ["1", "2", "3", "4", "5"]


def test_what_there_is_not(registry: ModelRegistry, put: Put) -> None:
    assert registry.version(NAME, "champion") is None
    assert registry.aliases(NAME) == {}
    put()
    for alias_or_number in ("champion", "7", "nonsense", "²"):
        assert registry.version(NAME, alias_or_number) is None
    assert registry.aliases(NAME) == {}


def tamper(registry: ModelRegistry, run_id: str) -> None:
    """Change a model in MLflow's artifacts, and forget what was downloaded."""
    file = artifacts(registry, run_id) / "model" / "data" / "package" / "model" / "tiny.json"
    file.write_text('{"threshold": -9.0}', "utf-8")
    shutil.rmtree(registry._home / "packages", ignore_errors=True)


def test_a_package_is_downloaded_once_and_read_without_mlflow(
    registry: ModelRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(0.25)
    folder = registry.folder(version)
    assert unpack(folder, SPEC, SERVICES).model == TinyModel(0.25)
    assert registry.run_folder(version.run_id) == folder

    def away(uri: str) -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr(module, "mlflow_client", away)
    assert registry.folder(version) == folder
    with pytest.raises(RegistryUnavailable, match=r"mlflow\.tracking_uri"):
        registry.version(NAME, "1")


def test_what_lies_on_the_disk_is_checked_each_time(registry: ModelRegistry, put: Put) -> None:
    version = put(0.25)
    (registry.folder(version) / "model" / "tiny.json").write_text('{"threshold": 9.0}', "utf-8")
    assert unpack(registry.folder(version), SPEC, SERVICES).model == TinyModel(0.25)


def in_artifacts(registry: ModelRegistry, version: Version) -> None:
    tamper(registry, version.run_id)


def of_the_tags(registry: ModelRegistry, version: Version) -> None:
    """As somebody would who may write to MLflow: another package, and its right hash."""
    other = Put(registry).candidate(9.0)
    tags = mlflow_client(registry.uri).get_run(other).data.tags
    registry.tag_version(NAME, version.number, SHA256, tags[SHA256])


def gone(registry: ModelRegistry, version: Version) -> None:
    shutil.rmtree(artifacts(registry, version.run_id) / "model" / "data")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_artifacts, "'model/tiny.json' is not what was packed"),
        (of_the_tags, "another run or hash than was registered"),
        (gone, "its package is gone"),
    ],
)
def test_a_version_that_was_changed_is_refused(
    registry: ModelRegistry,
    put: Put,
    change: Callable[[ModelRegistry, Version], None],
    said: str,
) -> None:
    change(registry, put(0.5))
    version = registry.version(NAME, "1")
    assert version is not None
    with pytest.raises(UnusablePackage, match=said):
        registry.folder(version)


def test_a_version_that_others_registered_is_refused(registry: ModelRegistry, put: Put) -> None:
    put(0.5)
    run_id = put.candidate(0.7)
    client = mlflow_client(registry.uri)
    tags = {SHA256: client.get_run(run_id).data.tags[SHA256]}
    client.create_model_version(NAME, f"runs:/{run_id}/model", run_id, tags=tags)
    foreign = registry.version(NAME, "2")
    assert foreign is not None
    with pytest.raises(UnusablePackage, match="was not registered by this platform"):
        registry.folder(foreign)


def test_old_packages_leave_the_disk(
    registry: ModelRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_KEPT", 2)
    folders = []
    for number in range(4):
        folder = registry.folder(put(float(number)))
        os.utime(folder, (number, number))
        folders.append(folder)
    assert [folder.is_dir() for folder in folders] == [False, False, True, True]
    assert registry.folder(put(0.0)).is_dir()


def test_addresses_of_a_database_and_of_a_server(registry: ModelRegistry, tmp_path: Path) -> None:
    version = Version(NAME, "3", "abc")
    assert registry.version_url(version) is registry.run_url("abc") is None
    server = ModelRegistry("https://u:p@mlflow/x/", home=tmp_path, catalog=registry._catalog)
    assert server.version_url(version) == f"https://mlflow/x/#/models/{NAME}/versions/3"


def test_outsiders_load_the_champion_through_mlflow(
    registry: ModelRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    put(-5.0)
    version = put(0.5)
    registry.set_alias(NAME, "champion", version.number)
    monkeypatch.setattr(catalogue, "model_spec", {NAME: SPEC}.__getitem__)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry.uri)
    try:
        served = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    finally:
        mlflow.set_tracking_uri(before)
    rows = tiny_rows(50)[["unit", "x"]]
    found = served.predict(rows)
    assert found["prediction"].tolist() == ["yes" if x >= 0.5 else "no" for x in rows["x"]]
    assert served.metadata.signature.outputs.input_names() == ["prediction", "score"]


def _registers(url: str, locks: Path, uri: str, home: Path, run_id: str, start: Any) -> None:
    registry = ModelRegistry(uri, home=home, catalog=Catalog(url, lock_folder=locks))
    start.wait()
    registry.register(NAME, run_id, description="", tags={})


def test_two_processes_register_one_version(
    registry: ModelRegistry, put: Put, catalog: Catalog, tmp_path: Path
) -> None:
    run_id = put.candidate()
    start = FORKS.Barrier(2)
    url, locks = str(catalog.url), catalog.lock_folder
    args = (url, locks, own(registry.uri), tmp_path / "home", run_id, start)
    processes = [FORKS.Process(target=_registers, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [version.number for version in registry.versions(NAME)] == ["1"]
    assert [row.action for row in Ledger(catalog).rows(NAME)] == ["registered"]


# Before each of these a process that registers is killed, and after the last.
_STEPS = {
    "create_run": ("mlflow.MlflowClient", "create_run"),
    "log_batch": ("mlflow.MlflowClient", "log_batch"),
    "log_artifacts": ("mlflow.MlflowClient", "log_artifacts"),
    "set_terminated": ("mlflow.MlflowClient", "set_terminated"),
    "create_registered_model": ("mlflow.MlflowClient", "create_registered_model"),
    "create_model_version": ("mlflow.MlflowClient", "create_model_version"),
    "add": ("rag_platform.training.ledger.Ledger", "add"),
}


def _dies(url: str, locks: Path, uri: str, home: Path, step: tuple[str, str], after: bool) -> None:
    import importlib

    where, _, name = step[0].rpartition(".")
    owner = getattr(importlib.import_module(where), name)
    method = getattr(owner, step[1])

    def deadly(*args: Any, **kwargs: Any) -> None:
        if after:
            method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, step[1], deadly)
    Put(ModelRegistry(uri, home=home, catalog=Catalog(url, lock_folder=locks)))(0.5)


@pytest.mark.parametrize(
    ("step", "after"), [*((step, False) for step in _STEPS), (next(reversed(_STEPS)), True)]
)
def test_a_kill_at_any_step_of_registering_leaves_nothing_twice(
    registry: ModelRegistry, put: Put, catalog: Catalog, tmp_path: Path, step: str, after: bool
) -> None:
    url, locks = str(catalog.url), catalog.lock_folder
    args = (url, locks, own(registry.uri), tmp_path / "home", _STEPS[step], after)
    process = FORKS.Process(target=_dies, args=args)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    version = put(0.5)
    assert registry.versions(NAME) == [version]
    assert unpack(registry.folder(version), SPEC, SERVICES).model == TinyModel(0.5)
    assert [row.action for row in Ledger(catalog).rows(NAME)] == ["registered"]
    client = mlflow_client(registry.uri)
    [experiment] = [each for each in client.search_experiments() if NAME in each.name]
    runs = client.search_runs([experiment.experiment_id])
    statuses = sorted(run.info.status for run in runs)
    assert statuses in (["FINISHED"], ["FINISHED", "KILLED"])
