"""The process that parses: `python -m rag_platform.documents.parsing.worker '{limits}' PARENT`.

Reads frames with batches of documents from stdin and writes one frame for each document to
stdout, in order, at once: so the pool knows which document a death belongs to. Between them stand
frames that say how many pages of a long document are done. It limits its own memory and writing,
has no network and starts no process, and dies with its parent.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from rag_platform.documents.parsing.formats import parse
from rag_platform.documents.parsing.frames import LENGTHS, encode
from rag_platform.documents.parsing.result import (
    Kind,
    OcrRules,
    Parsed,
    ParseFailure,
    ParseLimits,
    Progress,
    Reason,
)

EXIT_OUT_OF_MEMORY: Final = 77
PR_SET_PDEATHSIG: Final = 1
FORBIDDEN_EVENTS: Final = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn")
# Pages are reported at most this often; a report restarts the clock of `parse_seconds`.
REPORTS_PER_LIMIT: Final = 10
MAX_REPORT_SECONDS: Final = 1.0
Parse = Callable[[bytes, Kind, ParseLimits, Progress], Parsed | ParseFailure]


def main(parse_one: Parse = parse) -> None:
    """Confine this process, then serve until stdin ends. Tests pass their own parser."""
    limits = read_limits(sys.argv[1])
    die_with_parent(int(sys.argv[2]))
    requests, answers = take_standard_streams()
    confine(limits)
    try:
        serve(requests, answers, limits, parse_one)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


def serve(requests: BinaryIO, answers: int, limits: ParseLimits, parse_one: Parse) -> None:
    """Answer batches `{"documents": [[kind, bytes], ...]}` until end of file."""
    write_all(answers, encode({"ready": True}))
    while lengths := requests.read(LENGTHS.size):
        head, _ = LENGTHS.unpack(lengths)
        batch = json.loads(requests.read(head))["documents"]
        for kind, length in batch:
            data = requests.read(length)
            if len(data) < length:
                return
            progress = reporter(answers, limits.parse_seconds)
            outcome = parse_safely(data, Kind(kind), limits, progress, parse_one)
            write_all(answers, answer(outcome))


def read_limits(argument: str) -> ParseLimits:
    """The limits as the pool wrote them: JSON of `dataclasses.asdict`."""
    fields = json.loads(argument)
    rules = fields.pop("ocr")
    return ParseLimits(**fields, ocr=OcrRules(**rules | {"languages": tuple(rules["languages"])}))


def reporter(answers: int, parse_seconds: float) -> Progress:
    """Writes frames `{"page": n, "pages": m}`, not so often that they cost anything."""
    every = min(MAX_REPORT_SECONDS, parse_seconds / REPORTS_PER_LIMIT)
    last = time.monotonic()

    def report(page: int, pages: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            write_all(answers, encode({"page": page, "pages": pages}))

    return report


def parse_safely(
    data: bytes, kind: Kind, limits: ParseLimits, progress: Progress, parse_one: Parse
) -> Parsed | ParseFailure:
    """A parser that fails in an unforeseen way has met a corrupt document. The message is left
    out: it may quote the document."""
    try:
        return parse_one(data, kind, limits, progress)
    except MemoryError:
        raise
    except RecursionError:
        return ParseFailure(Reason.CORRUPT, "the document is nested too deep")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        return ParseFailure(Reason.CORRUPT, f"{type(error).__name__} in {where}")


def answer(outcome: Parsed | ParseFailure) -> bytes:
    """The frame of one outcome; the text is the payload."""
    if isinstance(outcome, ParseFailure):
        return encode({"reason": outcome.reason, "detail": outcome.detail})
    header: dict[str, Any] = {
        "title": outcome.title,
        "media_type": outcome.media_type,
        "page_starts": outcome.page_starts,
        "metadata": outcome.metadata,
    }
    return encode(header, outcome.text.encode("utf-8", "replace"))


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything; a parent that is gone ends this process."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def take_standard_streams() -> tuple[BinaryIO, int]:
    """The two pipes under private descriptors; what libraries print goes nowhere."""
    requests = os.fdopen(os.dup(0), "rb", buffering=1 << 18)
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return requests, answers


def die_with_parent(parent: int) -> None:
    """Linux: SIGKILL when the parent ends. Elsewhere the end of stdin has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(limits: ParseLimits) -> None:
    """Memory above what the process has now, no core dumps, no file writing, no network."""
    if sys.platform == "linux":  # macOS refuses to limit the address space
        hard = address_space() + limits.parse_memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(refuse_forbidden)


def address_space() -> int:
    """Bytes of virtual memory in use (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def refuse_forbidden(event: str, _arguments: tuple[Any, ...]) -> None:
    """Audit hook: no sockets, no processes."""
    if event.startswith(FORBIDDEN_EVENTS) or event == "os.system":
        raise PermissionError(f"{event} is not allowed in a parser")


if __name__ == "__main__":
    main()
