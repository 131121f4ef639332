"""The pool under documents that hang, hog, crash, and under kills from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rag_platform.documents.parsing.pool import Outcome, ParserPool, ParserWorkersBroken
from rag_platform.documents.parsing.result import (
    Hints,
    Kind,
    OcrRules,
    Parsed,
    ParseFailure,
    ParseLimits,
    Reason,
)
from rag_platform_tests.documents.parsing.samples import needs_tesseract, picture, scan

HOSTILE = "rag_platform_tests.documents.parsing.hostile_worker"
TEXT = Hints("a.txt")
ROOT = Path(__file__).parents[3]


def obeyed(*commands: str, limits: ParseLimits | None = None, workers: int = 1) -> list[Outcome]:
    documents = [(number, command.encode(), TEXT) for number, command in enumerate(commands)]
    with ParserPool(limits or ParseLimits(), workers, worker_module=HOSTILE) as pool:
        outcomes = dict(pool.parse_all(documents))
    assert set(outcomes) == set(range(len(commands)))
    return [outcomes[number] for number in range(len(commands))]


def reasons(outcomes: list[Outcome]) -> list[Reason | None]:
    return [outcome.reason if isinstance(outcome, ParseFailure) else None for outcome in outcomes]


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> list[int]:
    end = time.monotonic() + seconds
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and not is_zombie(pid)]:
        if time.monotonic() > end:
            return alive
        time.sleep(0.02)
    return []


def is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_every_document_comes_back_once_with_its_own_text() -> None:
    documents = [
        (f"doc-{number}", f"# Title {number}\n\nbody {number}\n".encode(), Hints("a.md"))
        for number in range(1_000)
    ]
    with ParserPool(ParseLimits(), 2) as pool:
        outcomes = list(pool.parse_all(documents))
        assert len(pool.worker_pids()) == 2
    assert len(outcomes) == 1_000
    for identity, outcome in outcomes:
        number = str(identity).removeprefix("doc-")
        assert isinstance(outcome, Parsed)
        assert outcome.title == f"Title {number}"
        assert outcome.text == f"# Title {number}\n\nbody {number}\n"


def test_no_worker_starts_without_a_document() -> None:
    with ParserPool(ParseLimits(), 2) as pool:
        assert list(pool.parse_all([])) == []
        refused = list(pool.parse_all([("a", b"PK\x03\x04xl/", Hints("a.zip"))]))
        assert pool.worker_pids() == []
    assert [outcome.reason for _, outcome in refused if isinstance(outcome, ParseFailure)] == [
        Reason.UNSUPPORTED
    ]


def test_documents_larger_than_a_pipe_and_over_the_limit() -> None:
    big = "line of text\n" * 400_000
    with ParserPool(ParseLimits(max_bytes=6_000_000), 1) as pool:
        outcomes = dict(
            pool.parse_all(
                [
                    ("big", lambda: big.encode(), TEXT),
                    ("too big", b"x" * 6_000_001, TEXT),
                    ("small", b"small", TEXT),
                ]
            )
        )
    assert isinstance(outcomes["big"], Parsed)
    assert outcomes["big"].text == big
    assert reasons([outcomes["too big"]]) == [Reason.TOO_LARGE]
    assert reasons([outcomes["small"]]) == [None]


def test_documents_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, bytes, Hints]]:
        nonlocal taken
        while True:
            taken += 1
            yield taken, b"text " * 200, TEXT

    with ParserPool(ParseLimits(), 2) as pool:
        results = pool.parse_all(endless())
        for _ in range(300):
            next(results)
        results.close()
        assert taken < 300 + 1_000
        assert reasons([outcome for _, outcome in pool.parse_all([(1, b"x", TEXT)])]) == [None]


def test_a_hang_costs_only_itself() -> None:
    started = time.monotonic()
    outcomes = obeyed("a", "hang", "b", "c", limits=ParseLimits(parse_seconds=0.5))
    assert reasons(outcomes) == [None, Reason.TIMEOUT, None, None]
    assert time.monotonic() - started < 30


def test_every_document_is_timed_and_so_is_one_that_hangs() -> None:
    times: list[tuple[Kind, float]] = []
    documents = [(1, b"a", TEXT), (2, b"pages 2 0.1", TEXT), (3, b"hang", TEXT)]
    limits = ParseLimits(parse_seconds=0.5)
    with ParserPool(limits, 1, worker_module=HOSTILE) as pool:
        list(pool.parse_all(documents, timed=lambda *time: times.append(time)))
    assert [kind for kind, _ in times] == [Kind.TEXT] * 3
    quick, pages, hung = (seconds for _, seconds in times)
    # A document's time begins when the answer before it was read, which may be a little late.
    assert 0 <= quick < 0.5
    assert pages >= 0.1
    assert hung >= 0.4


def test_a_page_that_is_done_is_a_sign_of_life() -> None:
    limits = ParseLimits(parse_seconds=0.6, ocr=OcrRules(page_seconds=0.5))
    seen: list[tuple[object, int, int]] = []
    documents = [("long", b"pages 10 0.15", TEXT), ("after", b"a", TEXT)]
    with ParserPool(limits, 1, worker_module=HOSTILE) as pool:
        outcomes = dict(pool.parse_all(documents, lambda *page: seen.append(page)))
    assert reasons(list(outcomes.values())) == [None, None]
    assert {(name, pages) for name, _, pages in seen} == {("long", 10)}
    assert [page for _, page, _ in seen] == sorted({page for _, page, _ in seen})
    assert len(seen) > 3


def test_pages_buy_no_more_than_their_seconds() -> None:
    limits = ParseLimits(parse_seconds=0.5, ocr=OcrRules(page_seconds=0.1))
    slow, then = obeyed("pages 50 0.2", "a", limits=limits)
    assert isinstance(slow, ParseFailure)
    assert slow.reason == Reason.TIMEOUT
    assert re.fullmatch(r"parsing took over 0.5 s after page \d of 50", slow.detail)
    assert reasons([then]) == [None]


def test_a_worker_that_claims_the_same_page_for_ever_is_ended() -> None:
    limits = ParseLimits(parse_seconds=0.5)
    started = time.monotonic()
    outcomes = obeyed("pages_for_ever", "a", limits=limits)
    assert reasons(outcomes) == [Reason.WORKER_DIED, None]
    assert time.monotonic() - started < 30


@needs_tesseract
def test_pictures_are_read_in_a_confined_worker_by_the_rules_of_the_pool() -> None:
    page = scan(picture("Scanned page"))
    for engine in ("tesseract", "off"):
        with ParserPool(ParseLimits(ocr=OcrRules(engine=engine)), 1) as pool:
            ((_, outcome),) = pool.parse_all([(1, page, Hints("a.pdf"))])
        if engine == "off":
            assert reasons([outcome]) == [Reason.NEEDS_OCR]
        else:
            assert isinstance(outcome, Parsed)
            assert outcome.text == "Scanned page"
            assert outcome.metadata["ocr_pages"] == "1"


def test_time_of_the_consumer_is_not_charged() -> None:
    documents = [(number, b"quick", TEXT) for number in range(200)]
    with ParserPool(ParseLimits(parse_seconds=0.5), 1, worker_module=HOSTILE) as pool:
        outcomes = []
        for number, outcome in pool.parse_all(documents):
            outcomes.append(outcome)
            if number == 0:
                time.sleep(1.0)
    assert set(reasons(outcomes)) == {None}


def test_memory_above_the_limit_is_a_failure_of_its_document() -> None:
    limits = ParseLimits(parse_memory_mb=128)
    outcomes = obeyed("a", f"hog {300 << 20}", f"hog {50 << 20}", "b", limits=limits)
    assert reasons(outcomes) == [None, Reason.MEMORY, None, None]


def test_a_crash_costs_only_the_culprit() -> None:
    outcomes = obeyed(*["a"] * 20, "abort", *["b"] * 20, "abort", "c", workers=2)
    expected = [None] * 20 + [Reason.WORKER_DIED] + [None] * 20 + [Reason.WORKER_DIED, None]
    assert reasons(outcomes) == expected
    assert isinstance(outcomes[20], ParseFailure)
    assert "SIGABRT" in outcomes[20].detail


def test_a_document_whose_worker_was_killed_from_outside_is_tried_again(tmp_path: Path) -> None:
    outcomes = obeyed("a", f"abort_once {tmp_path / 'marker'}", "b")
    assert reasons(outcomes) == [None, None, None]
    assert (tmp_path / "marker").is_dir()


def test_killing_workers_midway_loses_nothing() -> None:
    documents = [(number, f"text {number}".encode(), TEXT) for number in range(2_000)]
    texts: dict[object, str] = {}
    with ParserPool(ParseLimits(), 2) as pool:
        for identity, outcome in pool.parse_all(documents):
            assert isinstance(outcome, Parsed)
            assert identity not in texts
            texts[identity] = outcome.text
            if len(texts) in (1, 700, 1_400):
                os.kill(pool.worker_pids()[0], signal.SIGKILL)
    assert texts == {number: f"text {number}" for number in range(2_000)}


def test_stray_output_does_not_reach_the_answers() -> None:
    assert reasons(obeyed("print", "a", "print")) == [None, None, None]


def test_an_unforeseen_exception_is_a_corrupt_document_in_one_line() -> None:
    (outcome,) = obeyed("nonsense")
    assert isinstance(outcome, ParseFailure)
    assert outcome.reason == Reason.CORRUPT
    # Where it was, and not what it said: that may quote the document.
    assert re.fullmatch(r"LookupError in hostile_worker\.py:\d+", outcome.detail)


@pytest.mark.parametrize("command", ["connect", "spawn"])
def test_network_and_processes_are_refused(command: str) -> None:
    (outcome,) = obeyed(command)
    assert isinstance(outcome, ParseFailure)
    assert "PermissionError" in outcome.detail


def test_files_cannot_be_written(tmp_path: Path) -> None:
    (outcome,) = obeyed(f"write {tmp_path / 'file'}")
    assert isinstance(outcome, ParseFailure)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_bytes() == b""


def test_workers_see_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (outcome,) = obeyed("environment")
    assert isinstance(outcome, Parsed)
    assert "PYTHONPATH" in outcome.text
    assert "AWS" not in outcome.text


def test_no_worker_is_left_after_an_exception() -> None:
    pids: list[int] = []

    def consume() -> None:
        with ParserPool(ParseLimits(), 2) as pool:
            for _ in pool.parse_all((n, b"text" * 20_000, TEXT) for n in range(1_000)):
                pids.extend(pool.worker_pids())
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert pids
    assert wait_until_gone(pids) == []


def test_an_exception_of_a_loader_is_raised() -> None:
    def load() -> bytes:
        raise FileNotFoundError("gone")

    with ParserPool(ParseLimits(), 1) as pool, pytest.raises(FileNotFoundError, match="gone"):
        list(pool.parse_all([(1, b"a", TEXT), (2, load, TEXT)]))


def test_no_worker_survives_a_killed_parent() -> None:
    script = (
        "from rag_platform.documents.parsing.pool import *\n"
        f"pool = ParserPool(ParseLimits(), 2, worker_module={HOSTILE!r})\n"
        "documents = [(n, b'a' if n < 1 else b'hang', Hints('a.txt')) for n in range(130)]\n"
        "for _ in pool.parse_all(documents):\n"
        "    print(*pool.worker_pids(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
        parent.wait()
        assert wait_until_gone(pids) == []


def test_workers_that_never_start_are_reported() -> None:
    module = "rag_platform_tests.documents.parsing.no_such_module"
    with (
        ParserPool(ParseLimits(), 1, worker_module=module) as pool,
        pytest.raises(ParserWorkersBroken, match="end at start"),
    ):
        list(pool.parse_all([(1, b"a", TEXT)]))


def test_native_parsers_out_of_memory_or_time_cost_only_their_document() -> None:
    wide_page = b"<p>" + b"<b>x</b>" * 2_000_000
    documents = [(0, b"text", TEXT), (1, wide_page, Hints("a.html")), (2, b"text", TEXT)]
    with ParserPool(ParseLimits(parse_memory_mb=200), 1) as pool:
        outcomes = dict(pool.parse_all(documents))
    assert reasons([outcomes[number] for number in range(3)]) == [None, Reason.MEMORY, None]
    with ParserPool(ParseLimits(parse_seconds=0.3), 1) as pool:
        outcomes = dict(pool.parse_all(documents))
    assert reasons([outcomes[number] for number in range(3)]) == [None, Reason.TIMEOUT, None]


def test_one_parse_at_a_time() -> None:
    with ParserPool(ParseLimits(), 1) as pool:
        first = pool.parse_all([(n, b"a", TEXT) for n in range(100)])
        next(first)
        with pytest.raises(RuntimeError, match="already running"):
            next(pool.parse_all([(1, b"a", TEXT)]))
        assert len(list(first)) == 99


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_a_pool_closed_at_any_moment_leaves_nothing(seconds: float) -> None:
    pool = ParserPool(ParseLimits(), 2)
    results = pool.parse_all((n, b"text" * 5_000, TEXT) for n in range(10_000))
    next(results)
    time.sleep(seconds)
    pids = pool.worker_pids()
    results.close()
    pool.close()
    assert wait_until_gone(pids) == []
