"""The models in MLflow: candidates as runs, versions with their aliases, packages on disk.

MLflow is reached by its client alone, and nothing that lies there is run: a package is downloaded,
checked against the hash that the ledger has of it, and loaded by our own trainers. Others load the
same version with `mlflow.pyfunc.load_model("models:/NAME@champion")`, see `serving.py`.
"""

import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.mlflow import explained, is_server, mlflow_client
from rag_platform.storage.objects import display_url
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable
from rag_platform.training.ledger import Decision, Ledger, Promotion
from rag_platform.training.packages import Packages
from rag_platform.training.packaging import Manifest, UnusablePackage, manifest_sha256
from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODEL = "rag_platform.model"
FINGERPRINT = "rag_platform.fingerprint"
SHA256 = "rag_platform.sha256"
REPORT = "evaluation.json"

_ARTIFACT = "model"
_PACKAGE = "package"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PAGE = 100
# A transformer of 90 MB to a server far away.
_PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version. `created_at` is in UTC seconds since 1970."""

    model: str
    number: str
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0


class ModelRegistry:
    """Candidates and versions of all models. Every method may raise `RegistryUnavailable`.

    `uri` is MLflow's address; where it is a database, artifacts lie below `home`. What was
    downloaded is kept there too, by the hash of its manifest.
    """

    def __init__(self, uri: str, *, home: Path, catalog: Catalog) -> None:
        self.uri = uri
        self._home = home / "models"
        self._catalog = catalog
        self._ledger = Ledger(catalog)
        self._packages = Packages(self._home / "packages")

    # Candidates

    def find(self, model: str, fingerprint: str) -> str | None:
        """The run of a finished candidate whose package is whole; None where there is none."""
        with self._client(model) as client:
            return self._find(client, model, fingerprint)

    def log_candidate(
        self,
        spec: ModelSpec,
        manifest: Manifest,
        package: Path,
        *,
        parameters: Mapping[str, str | int | float | bool],
        tags: Mapping[str, str],
        example: "pd.DataFrame",
        predictions: "pd.DataFrame",
    ) -> str:
        """Keep a package as a finished run; returns the run's id.

        `example` are a few rows and `predictions` what the model says to them: the signature.
        A candidate of the same fingerprint is found, not kept twice; runs of processes that died
        are marked as killed.
        """
        from rag_platform.training.serving import write_model

        with self._client(spec.name) as client, self._alone(spec.name):
            from mlflow.entities import Param

            known = self._find(client, spec.name, manifest.fingerprint)
            if known is not None:
                return known
            experiment = self._experiment(client, spec.name)
            _bury(client, experiment)
            run: str = client.create_run(
                experiment,
                run_name=f"{manifest.week} {manifest.trainer}",
                tags={**tags, **_tags(spec, manifest, package)},
            ).info.run_id
            chosen = {**parameters, "trainer": manifest.trainer}
            client.log_batch(
                run, params=[Param(_key(name), str(value)[:500]) for name, value in chosen.items()]
            )
            with tempfile.TemporaryDirectory(prefix="model-") as folder:
                write_model(Path(folder) / _ARTIFACT, spec, package, run, example, predictions)
                client.log_artifacts(run, str(Path(folder) / _ARTIFACT), _ARTIFACT)
            client.set_terminated(run, "FINISHED")
            return run

    def log_evaluation(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        figures: Mapping[str, bytes],
        report: Mapping[str, Any],
    ) -> None:
        """Keep what was measured of a candidate; a later evaluation takes the place of this one."""
        with self._client(run_id) as client:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            client.log_batch(
                run_id, [Metric(_key(name), value, now, 0) for name, value in finite.items()]
            )
            client.log_dict(run_id, dict(report), REPORT)
            with tempfile.TemporaryDirectory(prefix="figures-") as folder:
                for name, png in figures.items():
                    (Path(folder) / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.png").write_bytes(png)
                if figures:
                    client.log_artifacts(run_id, folder, "figures")

    def report(self, run_id: str) -> dict[str, Any] | None:
        """The evaluation of a candidate as it was kept; None where it has none."""
        import json

        with self._client(run_id) as client, tempfile.TemporaryDirectory() as folder:
            if not any(each.path == REPORT for each in client.list_artifacts(run_id)):
                return None
            path = Path(client.download_artifacts(run_id, REPORT, folder))
            found = json.loads(path.read_text("utf-8"))
            return found if isinstance(found, dict) else None

    # Versions

    def register(
        self, model: str, run_id: str, *, description: str, tags: Mapping[str, str]
    ) -> Version:
        """Make a finished candidate a version, and note its hash in the ledger.

        A candidate is registered once, however often and by how many processes at a time this is
        called. Raises `NoSuchModel` for a run that is no finished candidate of the model.
        """
        with self._client(model) as client, self._alone(model):
            run = _candidate(client, model, run_id)
            found = _same(_versions(client, model), run)
            if found is None:
                _ensure_model(client, model)
                kept = {name: run.data.tags[name] for name in (MODEL, FINGERPRINT, SHA256)}
                made = client.create_model_version(
                    model,
                    f"runs:/{run_id}/{_ARTIFACT}",
                    run_id,
                    tags={**tags, **kept},
                    description=description,
                )
                found = _version(made)
            self._note(found)
            return found

    def version(self, model: str, alias_or_number: str) -> Version | None:
        """A version by its number or by `champion` or `challenger`; None where there is none."""
        with self._client(model) as client:
            try:
                if re.fullmatch(r"[0-9]+", alias_or_number):
                    return _version(client.get_model_version(model, alias_or_number))
                return _version(client.get_model_version_by_alias(model, alias_or_number))
            except Exception as error:
                if _is_absent(error):
                    return None
                raise

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first."""
        with self._client(model) as client:
            return _versions(client, model)

    def registered(self, model: str, number: str) -> Version | None:
        """A version as the ledger knows it, without asking MLflow."""
        row = self._ledger.registration(model, number)
        if row is None:
            return None
        return Version(model, number, row.facts["run_id"], {SHA256: row.facts["sha256"]}, row.at)

    # Aliases

    def aliases(self, model: str) -> dict[str, str]:
        """The numbers of the versions that have an alias."""
        with self._client(model) as client:
            try:
                found = client.get_registered_model(model).aliases
            except Exception as error:
                if _is_absent(error):
                    return {}
                raise
            return {alias: str(number) for alias, number in found.items()}

    def set_alias(self, model: str, alias: str, number: str) -> None:
        """Point an alias at a version: one step, seen by everybody at once."""
        with self._client(model) as client:
            client.set_registered_model_alias(model, alias, number)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; nothing where there is none."""
        with self._client(model) as client:
            client.delete_registered_model_alias(model, alias)

    def tag_version(self, model: str, number: str, key: str, value: str) -> None:
        """Write a tag of a version."""
        with self._client(model) as client:
            client.set_model_version_tag(model, number, key, value)

    # Packages

    def folder(self, version: Version) -> Path:
        """The checked package of a version.

        Raises `UnusablePackage` unless it is, file by file, what was registered here. What was
        downloaded before is used without MLflow.
        """
        name = f"{version.model} version {version.number}"
        known = self.registered(version.model, version.number)
        if known is None:
            raise UnusablePackage(
                f"{name}: was not registered by this platform, so nothing says what it must hold. "
                "Train it here."
            )
        if version.tags.get(SHA256) != known.tags[SHA256] or version.run_id != known.run_id:
            raise UnusablePackage(
                f"{name}: MLflow says another run or hash than was registered: it was changed. "
                "Train again, or roll back."
            )
        return self._fetched(version.model, version.run_id, known.tags[SHA256])

    def run_folder(self, run_id: str) -> Path:
        """The checked package of a candidate, registered or not."""
        with self._client(run_id) as client:
            tags = client.get_run(run_id).data.tags
            if MODEL not in tags or SHA256 not in tags:
                raise NoSuchModel(f"run {run_id}: is no candidate of a model.")
        return self._fetched(tags[MODEL], run_id, tags[SHA256])

    def run_url(self, run_id: str) -> str | None:
        """Where a run is looked at; None where MLflow is a database without a server."""
        if not is_server(self.uri):
            return None
        with self._client(run_id) as client:
            experiment = client.get_run(run_id).info.experiment_id
        return f"{display_url(self.uri).rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"

    def version_url(self, version: Version) -> str | None:
        """Where a version is looked at; None likewise."""
        if not is_server(self.uri):
            return None
        base = display_url(self.uri).rstrip("/")
        return f"{base}/#/models/{version.model}/versions/{version.number}"

    # How it is done

    @contextmanager
    def _client(self, about: str) -> Iterator["MlflowClient"]:
        with explained(self.uri, about, RegistryUnavailable):
            yield mlflow_client(self.uri)

    @contextmanager
    def _alone(self, model: str) -> Iterator[None]:
        with self._catalog.exclusive(f"registry-{model}", timeout_s=_PATIENCE_S):
            yield

    def _experiment(self, client: "MlflowClient", model: str) -> str:
        name = f"rag_platform/{model}"
        found = client.get_experiment_by_name(name)
        if found is None:
            place = None if is_server(self.uri) else (self._home / "artifacts" / model).as_uri()
            return str(client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find(self, client: "MlflowClient", model: str, fingerprint: str) -> str | None:
        experiment = client.get_experiment_by_name(f"rag_platform/{model}")
        if experiment is None:
            return None
        runs = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{FINGERPRINT}` = '{fingerprint}' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
        )
        return next((run.info.run_id for run in runs if self._is_whole(model, run)), None)

    def _is_whole(self, model: str, run: "Run") -> bool:
        try:
            self._fetched(model, run.info.run_id, run.data.tags.get(SHA256, ""))
        except UnusablePackage:
            return False
        return True

    def _note(self, version: Version) -> Promotion:
        """The ledger's row of a registration; added where there is none."""
        known = self._ledger.registration(version.model, version.number)
        if known is not None:
            return known
        facts = {"run_id": version.run_id, "sha256": version.tags[SHA256]}
        decision = Decision("registered", "training", "passed its evaluation", facts=facts)
        champion = self._ledger.champion(version.model)
        with self._catalog.begin() as connection:
            return self._ledger.add(
                connection, version.model, version.number, decision, champion=champion
            )

    def _fetched(self, model: str, run_id: str, sha256: str) -> Path:
        about = f"{model}, run {run_id}"
        place = f"{_ARTIFACT}/data/{_PACKAGE}"

        def download(folder: Path) -> Path:
            with self._client(model) as client:
                if not client.list_artifacts(run_id, place):
                    raise UnusablePackage(f"{about}: its package is gone. Train again.")
                return Path(client.download_artifacts(run_id, place, str(folder)))

        return self._packages.get(sha256, download, about=about)


