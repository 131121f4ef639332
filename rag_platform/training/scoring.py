"""The rows of a day answered by the champion and, where there is one, by the challenger.

What both said is kept (`score_tables.py`), guardrails are looked at (`guardrails.py`), and the
rollout goes on by a step or ends (`rollout.py`). A challenger in trouble is nobody's trouble: the
champion's answers stand.
"""

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.documents.windows import Calendar
from rag_platform.errors import PlatformError
from rag_platform.storage.letters import WindowLetters
from rag_platform.training.errors import NoSuchModel, TrainingError
from rag_platform.training.guardrails import Answered, looks_at_groups, violations
from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.rollout import Decision, arm_of, decide
from rag_platform.training.score_tables import Pair, Plan, ScoreTables
from rag_platform.training.spec import SEED, ModelSpec
from rag_platform.training.stages import letters_of
from rag_platform.training.task import UNIT
from rag_platform.training.trainer import Services
from rag_platform.training.unreadable import drift_from

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.settings_training import ModelSettings
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.objects import S3Connection
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.ledger import Rollout
    from rag_platform.training.promotions import Promotions
    from rag_platform.training.registry import ModelRegistry
    from rag_platform.training.statistics import Comparison
    from rag_platform.training.trainer import Model

logger = logging.getLogger(__name__)

SCORES = "scores"
# Answers of days further back decide no rollout any more.
LOOK_BACK_DAYS = 60
_PATIENCE_S = 3_600.0
_ACTOR = "rollout"
# A time shorter than this is measured again: a pause of the machine would look like a slow model.
_SHORT_S = 1.0
_MEASURED = 3
_CALENDAR = Calendar("daily", datetime(2000, 1, 1, tzinfo=UTC))


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


