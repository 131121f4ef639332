"""Bulk work on a Ray cluster: what a stage would work out is worked out there and remembered.

A pass over the cluster fills the memo, and nothing else; then the stage runs as ever and finds
everything there. So the final state is that of a run on one machine, whatever became of the
workers: what they left over the stage does itself.
"""

import json
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rag_platform.compute.clerk import GIVE_UP, Clerk
from rag_platform.compute.cluster import connected, refuse_without_room
from rag_platform.compute.jobs import ComputeError, Fillable, Job, WorkersLost, digests, problem
from rag_platform.compute.worker import Order, Worker
from rag_platform.platform import Platform
from rag_platform.settings_operations import WorkersSettings
from rag_platform.storage.pages import Stretch

logger = logging.getLogger(__name__)

# How long a run waits for one that does the same work: as long as a large backfill takes.
_PATIENCE_S = 86_400.0
# Blocks of work that Ray deals out: enough that no worker waits for the last one long.
_BLOCKS_A_WORKER = 16
_REPORT_EVERY_S = 30.0


def fill(parts: Platform, job: Job, windows: Sequence[str]) -> dict[str, Any]:
    """Have the cluster work out what a stage needs for some windows; what it did, by window.

    That is for the stage's `run` to count as its own (`filled`). Nothing is done where
    `compute.engine` is local, or where there is no more than one worker would take at a time.
    Raises `ComputeError` and `WorkersLost`.
    """
    compute = parts.settings.compute
    if compute.engine == "local":
        return {}
    if wrong := problem(parts.settings):
        raise ComputeError(wrong)
    stage = job.open(parts)
    with parts.catalog.exclusive(stage.lock, timeout_s=_PATIENCE_S):
        stretches = list(stage.stretches(windows, compute.batch))
        if sum(stretch.rows for stretch in stretches) <= compute.batch:
            return {}
        with connected(compute.address) as ray:
            return _filled(ray, parts, job, stage, stretches)


def _filled(
    ray: Any, parts: Platform, job: Job, stage: Fillable, stretches: Sequence[Stretch]
) -> dict[str, Any]:
    workers = parts.settings.compute.workers
    refuse_without_room(ray, workers.cpus, workers.gpus)
    name = f"rag_platform-{uuid.uuid4().hex}"
    clerk = _start_clerk(ray, name)
    order = Order(job, parts.run_id, stage.fingerprint, digests(parts.settings), name)
    logger.info("%s: %d units of work go to Ray", job, len(stretches))
    try:
        _watch(job, _reports(ray, order, stretches, workers), len(stretches))
        figures: dict[str, dict[str, int]] = ray.get(clerk.figures.remote())
    except ray.exceptions.RayError as error:
        raise WorkersLost(
            f"{job}: Ray gave up ({_last_line(error)}). What was worked out is remembered: run "
            "again; if it ends like this again, look into the workers' logs or give them memory."
        ) from error
    finally:
        ray.kill(clerk)
    return {window: job.figures(counts) for window, counts in figures.items()}


def _start_clerk(ray: Any, name: str) -> Any:
    """On the driver's own machine: it is lost only with the run itself."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, scheduling_strategy=here)(Clerk)
    return remote.options(name=name).remote()


def _reports(
    ray: Any, order: Order, stretches: Sequence[Stretch], workers: WorkersSettings
) -> Iterator[dict[str, Any]]:
    """The workers' reports, as they come. A few units are with each worker at any time."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.verbose_stats_logs = False
    units = [
        {"unit": number, "stretch": json.dumps(asdict(stretch))}
        for number, stretch in enumerate(stretches)
    ]
    most = min(workers.max, len(units))
    blocks = min(len(units), _BLOCKS_A_WORKER * most)
    reports = ray.data.from_items(units, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_args=(order,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=min(workers.min, most), max_size=most),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    for row in reports.iter_rows():
        yield json.loads(row["report"])


def _watch(job: Job, reports: Iterable[dict[str, Any]], units: int) -> None:
    """Follow the work to its end, also where most of it is given up: nobody may work on behind the
    stage. Raises `ComputeError` for a worker that does not fit."""
    failed = 0
    misfit: str | None = None
    told = time.monotonic()
    for done, report in enumerate(reports, 1):
        if report.get("misfit"):
            misfit = misfit or report["error"]
        elif "error" in report:
            failed += 1
            logger.warning("%s: a unit is left to the run itself: %s", job, report["error"])
        if time.monotonic() - told > _REPORT_EVERY_S:
            told = time.monotonic()
            logger.info("%s: %d of %d units of work are done", job, done, units)
    if misfit is not None:
        raise ComputeError(f"{job}: {misfit}")
    if failed >= GIVE_UP:
        logger.warning("%s: %d units failed, so the rest is left to the run, too", job, failed)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
