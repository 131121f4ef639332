"""A production place under storms: killed, cut off, filled up and set to a wrong time, for an hour.

    python benchmarks/soak.py --minutes 60 --seed 1 --home DIR [--only run_killed,disk_full]

Starts what deploy/ describes as processes of this machine: PostgreSQL, an S3 server for source and
storage, the code server, webserver and daemon with schedules and sensors running, a model service
that is paid for, MLflow on SQLite. Somebody edits the source all the time. A round has three things
go wrong, some of them at once (soak_plan.py); then the edits stop, and the place has to come right
by itself. Rounds begin until the minutes are over. What must hold is checked against the source and
the service's own count (soak_checks.py), after every round and at the end. The plan is the same for
the same seed; the moments at which things meet are not.

Prints tables, writes them to DIR/soak.md, and exits 1 where anything did not hold. DIR must not be
there. A full disk needs root (a small tmpfs), wrong clocks need a C compiler; where
they are missing, the plan is made without them and says so.
"""

import argparse
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import soak_checks as checks
from soak_checks import Verdict
from soak_documents import Editor
from soak_place import CLI, SOURCE, Place
from soak_plan import KINDS, Event, Round, plan
from soak_processes import processes_of
from soak_storms import Storms, Weather, can, memory_mb

from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.servers.openai_api import OpenAIServer

if TYPE_CHECKING:
    import dagster as dg

logger = logging.getLogger("soak")

_DOCUMENTS = 50
_EDIT_EVERY_S = 2.0
_SETTLE_S = 1_200.0
_IDLE_S = 900.0
_DAILY_USD = 50.0
_BEFORE_S, _AFTER_S = 10.0, 30.0  # around an event, an answer that arrived may be lost
_IN_MEMORY = {"daemon": "dagster-daemon run", "code server": "api grpc", "webserver": "-webserver"}


@dataclass
class Struck:
    """An event as it came to pass; times are seconds since 1970."""

    event: Event
    round: int
    began: float = 0.0
    ended: float = 0.0
    done: str = ""


@dataclass
class Report:
    """What is told of a soak."""

    minutes: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    recoveries: list[tuple[Round, float, str]] = field(default_factory=list)
    verdicts: list[tuple[str, Verdict]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in _IN_MEMORY}
    )

    def judge(self, when: str, verdict: Verdict) -> None:
        """Note a verdict."""
        self.verdicts.append((when, verdict))
        state = "holds" if not verdict.problems else "BROKEN"
        logger.info("%s: %s: %s (%s)", when, verdict.what, state, verdict.detail)
        for problem in verdict.problems[:10]:
            logger.info("    %s", problem)


