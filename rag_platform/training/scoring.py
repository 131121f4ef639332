"""The rows of a day answered by the champion and, where there is one, by the challenger.

Below `training/MODEL/scores/date=DAY` lies one Parquet file, put in place whole: a row for each
record with its unit, who answered it (`served`), that answer, and both versions' answers under
`champion.` and `challenger.`. The rows themselves are kept by the hash of their content, so that a
label that comes weeks later is joined with the row as it was.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.documents.windows import Calendar
from rag_platform.errors import PlatformError
from rag_platform.storage.letters import Letter, WindowLetters
from rag_platform.training.errors import TrainingError
from rag_platform.training.guardrails import Answered, violations
from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.rollout import Arm, Decision, arm_of, decide
from rag_platform.training.spec import SEED, ModelSpec
from rag_platform.training.task import TARGET, UNIT
from rag_platform.training.trainer import Services

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.settings_training import ModelSettings
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.objects import S3Connection
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.ledger import Rollout
    from rag_platform.training.packaging import Packaged
    from rag_platform.training.promotions import Promotions
    from rag_platform.training.registry import ModelRegistry, Version
    from rag_platform.training.statistics import Comparison

SCORES = "scores"
# Labels of days further back decide no rollout any more.
LOOK_BACK_DAYS = 60
_PATIENCE_S = 3_600.0
_ACTOR = "rollout"


class NothingToScore(TrainingError):
    """A day that is none, or a model of which no version serves yet."""


class NoRows(NothingToScore):
    """A day without usable rows."""


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """What became of a day. `labelled` counts units of the last days whose label has come."""

    day: str
    rows: int
    bad: int
    champion: str
    challenger: str | None
    served_by_challenger: int
    labelled: int
    champion_answers: Answered
    challenger_answers: Answered | None
    drift: "DriftReport"
    comparison: "Comparison | None"
    violations: list[str]
    decision: Decision | None


@dataclass(frozen=True)
class _Arm:
    """A version with what it made of the day's rows; without predictions it failed on them."""

    version: "Version"
    package: "Packaged"
    answered: Answered
    predictions: "pd.DataFrame | None"
    error: str = ""


