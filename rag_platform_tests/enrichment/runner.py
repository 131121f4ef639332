"""The enrichment of a page in a process of its own, which may kill itself.

`python -m rag_platform_tests.enrichment.runner ROOT URL WINDOW [--kill ask:N|keep:N]`: killed
before the N-th question is asked, or after the N-th answers are kept.
"""

import argparse
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


def main() -> None:
    """Enrich the window, perhaps not to the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("url")
    parser.add_argument("window")
    parser.add_argument("--kill", required=True)
    given = parser.parse_args()
    world = World(given.root)
    world.service = Service(given.url, KEY)
    point, turn = given.kill.split(":")
    if point == "ask":
        Gateway.complete = killing(Gateway.complete, int(turn), after=False)  # type: ignore[method-assign]
    else:
        Memo.put_many = killing(Memo.put_many, int(turn), after=True)  # type: ignore[method-assign]
    world.enrich(given.window)


if __name__ == "__main__":
    main()