class Soak:
    """One soak over a place that runs."""

    def __init__(self, place: Place, server: OpenAIServer, weather: Weather, seed: int) -> None:
        self._place, self._server = place, server
        self._storms = Storms(place, weather, random.Random(seed + 1))
        self.editor = Editor(
            place.client(), place.documents, random.Random(seed + 2), _EDIT_EVERY_S
        )
        self._dice = random.Random(seed + 3)
        self.report = Report()
        self.platform = Platform(load())
        self._ended = threading.Event()

    def run(self, rounds: Iterator[Round], minutes: float, instance: "dg.DagsterInstance") -> None:
        """The first index, rounds until the minutes are over, and the end."""
        begun = time.monotonic()
        threading.Thread(target=self._watch_memory, daemon=True).start()
        self.editor.fill(_DOCUMENTS)
        self.editor.start()
        self._settle(Round(0, ()), instance)
        while (time.monotonic() - begun) / 60 < minutes:
            each = next(rounds)
            told = ", ".join(f"{event.kind} at {event.after_s:.0f} s" for event in each.events)
            logger.info("round %d: %s", each.number, told)
            self.editor.work()
            self._storm(each)
            self.editor.rest()
            self._settle(each, instance)
        self.report.minutes = (time.monotonic() - begun) / 60
        self._end(instance)
        self._ended.set()

    def _storm(self, each: Round) -> None:
        begun = time.monotonic()

        def strike(struck: Struck) -> None:
            time.sleep(max(0.0, struck.event.after_s - (time.monotonic() - begun)))
            struck.began = time.time()
            logger.info("round %d: %s begins", each.number, struck.event.kind)
            try:
                struck.done = self._storms.strike(struck.event.kind, struck.event.seconds)
            except Exception as error:
                logger.exception("%s could not be done", struck.event.kind)
                struck.done = f"could not be done: {error!r}"
            struck.ended = time.time()
            logger.info("round %d: %s is over: %s", each.number, struck.event.kind, struck.done)

        struck = [Struck(event, each.number) for event in each.events]
        self.report.struck += struck
        threads = [threading.Thread(target=strike, args=(one,)) for one in struck]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _settle(self, each: Round, instance: "dg.DagsterInstance") -> None:
        """Wait until all is good, by no help of anybody, and look at everything then."""
        when = f"round {each.number}" if each.number else "first index"
        begun = time.monotonic()
        while True:
            verdicts = [self._asked(check) for check in self._quick()]
            if all(not verdict.problems for verdict in verdicts):
                break
            if time.monotonic() - begun > _SETTLE_S:
                break
            time.sleep(3)
        seconds = time.monotonic() - begun
        self.report.recoveries.append((each, seconds, verdicts[0].detail))
        logger.info("%s: good again after %.0f s", when, seconds)
        for verdict in verdicts:
            self.report.judge(when, verdict)
        self._at_rest(when, instance)

    def _quick(self) -> list[Callable[[], Verdict]]:
        return [
            lambda: checks.is_searchable(self._place, self.platform),
            lambda: checks.dead_letters_are_planted(self._place, self.platform),
        ]

    def _at_rest(self, when: str, instance: "dg.DagsterInstance") -> None:
        """All the rest: asked again, as a run that is under way may be between two steps."""
        self._judged(when, self._slow(instance))

    def _judged(self, when: str, made: Sequence[Callable[[], Verdict]]) -> None:
        for check in made:
            deadline = time.monotonic() + _IDLE_S
            while (verdict := self._asked(check)).problems and time.monotonic() < deadline:
                time.sleep(2)
            self.report.judge(when, verdict)

    def _slow(self, instance: "dg.DagsterInstance") -> list[Callable[[], Verdict]]:
        spans = [(one.began - _BEFORE_S, one.ended + _AFTER_S) for one in self.report.struck]
        return [
            lambda: checks.nothing_is_stuck(self._place, self.platform, instance),
            lambda: checks.searches_find(self._place, self.platform, self._dice),
            lambda: checks.pages_sum(self.platform),
            lambda: checks.index_agrees(self.platform),
            lambda: checks.money_is_right(self._server, self.platform, spans, _DAILY_USD),
        ]

    def _asked(self, check: Callable[[], Verdict]) -> Verdict:
        try:
            return check()
        except Exception as error:
            logger.debug("a check could not be made", exc_info=True)
            return Verdict("can be asked", (f"{type(error).__name__}: {str(error)[:200]}",))

    def _end(self, instance: "dg.DagsterInstance") -> None:
        """As at any rest, and what an operator does, and may see, after an hour."""
        for verb in (["dead-letters", "replay", SOURCE], ["enrich", SOURCE]):
            self._operator(*verb)
        self._at_rest("the end", instance)
        for check in (checks.audit_is_closed, checks.every_document_has_a_status):
            self.report.judge("the end", self._asked(lambda check=check: check(self.platform)))  # type: ignore[misc]
        self._place.roles["daemon"].kill()
        last = [
            lambda: checks.runs_have_ended(instance),
            lambda: checks.nothing_is_held(self._place, self.platform, instance),
        ]
        self._judged("the end", last)
        grown = tuple(
            f"{name}: from {samples[0]:.0f} to {samples[-1]:.0f} MB"
            for name, samples in self.report.memory.items()
            if not checks.did_not_grow(samples)
        )
        self.report.judge("the end", Verdict("memory does not grow without bound", grown))

    def _operator(self, *arguments: str) -> None:
        done = subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=900)
        said = (done.stdout + done.stderr).strip().splitlines()
        logger.info("rag-platform %s: %d, %s", " ".join(arguments), done.returncode, said[-1:])

    def _watch_memory(self) -> None:
        while not self._ended.wait(30):
            for name, part in _IN_MEMORY.items():
                self.report.memory[name].append(memory_mb(self._place.identity, part))