class Scoring:
    """The daily scores of one model."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: "ModelSettings",
        *,
        catalog: "Catalog",
        store: Any,
        registry: "ModelRegistry",
        promotions: "Promotions",
        s3: "S3Connection",
        services: Services,
    ) -> None:
        from rag_platform.training.snapshots import Snapshots

        self.spec = spec
        self.settings = settings
        self.letters = WindowLetters(catalog, spec.name)
        self._catalog = catalog
        self._store = store
        self._snapshots = Snapshots(store)
        self._registry = registry
        self._promotions = promotions
        self._s3 = s3
        self._services = services

    def run(self, day: str, *, run_id: str | None = None) -> ScoreFigures:
        """Answer the rows of a day, look at the guardrails, and carry out what follows.

        A day that is run again gives the same answers and counts once for the rollout. Raises
        `NoRows`, `NothingToScore` without a champion, and the champion's error.
        """
        _check(day)
        with self._catalog.exclusive(f"scores-{self.spec.name}", timeout_s=_PATIENCE_S):
            return self._run(day, run_id)

    def _run(self, day: str, run_id: str | None) -> ScoreFigures:
        rows, bad = self._rows(day)
        champion_version = self._registry.version(self.spec.name, CHAMPION)
        if champion_version is None:
            raise NothingToScore(
                f"{self.spec.name}: no version serves yet; train one: rag-platform train "
                f"{self.spec.name}."
            )
        rollout = self._promotions.rollout(self.spec.name)
        champion = self._answer(champion_version, rows)
        if champion.predictions is None:
            raise TrainingError(
                f"{self.spec.name}: champion {champion_version.number} cannot answer the rows of "
                f"{day}: {champion.error}"
            )
        challenger = self._challenger(rollout, rows)
        served = self._served(rows, rollout, challenger)
        arms: dict[str, _Arm] = {CHAMPION: champion}
        arms |= {CHALLENGER: challenger} if challenger else {}
        self._write(day, rows, arms, served)
        drift = _drift(champion, rows)
        self._log(day, drift)
        comparison, labelled = self._compare(champion, challenger)
        broken: list[str] = []
        decision = None
        if rollout is not None and challenger is not None:
            broken = violations(
                self.spec,
                self.settings.rollout,
                {**self.spec.gates, **self.settings.gates},
                champion=champion.answered,
                challenger=challenger.answered,
                rows=rows,
                champion_predictions=champion.predictions,
                challenger_predictions=challenger.predictions,
                champion_drift=drift,
                challenger_drift=_drift(challenger, rows)
                if challenger.predictions is not None
                else None,
                comparison=comparison,
            )
            decision = self._advance(day, rollout, challenger, len(rows), broken, run_id=run_id)
        return ScoreFigures(
            day=day,
            rows=len(rows),
            bad=bad,
            champion=champion_version.number,
            challenger=challenger.version.number if challenger else None,
            served_by_challenger=served.count(CHALLENGER),
            labelled=labelled,
            champion_answers=champion.answered,
            challenger_answers=challenger.answered if challenger else None,
            drift=drift,
            comparison=comparison,
            violations=broken,
            decision=decision,
        )

    def _rows(self, day: str) -> "tuple[pd.DataFrame, int]":
        """The rows of the files with the day in their name."""
        from rag_platform.training.data import data_files

        url = str(self.settings.scoring)
        with data_files(url, self._s3, only=lambda name: _CALENDAR.of_path(name) == day) as files:
            if not files:
                raise NoRows(
                    f"{url}: no file of {day}; the day stands in a file's name or folder, such as "
                    f"{day}.csv or date={day}/rows.parquet."
                )
            found = self.spec.reader.read(files, labelled=False)
        letters = [Letter(f"{bad.file}#{bad.number}", bad.reason, bad.detail) for bad in found.bad]
        self.letters.replace(SCORES, day, letters, fingerprint=url)
        if not len(found.frame):
            raise NoRows(f"{url}: the files of {day} hold no usable row.")
        return found.frame.reset_index(drop=True), len(found.bad)

    def _challenger(self, rollout: "Rollout | None", rows: "pd.DataFrame") -> _Arm | None:
        if rollout is None:
            return None
        version = self._registry.version(self.spec.name, rollout.challenger)
        return self._answer(version, rows) if version else None

    def _answer(self, version: "Version", rows: "pd.DataFrame") -> _Arm:
        """A version's answers to all rows. That it fails is for the caller to judge."""
        from rag_platform.training.packaging import unpack

        package = unpack(self._registry.folder(version), self.spec, self._services)
        started = time.monotonic()
        try:
            predictions = package.model.predict(rows)
        except PlatformError as error:
            if error.transient:
                raise
            answered = Answered(len(rows), len(rows), 0.0)
            return _Arm(version, package, answered, None, str(error))
        seconds = (time.monotonic() - started) / len(rows)
        failed = int(predictions["prediction"].isna().sum())
        return _Arm(version, package, Answered(len(rows), failed, seconds), predictions)

    def _served(
        self, rows: "pd.DataFrame", rollout: "Rollout | None", challenger: _Arm | None
    ) -> list[Arm]:
        """Who answers each row: the champion all of them where the challenger has no answers."""
        answers = challenger is not None and challenger.predictions is not None
        share = rollout.share if rollout is not None and answers else 0
        return [arm_of(unit, self.spec.name, share) for unit in rows[UNIT]]

    def _write(
        self,
        day: str,
        rows: "pd.DataFrame",
        arms: Mapping[str, _Arm],
        served: Sequence[Arm],
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        answers = {a: arm.predictions for a, arm in arms.items() if arm.predictions is not None}
        is_new = np.array(served) == CHALLENGER
        columns: dict[str, Any] = {UNIT: rows[UNIT].to_numpy(), "served": served}
        columns["version"] = [arms[arm].version.number for arm in served]
        for name in self.spec.task.prediction_columns:
            values = answers[CHAMPION][name].to_numpy()
            if is_new.any():
                values = np.where(is_new, answers[CHALLENGER][name], values)
            columns[name] = values
        for arm, predictions in answers.items():
            for name in self.spec.task.prediction_columns:
                columns[f"{arm}.{name}"] = predictions[name].to_numpy()
        facts = {
            "rows": self._snapshots.keep(self.spec.name, rows),
            "versions": {name: arm.version.number for name, arm in arms.items()},
        }
        table = pa.table(columns).replace_schema_metadata({_FACTS: json.dumps(facts)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        aside = f"training/_unfinished/{self.spec.name}.{day}.parquet"
        # Written elsewhere and moved: a reader of the folder never meets a half of a file.
        self._store.put(aside, sink.getvalue().to_pybytes())
        self._store.rename(aside, scores_path(self.spec.name, day))

    def _log(self, day: str, drift: "DriftReport") -> None:
        from rag_platform.training.drift.log import DriftLog

        DriftLog(self._catalog).record(self.spec.name, SCORES, day, drift)

    # Labels

    def _compare(self, champion: _Arm, challenger: _Arm | None) -> "tuple[Comparison | None, int]":
        """Both versions on all labelled units of the last days; None without enough of them."""
        from rag_platform.training.data import data_files
        from rag_platform.training.labels import read_labels
        from rag_platform.training.statistics import paired

        if challenger is None or self.settings.labels is None:
            return None, 0
        with data_files(self.settings.labels, self._s3) as files:
            labels = read_labels(self.spec, files) if files else None
        if labels is None:
            return None, 0
        rows = self._labelled(champion.version, challenger.version, labels)
        if rows is None:
            return None, 0
        a, b = _predicted(rows, CHALLENGER, self.spec), _predicted(rows, CHAMPION, self.spec)
        return paired(self.spec.task, rows, a, b, seed=SEED), len(rows)

    def _labelled(
        self, champion: "Version", challenger: "Version", labels: "pd.Series"
    ) -> "pd.DataFrame | None":
        """Rows that these two versions answered and whose label has come, each unit once."""
        import pandas as pd

        found = []
        for day in self.days()[-LOOK_BACK_DAYS:]:
            table = self.read(day)
            facts = json.loads(table.schema.metadata[_FACTS])
            if facts["versions"] != {CHAMPION: champion.number, CHALLENGER: challenger.number}:
                continue
            answers = table.to_pandas()
            rows = self._snapshots.load(self.spec.name, facts["rows"])
            names = [name for name in answers.columns if "." in name]
            both = rows.merge(answers[[UNIT, *names]].drop_duplicates(UNIT), on=UNIT, how="inner")
            both[TARGET] = both[UNIT].map(labels)
            found.append(both[both[TARGET].notna()])
        if not found:
            return None
        joined = pd.concat(found).drop_duplicates(UNIT, keep="last").reset_index(drop=True)
        return joined if len(joined) else None

    def days(self) -> list[str]:
        """The days that have scores, oldest first."""
        prefix = f"training/{self.spec.name}/scores/"
        found = [item["path"] for batch in self._store.list(prefix) for item in batch]
        return sorted({path.split("date=")[1].split("/")[0] for path in found if "date=" in path})

    def read(self, day: str) -> Any:
        """The scores of a day, as an Arrow table."""
        import io

        import pyarrow.parquet as pq

        content = self._store.get(scores_path(self.spec.name, day)).bytes()
        return pq.read_table(io.BytesIO(bytes(content)))

    # Rollout

    def _advance(
        self,
        day: str,
        rollout: "Rollout",
        challenger: _Arm,
        units: int,
        broken: Sequence[str],
        *,
        run_id: str | None,
    ) -> Decision | None:
        """Count the day, and carry out what follows; None when the challenger is another by now."""
        counted = self._promotions.count(self.spec.name, rollout.challenger, day=day, units=units)
        if counted is None:
            return None
        decision = decide(
            self.settings.rollout, share=counted.share, units=counted.units, violations=broken
        )
        told: dict[str, Any] = {
            "actor": _ACTOR,
            "run_id": run_id,
            "reason": decision.reason,
            "facts": {"day": day, "units": units, "answered": asdict(challenger.answered)},
        }
        if decision.action == "withdraw":
            self._promotions.withdraw(self.spec.name, **told)
        elif decision.action == "promote":
            self._promotions.promote(self.spec.name, counted.challenger, **told)
        elif decision.action == "step":
            self._promotions.step(self.spec.name, decision.share, **told)
        return decision


_FACTS = b"rag_platform.facts"
_CALENDAR = Calendar("daily", datetime(2000, 1, 1, tzinfo=UTC))


def scores_path(model: str, day: str) -> str:
    """Where the scores of a day lie, below the storage."""
    return f"training/{model}/scores/date={day}/part.parquet"


def yesterday(moment: datetime) -> str:
    """The day whose rows are answered in a morning."""
    return (moment.astimezone(UTC).date() - timedelta(days=1)).isoformat()


def _check(day: str) -> None:
    try:
        valid = date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        raise NothingToScore(f"day {day!r}: no date; write it like 2026-11-25.")


def _drift(arm: _Arm, rows: "pd.DataFrame") -> "DriftReport":
    from rag_platform.training.drift.compare import compare

    return compare(arm.package.profile, rows, arm.predictions)


def _predicted(rows: "pd.DataFrame", arm: str, spec: ModelSpec) -> "pd.DataFrame":
    names = {f"{arm}.{name}": name for name in spec.task.prediction_columns}
    return rows[list(names)].rename(columns=names)
