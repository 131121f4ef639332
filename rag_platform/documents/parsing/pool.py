"""A pool of killable parser processes: documents in, parsed documents or failures out.

One thread, no locks: the generator of `parse_all` feeds the workers, reads their answers and
watches the clock whenever its consumer asks for the next result.

The clock: a document may be silent for `parse_seconds`, and may take them in all; each page that
its parser reports as done ends the silence and adds `ocr.page_seconds`. So a long scan has the
time it needs, and no document has time without end.
"""

import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from rag_platform.documents.parsing.formats import detect
from rag_platform.documents.parsing.frames import BadFrame
from rag_platform.documents.parsing.process import Task, Worker, ending
from rag_platform.documents.parsing.result import (
    Hints,
    Kind,
    Parsed,
    ParseFailure,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform.documents.parsing.worker import EXIT_OUT_OF_MEMORY
from rag_platform.errors import PlatformError

WORKER_MODULE: Final = "rag_platform.documents.parsing.worker"
BATCH_LOAD: Final = 128
MAX_DONE: Final = 64
STARTUP_SECONDS: Final = 120.0
MAX_FAILED_STARTS: Final = 3
MAX_ATTEMPTS: Final = 2
READ_BYTES: Final = 1 << 20

Outcome = Parsed | ParseFailure
# Called with a document's id, the pages done and the pages in all, about once a second.
Watch = Callable[[Hashable, int, int], None]
# Called with the kind of a document and the seconds that its parser took.
Timed = Callable[[Kind, float], None]
Document = tuple[Hashable, bytes | Callable[[], bytes], Hints]


class ParserWorkersBroken(PlatformError):
    """Parser processes do not start."""


class ParserPool:
    """Parser processes under limits; use as a context manager. One `parse_all` at a time.

    Workers start when there is work for them and end with the pool, with an exception, or with
    this process, however it ends.
    """

    def __init__(
        self,
        limits: ParseLimits,
        workers: int | None = None,
        *,
        worker_module: str = WORKER_MODULE,
    ) -> None:
        self._limits = limits
        self._size = workers or os.cpu_count() or 1
        self._module = worker_module
        self._watch: Watch | None = None
        self._timed: Timed | None = None
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        while self._workers:
            self._workers.pop().end()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers alive now."""
        return [worker.process.pid for worker in self._workers]

    def parse_all(
        self,
        documents: Iterable[Document],
        watch: Watch | None = None,
        *,
        timed: Timed | None = None,
    ) -> Generator[tuple[Hashable, Outcome], None, None]:
        """(id, outcome) of every document, as they are done, in no set order.

        Streams: at most a batch for each worker is held, and the next documents are taken from
        the iterable only when a worker wants them. A document given as a callable is loaded
        then. An exception of the iterable or of a callable ends the parsing and is raised.
        `watch` is told of the pages of long documents, `timed` how long each that was parsed took,
        or had until its time was over.
        """
        if self._running:
            raise RuntimeError("parse_all is already running on this pool")
        self._running = True
        self._watch, self._timed = watch, timed
        try:
            yield from self._run(iter(documents))
        finally:
            self._running = False
            for worker in [worker for worker in self._workers if worker.tasks]:
                self._workers.remove(worker)
                worker.end()

    def _run(self, documents: Iterator[Document]) -> Iterator[tuple[Hashable, Outcome]]:
        again: deque[Task] = deque()
        exhausted = False
        while True:
            done: list[tuple[Hashable, Outcome]] = []
            while self._has_room() and not (exhausted and not again):
                batch, exhausted = self._take(documents, again, done)
                if batch:
                    self._worker_for_more().send(batch)
                if done:
                    break
            if not done:
                if not any(worker.tasks for worker in self._workers):
                    return
                self._poll(done, again)
            left = time.monotonic()
            yield from done
            away = time.monotonic() - left
            for worker in self._workers:  # the consumer's time is not the parser's
                worker.wait(away)

    def _has_room(self) -> bool:
        if len(self._workers) < self._size:
            return True
        return any(worker.load() < BATCH_LOAD // 2 for worker in self._workers)

    def _worker_for_more(self) -> Worker:
        """An idle worker, else a new one while there may be one, else the least busy."""
        for worker in self._workers:
            if not worker.tasks:
                return worker
        if len(self._workers) < self._size:
            self._workers.append(Worker(self._module, self._limits))
            return self._workers[-1]
        return min(self._workers, key=Worker.load)

    def _take(
        self,
        documents: Iterator[Document],
        again: deque[Task],
        done: list[tuple[Hashable, Outcome]],
    ) -> tuple[list[Task], bool]:
        """The next batch, and whether the documents are exhausted; refusals go to `done`."""
        batch: list[Task] = []
        load = 0
        while load < BATCH_LOAD and len(done) < MAX_DONE:
            if again:
                task = again.popleft()
            else:
                document = next(documents, None)
                if document is None:
                    return batch, True
                admitted = self._admit(document)
                if isinstance(admitted, ParseFailure):
                    done.append((document[0], admitted))
                    continue
                task = admitted
            batch.append(task)
            load += task.load()
        return batch, False

    def _admit(self, document: Document) -> Task | ParseFailure:
        identity, content, hints = document
        data = content() if callable(content) else content
        if len(data) > self._limits.max_bytes:
            return ParseFailure(
                Reason.TOO_LARGE, f"{len(data):,} bytes; the limit is {self._limits.max_bytes:,}"
            )
        try:
            return Task(identity, detect(data, hints), data)
        except ParseRefused as refused:
            return refused.failure

    def _poll(self, done: list[tuple[Hashable, Outcome]], again: deque[Task]) -> None:
        """Wait for the workers, take their answers, end those that died or ran out of time."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
                if worker.unsent:
                    selector.register(worker.stdin, selectors.EVENT_WRITE, worker)
            now = time.monotonic()
            nearest = min(self._deadline(worker) for worker in self._workers if worker.tasks)
            events = selector.select(max(0.0, nearest - now) + 0.01)
        broken: set[int] = set()
        for key, _ in events:
            worker = key.data
            if key.fileobj is worker.stdin:
                worker.write()
            elif not self._read(worker, done):
                broken.add(id(worker))
        now = time.monotonic()
        for worker in list(self._workers):
            if id(worker) in broken:
                self._bury(worker, done, again)
            elif worker.tasks and now > self._deadline(worker):
                self._time_out(worker, done, again)

    def _deadline(self, worker: Worker) -> float:
        if not worker.ready:
            return worker.since + STARTUP_SECONDS
        silence, page = self._limits.parse_seconds, self._limits.ocr.page_seconds
        return min(worker.since + silence, worker.begun + silence + worker.page * page)

    def _read(self, worker: Worker, done: list[tuple[Hashable, Outcome]]) -> bool:
        """Take the answers that are there; False when the worker has ended or talks nonsense."""
        data = os.read(worker.stdout.fileno(), READ_BYTES)
        if not data:
            return False
        try:
            for header, payload in worker.reader.feed(data):
                if not worker.ready:
                    worker.ready = True
                    self._failed_starts = 0
                    worker.begin()
                elif not worker.tasks:
                    return False
                elif "page" in header:
                    self._see(worker, int(header["page"]), int(header["pages"]))
                else:
                    outcome = _outcome(header, payload)
                    done.append((self._ended(worker).id, outcome))
                    worker.begin()
        except (BadFrame, KeyError, ValueError, TypeError):
            return False
        return True

    def _ended(self, worker: Worker) -> Task:
        """The document that a worker is done with, timed."""
        task = worker.tasks.popleft()
        if self._timed is not None:
            self._timed(task.kind, time.monotonic() - worker.begun)
        return task

    def _see(self, worker: Worker, page: int, pages: int) -> None:
        """A page is done: only a growing number within the limits buys time."""
        if not worker.page < page <= pages <= self._limits.max_pages:
            raise BadFrame(f"page {page} of {pages}")
        worker.see(page, pages)
        if self._watch is not None:
            self._watch(worker.tasks[0].id, page, pages)

    def _bury(
        self, worker: Worker, done: list[tuple[Hashable, Outcome]], again: deque[Task]
    ) -> None:
        """The oldest document is what the worker died of; the others are parsed elsewhere."""
        self._workers.remove(worker)
        try:
            status = worker.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            status = worker.end()
        worker.end()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise ParserWorkersBroken(
                    f"parser processes end at start ({ending(status)}), {MAX_FAILED_STARTS} times;"
                    f" run '{sys.executable} -c \"import {self._module}\"' to see why"
                )
        elif worker.tasks:
            culprit = worker.tasks.popleft()
            culprit.attempts += 1
            if status == EXIT_OUT_OF_MEMORY:
                limit = f"parsing needs over {self._limits.parse_memory_mb:,} MiB"
                done.append((culprit.id, ParseFailure(Reason.MEMORY, limit)))
            elif culprit.attempts >= MAX_ATTEMPTS:
                detail = f"the parser process {ending(status)}, {MAX_ATTEMPTS} times"
                done.append((culprit.id, ParseFailure(Reason.WORKER_DIED, detail)))
            else:
                again.append(culprit)
        again.extend(worker.tasks)

    def _time_out(
        self, worker: Worker, done: list[tuple[Hashable, Outcome]], again: deque[Task]
    ) -> None:
        if not worker.ready:
            raise ParserWorkersBroken(
                f"no parser process after {STARTUP_SECONDS:g} s; is the machine overloaded?"
            )
        self._workers.remove(worker)
        worker.end()
        culprit = self._ended(worker)
        limit = f"parsing took over {self._limits.parse_seconds:g} s"
        if worker.pages:
            limit += f" after page {worker.page:,} of {worker.pages:,}"
        done.append((culprit.id, ParseFailure(Reason.TIMEOUT, limit)))
        again.extend(worker.tasks)


def _outcome(header: dict[str, Any], payload: bytes) -> Outcome:
    """An answer of a worker, checked: a worker that parsed hostile bytes is not trusted."""
    if "reason" in header:
        return ParseFailure(Reason(header["reason"]), str(header["detail"])[:1000])
    return Parsed(
        text=payload.decode("utf-8"),
        title=str(header["title"]),
        media_type=str(Kind(header["media_type"])),
        page_starts=tuple(int(start) for start in header["page_starts"]),
        metadata={str(key): str(value) for key, value in header["metadata"].items()},
    )
