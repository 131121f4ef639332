"""Work on every core: one function over many batches in child processes, results in order.

For pure work that holds the interpreter's lock. A child builds a function anew from what its
pickle names (the chunker and the encoders say how in `__reduce__`) and keeps it: a child serves
one stage after the other, with what its tokenizer has learnt. It ends with its standard input, so
that it never outlives this process.
"""

import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeVar

from rag_platform.errors import PlatformError

# A child takes half a second to start: fewer batches than this are worked off without any.
_WORTHWHILE = 8
_MOST = 4  # of some 130 MB each

T = TypeVar("T")
R = TypeVar("R")


class ChildDied(PlatformError):
    """A child process ended in the middle of its work."""

    transient = True


def in_order(
    function: Callable[[T], R], batches: Iterable[T], *, processes: int | None = None
) -> Iterator[R]:
    """function(batch) of every batch, in order; a few batches a child are in flight.

    `function`, batches and results must pickle; what the function raises is raised here. Without
    `processes` there is one for each core. Raises `ChildDied`.
    """
    remaining = iter(batches)
    first = list(itertools.islice(remaining, _WORTHWHILE))
    everything = itertools.chain(first, remaining)
    cores = min(os.cpu_count() or 1, _MOST)
    if len(first) < _WORTHWHILE or cores == 1:
        yield from map(function, everything)
    else:
        yield from _in_children(function, everything, processes or cores)


# Children that have nothing to do, kept for the next call.
_spare: list["_Child"] = []


def _in_children(function: Callable[[T], R], batches: Iterable[T], processes: int) -> Iterator[R]:
    pickled = pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    children = [_spare.pop() if _spare else _Child() for _ in range(processes)]
    idle: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        idle.put(child)

    def call(batch: T) -> R:
        child = idle.get()
        try:
            return child.call(pickled, batch)  # type: ignore[no-any-return]
        finally:
            idle.put(child)

    executor = ThreadPoolExecutor(processes)
    pending: deque[Future[R]] = deque()
    try:
        for batch in batches:
            pending.append(executor.submit(call, batch))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        _spare.extend(children)
        children = []
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in children:  # in the middle of something, or dead
            child.end()
        executor.shutdown()


def end_spare() -> None:
    """End the children that have nothing to do; the next call starts others."""
    while _spare:
        _spare.pop().end()


class _Child:
    """A child process and its pipes; one call at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # One thread each: there are as many children as cores.
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        )

    def call(self, function: bytes, batch: Any) -> Any:
        """The function's result, or its exception, from the child."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            pickle.dump((function, batch), stdin, pickle.HIGHEST_PROTOCOL)
            stdin.flush()
            well, result = pickle.load(stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise ChildDied(
                f"process {self._process.pid} for encoding ended with status "
                f"{self._process.poll()}. Run again; if it was killed, give it more memory."
            ) from error
        if not well:
            raise result
        return result

    def end(self) -> None:
        """Kill and reap."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was buffered for it has no reader
                    pipe.close()


def _serve(requests: IO[bytes], results: IO[bytes]) -> None:
    """A child's life: (pickled function, batch) after the other, until the input ends."""
    functions: dict[bytes, Callable[[Any], Any]] = {}
    while True:
        try:
            pickled, batch = pickle.load(requests)
        except EOFError:
            return
        try:
            if pickled not in functions:
                functions[pickled] = pickle.loads(pickled)
            answer = (True, functions[pickled](batch))
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)))
            answer = (False, error)
        pickle.dump(answer, results, pickle.HIGHEST_PROTOCOL)
        results.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get between the results
    _serve(sys.stdin.buffer, results)