@dataclass(frozen=True, slots=True)
class _Arm:
    """A version with what it made of the day's rows; without predictions it failed on them."""

    version: str
    answered: Answered
    predictions: "pd.DataFrame | None" = None
    drift: "DriftReport | None" = None


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
        self.spec = spec
        self.settings = settings
        self.letters = WindowLetters(catalog, spec.name)
        self.tables = ScoreTables(store, spec)
        self._catalog = catalog
        self._registry = registry
        self._promotions = promotions
        self._s3 = s3
        self._services = services

    def run(self, day: str, *, run_id: str | None = None, refresh: bool = False) -> ScoreFigures:
        """Answer the rows of a day, look at the guardrails, and carry out what follows.

        A day that is run again is answered by the same versions, unless `refresh` asks for those
        that serve now, and counts once for the rollout. Raises `NoRows`, `NothingToScore` without
        a champion, and the champion's error: then nothing has changed.
        """
        _check(day)
        with self._catalog.exclusive(f"scores-{self.spec.name}", timeout_s=_PATIENCE_S):
            return self._run(day, run_id, refresh=refresh)

    def _run(self, day: str, run_id: str | None, *, refresh: bool) -> ScoreFigures:
        rows, bad = self._rows(day)
        rollout = self._promotions.rollout(self.spec.name)
        plan = (None if refresh else self.tables.plan(day)) or self._plan(rollout)
        champion = self._champion(plan.champion, rows, day)
        challenger = self._challenger(plan.challenger, rows) if plan.challenger else None
        served = self._write(day, plan, rows, champion, challenger)
        assert champion.drift is not None
        self._log(day, champion.drift)
        comparison, labelled, broken, decision = None, 0, [], None
        if challenger is not None:
            pair = self._pair(champion, challenger)
            comparison, labelled = self._compare(pair)
            broken = violations(
                self.spec,
                self.settings.rollout,
                self._gates,
                champion=champion.answered,
                challenger=challenger.answered,
                champion_drift=champion.drift,
                challenger_drift=challenger.drift,
                comparison=comparison,
                pair=pair,
            )
            if rollout is not None and rollout.challenger == challenger.version:
                decision = self._advance(day, challenger, len(rows), broken, run_id=run_id)
        return ScoreFigures(
            day=day,
            rows=len(rows),
            bad=bad,
            champion=champion.version,
            challenger=plan.challenger,
            served_by_challenger=served,
            labelled=labelled,
            champion_answers=champion.answered,
            challenger_answers=challenger.answered if challenger else None,
            drift=champion.drift,
            comparison=comparison,
            violations=broken,
            decision=decision,
        )

    @property
    def _gates(self) -> dict[str, float]:
        return {**self.spec.gates, **self.settings.gates}

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
        self.letters.replace(SCORES, day, letters_of(found.bad), fingerprint=url)
        if not len(found.frame):
            raise NoRows(f"{url}: the files of {day} hold no usable row.")
        return found.frame.reset_index(drop=True), len(found.bad)

    def _plan(self, rollout: "Rollout | None") -> Plan:
        """The versions of now."""
        version = self._registry.version(self.spec.name, CHAMPION)
        if version is None:
            raise NothingToScore(
                f"{self.spec.name}: no version serves yet; train one: rag-platform train "
                f"{self.spec.name}."
            )
        if rollout is None or rollout.challenger == version.number:
            return Plan(version.number)
        return Plan(version.number, rollout.challenger, rollout.share)

    # Answers

    def _champion(self, number: str, rows: "pd.DataFrame", day: str) -> _Arm:
        try:
            return self._answer(number, rows)
        except PlatformError as error:
            if error.transient:
                raise
            raise TrainingError(
                f"{self.spec.name}: champion {number} cannot answer the rows of {day}: {error}"
            ) from error

    def _challenger(self, number: str, rows: "pd.DataFrame") -> _Arm:
        """The challenger's answers; whatever is wrong with it, it is for the guardrails."""
        try:
            return self._answer(number, rows)
        except Exception as error:
            if isinstance(error, PlatformError) and error.transient:
                raise
            logger.warning("%s: challenger %s failed", self.spec.name, number, exc_info=True)
            # The message of an unexpected error may hold a row's content.
            told = str(error) if isinstance(error, PlatformError) else type(error).__name__
            return _Arm(number, Answered(len(rows), len(rows), 0.0, told))

    def _answer(self, number: str, rows: "pd.DataFrame") -> _Arm:
        from rag_platform.training.packaging import unpack

        version = self._registry.registered(self.spec.name, number)
        if version is None:
            raise NoSuchModel(f"{self.spec.name}: version {number} was not registered here.")
        package = unpack(self._registry.folder(version), self.spec, self._services)
        predictions, seconds = self._timed(package.model, rows)
        failed = int(predictions["prediction"].isna().sum())
        answered = Answered(len(rows), failed, seconds / len(rows))
        watched = predictions[list(self.spec.task.watched_columns)]
        drift = drift_from(lambda: package, rows, watched)
        return _Arm(number, answered, predictions, drift)

    def _timed(self, model: "Model", rows: "pd.DataFrame") -> "tuple[pd.DataFrame, float]":
        """The answers, and the median time that they took."""
        from rag_platform.training.evaluation import answers

        found: pd.DataFrame | None = None
        times: list[float] = []
        while not times or (len(times) < _MEASURED and times[0] < _SHORT_S):
            started = time.monotonic()
            predictions = answers(self.spec.task, model, rows)
            times.append(time.monotonic() - started)
            found = predictions if found is None else found
        assert found is not None
        return found, statistics.median(times)

    def _write(
        self,
        day: str,
        plan: Plan,
        rows: "pd.DataFrame",
        champion: _Arm,
        challenger: _Arm | None,
    ) -> int:
        """Keep who answered what; how many units were served by the challenger.

        Where it has no answer the champion's stands.
        """
        import pandas as pd

        first, second = champion.predictions, challenger.predictions if challenger else None
        assert first is not None
        is_new = np.zeros(len(rows), np.bool_)
        answers: dict[str, pd.DataFrame] = {CHAMPION: first}
        served = first[list(self.spec.task.prediction_columns)]
        if second is not None:
            answers[CHALLENGER] = second
            arms = [arm_of(unit, self.spec.name, plan.share) for unit in rows[UNIT]]
            is_new = (np.array(arms) == CHALLENGER) & second["prediction"].notna().to_numpy()
            served = served.where(pd.Series(~is_new, served.index), second[list(served)])
        served.insert(0, "served", np.where(is_new, CHALLENGER, CHAMPION))
        served.insert(1, "version", np.where(is_new, plan.challenger or "", plan.champion))
        self.tables.write(day, plan, rows, served, answers)
        return int(is_new.sum())

    def _log(self, day: str, drift: "DriftReport") -> None:
        from rag_platform.training.drift.log import DriftLog

        DriftLog(self._catalog).record(self.spec.name, SCORES, day, drift)

    # Rollout

    def _pair(self, champion: _Arm, challenger: _Arm) -> Pair | None:
        """What both have answered so far, where anything is looked for in it."""
        if self.settings.labels is None and not looks_at_groups(self.spec, self._gates):
            return None
        return self.tables.pair(champion.version, challenger.version, days=LOOK_BACK_DAYS)

    def _compare(self, pair: Pair | None) -> "tuple[Comparison | None, int]":
        """Both versions on all units whose label has come; None without any."""
        from rag_platform.training.data import data_files
        from rag_platform.training.labels import labelled, read_labels
        from rag_platform.training.statistics import paired

        if pair is None or self.settings.labels is None:
            return None, 0
        with data_files(self.settings.labels, self._s3, only=lambda _: True) as files:
            told = labelled(pair, read_labels(self.spec, files)) if files else None
        if told is None:
            return None, 0
        comparison = paired(self.spec.task, told.rows, told.challenger, told.champion, seed=SEED)
        return comparison, len(told.rows)

    def _advance(
        self,
        day: str,
        challenger: _Arm,
        units: int,
        broken: Sequence[str],
        *,
        run_id: str | None,
    ) -> Decision | None:
        """Count the day, and carry out what follows; None when the challenger is another by now."""
        model, number = self.spec.name, challenger.version
        counted = self._promotions.count(model, number, day=day, units=units)
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
            self._promotions.withdraw(model, version=number, **told)
        elif decision.action == "promote":
            self._promotions.promote(model, number, **told)
        elif decision.action == "step":
            self._promotions.step(model, decision.share, version=number, **told)
        return decision


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
