"""The way to a Ray cluster, and to nobody but it."""

import contextlib
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from rag_platform.compute.jobs import ComputeError

# Descriptions of work are all that the object store holds; Ray's least is 75 MB.
_STORE_BYTES = 100_000_000
_ANSWER_S = 10.0
# Warn at every start of what is as it should be: a token is asked for, nothing draws a bar.
_TALKATIVE = ("ray._private.authentication", "ray.data._internal.progress")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected; a connection that this process has already stays.

    Raises `ComputeError` where Ray is not installed or there is no cluster.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ComputeError(
            f"compute.engine is ray, and it cannot be imported ({error}). Install it with "
            "`pip install 'rag_platform[ray]'`, or set compute.engine to local."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    with contextlib.ExitStack() as ended:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if address == "local":
            options |= ended.enter_context(_own_cluster())
        ended.callback(ray.shutdown)
        _connect(ray, address, options)
        yield ray


@contextlib.contextmanager
def _own_cluster() -> Iterator[dict[str, Any]]:
    """How a cluster of one's own begins: it tells nobody about itself and leaves nothing behind.
    Its sockets need a short path."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield {
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            # Below it, since Ray opens its own folder to everybody.
            "_temp_dir": f"{folder}/r",
        }


def refuse_without_room(ray: Any, cpus: float, gpus: float) -> None:
    """Raise `ComputeError` where no machine can hold a worker: Ray would wait for one for ever."""
    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus:
            return
    raise ComputeError(
        f"compute.workers: no machine of the Ray cluster has {cpus:g} cores and {gpus:g} GPUs for "
        "a worker. Start one that has, or ask for less."
    )


def _connect(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        _knock(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
        ray.init(address=address, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        what, advice = (
            (
                "no cluster can be started",
                "Look for room in memory and in the folder for temporary files",
            )
            if address == "local"
            else (
                "no Ray cluster answers",
                "Let this machine join one (`ray start`), correct the address",
            )
        )
        raise ComputeError(
            f"compute.address {address}: {what} ({lines[0]}). {advice}, or set compute.engine to "
            "local."
        ) from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself would ask again for minutes."""
    if found := re.fullmatch(r"(.+):([0-9]+)", address):
        with socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_ANSWER_S):
            pass
