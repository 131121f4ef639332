"""A worker: an actor of the cluster with a platform of its own, from its machine's environment."""

import json
import logging
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rag_platform.compute.jobs import ComputeError, Fillable, Job, digests
from rag_platform.errors import PlatformError
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.pages import Stretch

if TYPE_CHECKING:
    import numpy as np

# Machines are lost by chance; a unit that so many were lost over ends whoever takes it.
_TRIES = 4
# As far as clocks may differ: rate limits go by the times in the ledger.
_CLOCK_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told: the job, on whose account, and what it must have in common with the
    driver. Neither secrets nor documents."""

    job: Job
    run_id: str
    fingerprint: str
    digests: dict[str, str]
    clerk: str


class UnitGivenUp(PlatformError):
    """A unit ended so many workers that no more are given to it."""


class Worker:
    """Fills stretch after stretch; the stage and its encoder are opened once."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def __call__(self, batch: "dict[str, np.ndarray[Any, Any]]") -> dict[str, list[str]]:
        """Units of work in, a report on each out: {} or {error, misfit}."""
        units = zip(batch["unit"].tolist(), batch["stretch"].tolist(), strict=True)
        return {"report": [json.dumps(self._report(unit, text)) for unit, text in units]}

    def _report(self, unit: int, text: str) -> dict[str, Any]:
        """What is wrong goes to the driver as data: one unit's trouble must not end the others."""
        stretch = Stretch(**json.loads(text))
        try:
            self._fill(unit, stretch)
        except Exception as error:
            is_misfit = isinstance(error, ComputeError)
            if is_misfit:  # and so are others, or it is for somebody to see to
                self._call("end")
            self._call("failed", unit)
            logger.warning("%s: %s failed", self._order.job, stretch, exc_info=True)
            # Of others no more than their kind: their words may hold what the documents say.
            said = str(error) if isinstance(error, PlatformError) else type(error).__name__
            return {"error": said, "misfit": is_misfit}
        return {}

    def _fill(self, unit: int, stretch: Stretch) -> None:
        tries = self._call("begin", unit)
        if tries == 0:
            return
        if tries > _TRIES:
            raise UnitGivenUp(f"{_TRIES} workers were lost over it")

        stage = self._stage

        def claim(keys: Collection[bytes]) -> set[bytes]:
            return set(keys).difference(self._call("refused", unit, list(dict.fromkeys(keys))))

        figures = stage.fill(stretch, claim)
        self._call("done", unit, stretch.window, asdict(figures))

    def _call(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._clerk, method).remote(*arguments))

    @cached_property
    def _clerk(self) -> Any:
        import ray

        return ray.get_actor(self._order.clerk)

    @cached_property
    def _stage(self) -> Fillable:
        order = self._order
        try:
            settings = load()
        except PlatformError as error:
            raise ComputeError(f"a worker has no settings: {_line(error)}") from error
        own = digests(settings)
        if different := sorted(name for name in own if own[name] != order.digests.get(name)):
            raise ComputeError(
                f"a worker's settings differ from this run's in {', '.join(different)}. Give "
                "every machine the same platform.yaml (RAG_PLATFORM_CONFIG) and the same "
                "RAG_PLATFORM__ variables, and start its Ray again."
            )
        self._refuse_other_time()
        parts = Platform(settings, run_id=order.run_id)
        try:
            stage = order.job.open(parts)
            if stage.fingerprint != order.fingerprint:
                raise ComputeError(
                    f"a worker has another {order.job}: its code, libraries or models differ from "
                    "this run's. Install the same on every machine."
                )
            _same_catalog(parts, stage.lock)
        except ComputeError:
            raise
        except PlatformError as error:
            raise ComputeError(f"a worker cannot begin with {order.job}: {_line(error)}") from error
        return stage

    def _refuse_other_time(self) -> None:
        before = time.time()
        theirs = self._call("clock")
        off = max(before - theirs, theirs - time.time())
        if off > _CLOCK_S:
            raise ComputeError(
                f"a worker's clock is {off:.1f} s away from this run's, and rate limits and the "
                "day's budget go by the time. Have all machines follow one clock (NTP)."
            )


def _same_catalog(parts: Platform, lock: str) -> None:
    """The driver holds the lock: who gets it is in another database of the same address."""
    try:
        with parts.catalog.exclusive(lock, timeout_s=0):
            pass
    except LockTimeout:
        return
    raise ComputeError(
        f"a worker's catalog {parts.catalog.display} is not the one of this run, though its "
        "address is the same. Name the database's machine in it instead of localhost."
    )


def _line(error: PlatformError) -> str:
    return str(error).partition("\n")[0]
