"""Rows answered by the version that serves, and by the one that is tried, without a gap."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rag_platform.training.errors import NoSuchModel, TrainingError
from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.packaging import unpack
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry, Version
from rag_platform.training.spec import ModelSpec
from rag_platform.training.splits import points
from rag_platform.training.task import UNIT
from rag_platform.training.trainer import Model, Services

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    version: Version
    model: Model


@dataclass(frozen=True, slots=True)
class _Arms:
    """What answers now: replaced as a whole, so that a prediction works with one state."""

    champion: _Loaded
    challenger: _Loaded | None
    share: int


class Predictor:
    """Answers rows of one model by its champion, and by its challenger where a unit is its turn.

    A unit stays with its arm as long as the share does not fall. Before each prediction, but at
    most every `check_every_s` seconds, it is looked whether an alias has moved; what is loaded
    answers until the new version is loaded and checked, and goes on where that fails. With 0, the
    check is part of the prediction; else it is made in the background. Safe to be used by threads.

    Where MLflow is away, the version serves that did so last, from the disk.
    """

    def __init__(
        self,
        spec: ModelSpec,
        registry: ModelRegistry,
        promotions: Promotions,
        services: Services,
        *,
        check_every_s: float = 0.0,
    ) -> None:
        self._spec = spec
        self._registry = registry
        self._promotions = promotions
        self._services = services
        self._check_every_s = check_every_s
        self._arms: _Arms | None = None
        self._checked_at = -np.inf
        self._loading = threading.Lock()
        self._told: set[str] = set()

    def predict(self, rows: "pd.DataFrame", *, alias: Alias | None = None) -> "pd.DataFrame":
        """The answers, with the rows' index: the task's prediction columns, `version` and `arm`.

        Without `alias`, each unit is answered by the arm that is its own. Raises `NoSuchModel`
        where no version serves, or none is tried that was asked for.
        """
        if alias == CHALLENGER:
            tried = self._current(tried=True).challenger
            if tried is None:
                raise NoSuchModel(f"{self._spec.name}: there is no challenger.")
            return self._answered(rows, tried, CHALLENGER)
        arms = self._current()
        if alias == CHAMPION or arms.challenger is None or arms.share == 0 or rows.empty:
            return self._answered(rows, arms.champion, CHAMPION)
        is_tried = points(rows[UNIT], salt=self._spec.name) * 100 < arms.share
        return self._split(rows, is_tried, arms.champion, arms.challenger)

    def _split(
        self,
        rows: "pd.DataFrame",
        is_tried: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
        champion: _Loaded,
        challenger: _Loaded,
    ) -> "pd.DataFrame":
        import pandas as pd

        parts = []
        if is_tried.any():
            try:
                parts.append(self._answered(rows[is_tried], challenger, CHALLENGER))
            except Exception as error:  # of a model that is only being tried: any
                logger.warning(
                    "%s: version %s, which is tried, failed (%s: %s); the champion answers",
                    self._spec.name,
                    challenger.version.number,
                    type(error).__name__,
                    error,
                )
                is_tried = np.zeros(len(rows), np.bool_)
        if not is_tried.all():
            parts.append(self._answered(rows[~is_tried], champion, CHAMPION))
        order = np.concatenate([np.flatnonzero(is_tried), np.flatnonzero(~is_tried)])
        return pd.concat(parts).iloc[np.argsort(order)]

    # Which versions

    def _current(self, *, tried: bool = False) -> _Arms:
        """What answers; with `tried`, the challenger is loaded even while it is in shadow."""
        arms = self._arms
        if arms is None or self._check_every_s <= 0 or (tried and arms.challenger is None):
            with self._loading:
                if self._arms is not None and self._arms is not arms and not tried:
                    return self._arms  # another thread has loaded it meanwhile
                return self._refresh(tried=tried)
        if time.monotonic() - self._checked_at >= self._check_every_s:
            self._checked_at = time.monotonic()
            threading.Thread(target=self._refresh_aside, daemon=True).start()
        return arms

    def _refresh_aside(self) -> None:
        if not self._loading.acquire(blocking=False):
            return  # one that takes long is under way
        try:
            self._refresh()
        except Exception:
            logger.exception("%s: looking for its versions failed", self._spec.name)
        finally:
            self._loading.release()

    def _refresh(self, *, tried: bool = False) -> _Arms:
        before = self._arms
        champion = self._champion(before.champion if before else None)
        rollout = self._promotions.rollout(self._spec.name)
        challenger, share = None, 0
        if rollout is not None and rollout.challenger != champion.version.number:
            share = rollout.share
            loaded = before.challenger if before else None
            if tried or share or loaded:
                challenger = self._tried(loaded)
        self._arms = _Arms(champion, challenger, share)
        self._checked_at = time.monotonic()
        return self._arms

    def _champion(self, loaded: _Loaded | None) -> _Loaded:
        """The version that serves: as MLflow says, else the one that is loaded, else the last."""
        name, wanted = self._spec.name, None
        problem: TrainingError | None = None
        try:
            wanted = self._registry.version(name, CHAMPION)
            if wanted is not None:
                return self._load(wanted, loaded)
        except TrainingError as error:
            problem = error
        last = self._promotions.champion(name)
        if loaded is not None:
            found = loaded
        elif last is not None and (wanted is None or wanted.number != last.number):
            found = self._load(last, None)
        else:
            raise problem or NoSuchModel(
                f"{name}: no version serves yet. Train one: rag-platform train {name}"
            )
        if problem is not None:
            self._tell_once(f"version {found.version.number} goes on serving: {problem}")
        return found

    def _tried(self, loaded: _Loaded | None) -> _Loaded | None:
        """The challenger; None where it cannot be loaded: then nobody is asked but the champion."""
        version = self._promotions.challenger(self._spec.name)
        if version is None:
            return None
        try:
            return self._load(version, loaded)
        except TrainingError as error:
            self._tell_once(f"the challenger answers nothing: {error}")
            return None

    def _load(self, version: Version, loaded: _Loaded | None) -> _Loaded:
        if loaded is not None and loaded.version.number == version.number:
            return loaded
        folder = self._registry.folder(version)
        return _Loaded(version, unpack(folder, self._spec, self._services).model)

    def _answered(self, rows: "pd.DataFrame", loaded: _Loaded, arm: Alias) -> "pd.DataFrame":
        found = loaded.model.predict(rows)[list(self._spec.task.prediction_columns)]
        return found.assign(version=loaded.version.number, arm=arm)

    def _tell_once(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            logger.warning("%s: %s", self._spec.name, problem)
