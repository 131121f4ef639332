"""The training of one model, week by week: each stage reads what the one before it has kept.

What a stage found stands as JSON in the object store, below `training/MODEL/weeks/WEEK`; the rows
lie there by the hash of their content, the models in MLflow. A stage that is run again does again
only what it must: the same rows and trainer are never fitted twice.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rag_platform.storage.letters import WindowLetters
from rag_platform.training.calendar import check_week, has_ended
from rag_platform.training.errors import NoSuchModel, UnusableData
from rag_platform.training.ledger import CHAMPION
from rag_platform.training.spec import SEED, ModelSpec
from rag_platform.training.stages import (
    CANDIDATE,
    DATA,
    DEPLOYED,
    DRIFT,
    EVALUATION,
    REGISTERED,
    Facts,
    NotTrained,
    Origin,
    letters_of,
    trainer_of,
)
from rag_platform.training.trainer import Services, Trainer
from rag_platform.training.unreadable import drift_from, twin_of

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.settings_training import ModelSettings
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.objects import S3Connection
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.drift.log import DriftLog
    from rag_platform.training.evaluation import Evaluation
    from rag_platform.training.packaging import Packaged
    from rag_platform.training.promotions import Promotions
    from rag_platform.training.registry import ModelRegistry, Version
    from rag_platform.training.snapshots import Snapshots, Weeks
    from rag_platform.training.task import Draw
    from rag_platform.training.validation import Check

# Another run of the same model is waited for: a training takes minutes.
_PATIENCE_S = 7_200.0


class Training:
    """The stages of one model, over one week at a time, by its key (`2026-11-23`)."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: "ModelSettings",
        *,
        catalog: "Catalog",
        snapshots: "Snapshots",
        weeks: "Weeks",
        registry: "ModelRegistry",
        promotions: "Promotions",
        s3: "S3Connection",
        services: Services,
    ) -> None:
        self.spec = spec
        self.settings = settings
        self.letters = WindowLetters(catalog, spec.name)
        self._catalog = catalog
        self._snapshots = snapshots
        self._weeks = weeks
        self._registry = registry
        self._promotions = promotions
        self._s3 = s3
        self._services = services

    @property
    def url(self) -> str:
        """Where the data comes from. Raises `UnusableData` where nothing says so."""
        found = self.settings.data or self._sample
        if found is None:
            raise UnusableData(
                f"{self.spec.name}: no sample comes with it; set models.{self.spec.name}.data in "
                "platform.yaml."
            )
        return found

    @property
    def _sample(self) -> str | None:
        path = self.spec.sample_path
        return path.as_uri() if path else None

    @property
    def trainer(self) -> Trainer:
        """The way to make the model that the settings name. Raises `NoSuchModel`."""
        return trainer_of(self.spec, self.settings.trainer)

    def stale(self, now: float) -> str | None:
        """Why the data is too old, or not there, to be trained on at a moment; None when it is.

        Raises `UnusableData`, and `SourceUnavailable` where it cannot be listed.
        """
        from rag_platform.training.data import newest

        if self.url == self._sample:
            return None
        modified = newest(self.url, self._s3)
        if modified is None:
            return f"{self.url}: no files"
        days = (now - modified) / 86_400
        most = self.settings.max_age_days
        if days > most:
            return f"its newest file is {days:.0f} days old, more than max_age_days, {most}"
        return None

    @property
    def gates(self) -> dict[str, float]:
        """The bounds of metrics: the model's own, and over them those of the settings."""
        return {**self.spec.gates, **self.settings.gates}

    def facts(self, stage: str, week: str) -> Facts:
        """What a stage found in a week. Raises `NotTrained`."""
        found = self.known(stage, check_week(week))
        if found is None:
            raise NotTrained(
                f"{self.spec.name}: {stage} has not run for week {week}; run it first."
            )
        return found

    def known(self, stage: str, week: str) -> Facts | None:
        """What a stage found in a week; None when it has not run."""
        return self._weeks.get(self.spec.name, week, stage)

    def evaluations(self) -> Iterator[tuple[str, Facts]]:
        """The weeks that were evaluated, newest first: each with its run_id, report and at."""
        for week in reversed(self._weeks.weeks(self.spec.name)):
            found = self.known(EVALUATION, week)
            if found is not None:
                yield week, found

    def newest_evaluation(self) -> Facts | None:
        """The report of the last week that was evaluated."""
        return next((dict(found["report"]) for _, found in self.evaluations()), None)

    # training_data

    def run_data(
        self, week: str, *, url: str | None = None, refresh: bool = False
    ) -> tuple[Facts, "list[Check]"]:
        """Read, check and keep the rows of a week; the checks say whether they may be used.

        A week that has ended keeps the rows that it has, unless `refresh` or another `url` asks
        for them anew. Rows that failed a check are not kept.
        """
        with self._alone(week):
            known = self.known(DATA, week)
            if known is not None and has_ended(week) and url is None and not refresh:
                self._snapshots.load(self.spec.name, known["sha256"])
                return known, _checks(known)
            return self._read(week, url or self.url)

    def _read(self, week: str, url: str) -> tuple[Facts, "list[Check]"]:
        from rag_platform.training.data import data_files
        from rag_platform.training.validation import validate

        now = time.time()
        with data_files(url, self._s3) as files:
            rows = self.spec.reader.read(files, labelled=True)
            modified = max(file.modified for file in files)
        found = validate(
            self.spec,
            rows,
            # The sample does not age: it is there to be tried out.
            modified=None if url == self._sample else modified,
            now=now,
            max_age_days=self.settings.max_age_days,
            max_bad_share=self.settings.max_bad_share,
        )
        self.letters.replace(DATA, week, letters_of(found.bad), fingerprint=url)
        facts: Facts = {
            "url": url,
            "modified": modified,
            "read_at": now,
            "rows": len(found.frame),
            "records": rows.records,
            "bad": len(found.bad),
            "checks": [asdict(check) for check in found.checks],
            "figures": found.figures,
        }
        if all(check.passed for check in found.checks):
            facts["sha256"] = self._snapshots.keep(self.spec.name, found.frame)
            self._keep(week, DATA, facts)
        return facts, found.checks

    def rows(self, week: str) -> "pd.DataFrame":
        """The rows of a week. Raises `NotTrained`, `UnusableData`."""
        return self._snapshots.load(self.spec.name, self.facts(DATA, week)["sha256"])

    # drift_report

    def run_drift(self, week: str) -> "tuple[Facts, DriftReport | None]":
        """The week's rows against those that the champion knows; None without a champion."""
        with self._alone(week):
            self.facts(DATA, week)
            champion = self._champion()
            report = self._drift(champion, self.rows(week)) if champion else None
            facts: Facts = {
                "champion": champion.number if champion else None,
                "report": report.as_json() if report else None,
            }
            self._keep(week, DRIFT, facts)
            if report is not None:
                # The training that drift would ask for is this one.
                self._log(week, report).asked(self.spec.name, time.time())
            return facts, report

    def look(self, week: str) -> "DriftReport | None":
        """Drift of the data as it lies there now, without keeping it: for models that rest."""
        from rag_platform.training.data import data_files

        champion = self._champion()
        if champion is None:
            return None
        with data_files(self.url, self._s3) as files:
            rows = self.spec.reader.read(files, labelled=True)
        report = self._drift(champion, rows.frame)
        self._log(week, report)
        return report

    def _drift(self, champion: "Version", rows: "pd.DataFrame") -> "DriftReport":
        return drift_from(lambda: self._package(champion), rows)

    def _log(self, week: str, report: "DriftReport") -> "DriftLog":
        from rag_platform.training.drift.log import DriftLog

        log = DriftLog(self._catalog)
        log.record(self.spec.name, "training", week, report)
        return log

    # candidate_model

    def run_candidate(self, week: str, origin: Origin) -> Facts:
        """Fit a candidate on the week's rows, or find the one that was fitted on them before."""
        with self._alone(week):
            data = self.facts(DATA, week)
            fingerprint = self._fingerprint(data["sha256"])
            started = time.monotonic()
            known = self._registry.find(self.spec.name, fingerprint)
            run_id = known or self._fit(week, data, fingerprint, origin)
            facts: Facts = {
                "run_id": run_id,
                "sha256": data["sha256"],
                "fingerprint": fingerprint,
                "reused": known is not None,
                "seconds": round(time.monotonic() - started, 3),
                "url": self._registry.run_url(run_id),
            }
            self._keep(week, CANDIDATE, facts)
            return facts

    def _fingerprint(self, sha256: str) -> str:
        """Everything that decides a candidate."""
        trainer = self.trainer.fingerprint(self._services)
        parts = (self.spec.name, self.settings.trainer, trainer, sha256, SEED)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _fit(self, week: str, data: Facts, fingerprint: str, origin: Origin) -> str:
        from rag_platform.training.drift.profile import Profile
        from rag_platform.training.packaging import Manifest, pack

        rows, trainer = self.rows(week), self.trainer
        held_back = self.spec.task.holdout(rows)
        model = trainer.fit(rows, seed=SEED, services=self._services)
        twin = trainer.fit(rows[~held_back], seed=SEED, services=self._services)
        # Of rows that the model has not seen: so its scores will be distributed when it serves.
        predictions = twin.predict(rows[held_back])
        manifest = Manifest(
            model=self.spec.name,
            trainer=self.settings.trainer,
            fingerprint=fingerprint,
            data_sha256=data["sha256"],
            rows=len(rows),
            week=week,
        )
        with TemporaryDirectory(prefix="candidate-") as folder:
            package = Path(folder) / "package"
            profile = Profile.of(rows, predictions[list(self.spec.task.watched_columns)])
            pack(package, manifest=manifest, model=model, twin=twin, profile=profile)
            return self._registry.log_candidate(
                self.spec,
                manifest,
                package,
                parameters=model.parameters(),
                tags=origin.tags(),
                example=rows[held_back].head(5),
                predictions=predictions.head(5),
            )

    # evaluation

    def run_evaluation(self, week: str) -> "tuple[Evaluation, Mapping[str, Draw]]":
        """Measure the candidate by its folds, and against the champion; keep all of it."""
        from rag_platform.pictures import png_bytes
        from rag_platform.training.evaluation import evaluate, figures

        with self._alone(week):
            candidate = self._candidate(week)
            rows = self.rows(week)
            twin = self._unpacked(self._registry.run_folder(candidate["run_id"])).twin
            champion = self._champion()
            evaluation = evaluate(
                self.spec,
                self.trainer,
                rows,
                gates=self.gates,
                twin=twin,
                champion=twin_of(lambda: self._package(champion)) if champion else None,
                champion_version=champion.number if champion else None,
                seed=SEED,
                services=self._services,
            )
            held_back = rows[self.spec.task.holdout(rows)]
            draws = figures(self.spec, held_back, twin.predict(held_back), evaluation)
            report = evaluation.as_json()
            self._registry.log_evaluation(
                candidate["run_id"],
                {name: estimate.value for name, estimate in evaluation.metrics.items()},
                {name: png_bytes(draw) for name, draw in draws.items()},
                report,
            )
            self._keep(week, EVALUATION, {"run_id": candidate["run_id"], "report": report})
            return evaluation, draws

    def _candidate(self, week: str) -> Facts:
        """The week's candidate, where it was made of the rows that the week has now."""
        candidate = self.facts(CANDIDATE, week)
        if candidate["sha256"] != self.facts(DATA, week)["sha256"]:
            raise NotTrained(
                f"{self.spec.name}: the candidate of week {week} was made of other rows than the "
                f"week has now; run {CANDIDATE} first."
            )
        return candidate

    # registered_model

    def run_registration(self, week: str, origin: Origin) -> "Version":
        """Register the candidate whose evaluation passed. Raises `NotTrained` for any other."""
        with self._alone(week):
            candidate, evaluation = self._candidate(week), self.facts(EVALUATION, week)
            failed = [row["told"] for row in evaluation["report"]["verdicts"] if not row["passed"]]
            if evaluation["run_id"] != candidate["run_id"] or failed:
                why = "; ".join(failed) or "it was made of another candidate"
                raise NotTrained(
                    f"{self.spec.name}: the evaluation of week {week} does not let the candidate "
                    f"pass ({why}); run {EVALUATION} first."
                )
            version = self._registry.register(
                self.spec.name,
                candidate["run_id"],
                description=f"{self.spec.description} Week {week}.",
                tags=origin.tags(),
            )
            facts = {"version": version.number, "run_id": version.run_id}
            self._keep(week, REGISTERED, facts)
            return version

    # deployment

    def run_deployment(self, week: str, origin: Origin, *, actor: str = "training") -> Facts:
        """Let the registered version serve: as champion if it is the first, else in shadow."""
        with self._alone(week):
            registered = self.facts(REGISTERED, week)
            if registered["run_id"] != self._candidate(week)["run_id"]:
                raise NotTrained(
                    f"{self.spec.name}: the registered version of week {week} is not its "
                    f"candidate; run {REGISTERED} first."
                )
            version = self._registry.version(self.spec.name, registered["version"])
            if version is None:
                raise NoSuchModel(f"{self.spec.name}: version {registered['version']} is gone.")
            report = self.facts(EVALUATION, week)["report"]
            arm = self._promotions.enter(
                self.spec.name,
                version.number,
                actor=actor,
                run_id=origin.run_id,
                reason=f"passed its gates in week {week}",
                facts={"verdicts": report["verdicts"]},
            )
            facts = {
                "version": version.number,
                "run_id": version.run_id,
                "arm": arm,
                "url": self._registry.version_url(version),
            }
            self._keep(week, DEPLOYED, facts)
            return facts

    # What stages share

    def _keep(self, week: str, stage: str, facts: Facts) -> None:
        self._weeks.put(self.spec.name, week, stage, {**facts, "at": time.time()})

    def version_url(self, version: "Version") -> str | None:
        """Where a version can be looked at in MLflow; None for a database."""
        return self._registry.version_url(version)

    def _champion(self) -> "Version | None":
        return self._registry.version(self.spec.name, CHAMPION)

    def _package(self, version: "Version") -> "Packaged":
        return self._unpacked(self._registry.folder(version))

    def _unpacked(self, folder: Path) -> "Packaged":
        from rag_platform.training.packaging import unpack

        return unpack(folder, self.spec, self._services)

    @contextmanager
    def _alone(self, week: str) -> Iterator[None]:
        check_week(week)  # a part of paths
        with self._catalog.exclusive(f"models-{self.spec.name}", timeout_s=_PATIENCE_S):
            yield


def _checks(facts: Facts) -> "list[Check]":
    from rag_platform.training.validation import Check

    return [Check(**check) for check in facts["checks"]]