def written(report: Report, soak: Soak, place: Place, args: str) -> str:
    """The report as Markdown."""
    rounds = len(report.recoveries) - 1  # the first index is none
    lines = [f"`python benchmarks/soak.py {args}`", ""]
    lines += [f"{rounds} rounds in {report.minutes:.0f} minutes"]
    lines += ["", "| round | what | began, s | lasted, s | |", "|---|---|---|---|---|"]
    first = min((one.began for one in report.struck), default=0.0)
    lines += [
        f"| {one.round} | {one.event.kind} | {one.began - first:.0f} | "
        f"{one.ended - one.began:.0f} | {one.done} |"
        for one in report.struck
    ]
    lines += ["", "| round | good again after, s | then |", "|---|---|---|"]
    lines += [
        f"| {each.number or 'first index'} | {seconds:.0f} | {detail} |"
        for each, seconds, detail in report.recoveries
    ]
    lines += ["", "| invariant | asked | broken | at the end |", "|---|---|---|---|"]
    for what in dict.fromkeys(verdict.what for _, verdict in report.verdicts):
        of_it = [verdict for _, verdict in report.verdicts if verdict.what == what]
        broken = sum(bool(verdict.problems) for verdict in of_it)
        lines.append(f"| {what} | {len(of_it)} | {broken} | {of_it[-1].detail} |")
    restarts = ", ".join(f"{role.name} {role.restarts}" for role in place.roles.values())
    memory = "; ".join(
        f"{name} {min(samples):.0f} to {max(samples):.0f}, last {samples[-1]:.0f}"
        for name, samples in report.memory.items()
        if samples
    )
    lines += [
        "",
        f"Edits: {soak.editor.edits}, and {soak.editor.failed} that the store did not take. "
        f"Ended by themselves and started again: {restarts}. Memory in MB: {memory}.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run a soak; the exit status says whether everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--only", default="", help="kinds of events, with commas between")
    parser.add_argument("--schedule", default="*/3 * * * *", help="of the source, as of cron")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for noisy in ("httpx", "httpx2", "alembic", "botocore", "rag_platform"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    wanted = [kind for kind in options.only.split(",") if kind] or list(KINDS)
    kinds = [kind for kind in wanted if can(kind)]
    if left_out := sorted(set(wanted) - set(kinds)):
        logger.warning("this machine cannot have: %s", ", ".join(left_out))
    rounds = plan(options.seed, kinds)
    weather = Weather(random.Random(options.seed))
    with OpenAIServer(refuse=weather) as server:
        place = Place(options.home.absolute(), server.base_url)
        os.environ.update(place.environment())
        try:
            return _soaked(place, server, weather, rounds, options)
        finally:
            place.stop()
            place.unmount()


def _soaked(
    place: Place,
    server: OpenAIServer,
    weather: Weather,
    rounds: Iterator[Round],
    options: argparse.Namespace,
) -> int:
    import dagster as dg

    place.prepare(options.schedule)
    place.start()
    soak = Soak(place, server, weather, options.seed)
    with dg.DagsterInstance.get() as instance:
        try:
            soak.run(rounds, options.minutes, instance)
        finally:
            place.stop()
            time.sleep(2)
            left = tuple(process.command for process in processes_of(place.identity))
            soak.report.judge("the end", Verdict("no process outlives the place", left))
            args = " ".join(sys.argv[1:])
            text = written(soak.report, soak, place, args)
            (place.folder / "soak.md").write_text(text, "utf-8")
            print(text)
    return int(any(verdict.problems for _, verdict in soak.report.verdicts))


if __name__ == "__main__":
    sys.exit(main())