def _tags(spec: ModelSpec, manifest: Manifest, package: Path) -> dict[str, str]:
    return {
        MODEL: manifest.model,
        FINGERPRINT: manifest.fingerprint,
        SHA256: manifest_sha256(package),
        "rag_platform.week": manifest.week,
        "rag_platform.data_sha256": manifest.data_sha256,
        "rag_platform.rows": str(manifest.rows),
        "rag_platform.trainer": manifest.trainer,
        "rag_platform.trainer_fingerprint": spec.trainers[manifest.trainer].fingerprint()[:5_000],
    }


def _bury(client: "MlflowClient", experiment: str) -> None:
    """Mark runs as killed that nobody will finish: who logs holds the lock, and that is us."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if MODEL in run.data.tags:
            client.set_terminated(run.info.run_id, "KILLED")


def _candidate(client: "MlflowClient", model: str, run_id: str) -> "Run":
    try:
        run = client.get_run(run_id)
    except Exception as error:
        if _is_absent(error):
            raise NoSuchModel(f"{model}: there is no run {run_id}.") from error
        raise
    if run.data.tags.get(MODEL) != model or run.info.status != "FINISHED":
        raise NoSuchModel(f"{model}: run {run_id} is no finished candidate of it.")
    return run


def _same(versions: list[Version], run: "Run") -> Version | None:
    """The version that was made of a run, or of another one with the same package."""
    for version in versions:
        if run.info.run_id == version.run_id or version.tags.get(SHA256) == run.data.tags[SHA256]:
            return version
    return None


def _ensure_model(client: "MlflowClient", model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model, tags={MODEL: model})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: "MlflowClient", model: str) -> list[Version]:
    found: list[Version] = []
    token = None
    while True:
        page = client.search_model_versions(
            f"name = '{model}'", max_results=_PAGE, page_token=token
        )
        found += [_version(each) for each in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.number))


def _version(found: "ModelVersion") -> Version:
    return Version(
        found.name,
        str(found.version),
        found.run_id or "",
        dict(found.tags),
        found.creation_timestamp / 1000,
    )


def _is_absent(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _ABSENT


def _key(name: str) -> str:
    """A name of a metric or a parameter as MLflow takes it."""
    return re.sub(r"[^\w\-. :]", "_", name)[:250]
