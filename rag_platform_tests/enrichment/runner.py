"""The enrichment of a page for a process of its own, which kills itself."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_platform.llm.gateway import Gateway
from rag_platform.storage.memo import Memo
from rag_platform_tests.enrichment.conftest import Service, World
from rag_platform_tests.servers.openai_api import KEY


def killing(method: Callable[..., Any], turn: int, *, after: bool) -> Callable[..., Any]:
    """The method, which kills the process at its turn-th call."""
    calls = itertools.count(1)

    def tripping(*args: Any, **kwargs: Any) -> Any:
        due = next(calls) == turn
        result = method(*args, **kwargs) if after or not due else None
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return tripping


def run(root: Path, url: str, window: str, point: str, turn: int) -> None:
    """Enrich the window until it is killed: before the turn-th `ask`, or after the turn-th `keep`.

    `url` is that of the service.
    """
    world = World(root)
    world.service = Service(url, KEY)
    if point == "ask":
        Gateway.complete = killing(Gateway.complete, turn, after=False)  # type: ignore[method-assign]
    else:
        Memo.put_many = killing(Memo.put_many, turn, after=True)  # type: ignore[method-assign]
    world.enrich(window)
