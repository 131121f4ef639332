"""Work on many items by threads, with the results in order and nothing held up at the end."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_Task = tuple[T, "Future[R]"]


def ordered_map(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[R]:
    """`work` of each item, in the order of the items, with at most `ahead` begun beforehand.

    The threads are daemons: who stops reading, or interrupts the program, does not wait for what
    is under way. What `work` raises is raised at the item's place.
    """
    tasks: SimpleQueue[_Task[T, R] | None] = SimpleQueue()
    stopped = threading.Event()

    def worker() -> None:
        while (task := tasks.get()) is not None and not stopped.is_set():
            item, future = task
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)

    source = iter(items)
    under_way: deque[Future[R]] = deque()
    running = 0
    try:
        while True:
            for item in islice(source, ahead - len(under_way)):
                future: Future[R] = Future()
                under_way.append(future)
                tasks.put((item, future))
                if running < min(threads, len(under_way)):
                    threading.Thread(target=worker, daemon=True).start()
                    running += 1
            if not under_way:
                return
            yield under_way.popleft().result()
    finally:
        stopped.set()
        for _ in range(running):
            tasks.put(None)
