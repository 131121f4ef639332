"""How each thing of a plan is made to go wrong, and to end."""

import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from soak_place import Place, can_set_clocks, runs_under_way
from soak_processes import processes_of

from rag_platform_tests.servers.openai_api import Fault, failing, rate_limited

logger = logging.getLogger(__name__)

_FOR_A_RUN_S = 90.0


def can(kind: str) -> bool:
    """Whether this machine can have it."""
    if kind == "disk_full":
        return os.geteuid() == 0
    return "clock" not in kind or can_set_clocks()


class Weather:
    """What the model service does with a request: `refuse` of the scripted server."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._lock = threading.Lock()
        self.storms: set[str] = set()

    def __call__(self, _body: dict[str, Any]) -> Fault | None:
        with self._lock:
            if not self.storms or self._dice.random() > 0.7:
                return None
            storm = self._dice.choice(sorted(self.storms))
            if storm == "rate_limit_storm":
                return rate_limited(str(self._dice.randint(1, 4)))
            if storm == "error_storm":
                return self._dice.choice([failing(500), failing(503), Fault("malformed")])
            return self._dice.choice([Fault("reset"), Fault("hang", seconds=15), Fault("html")])


class Storms:
    """Makes the events of a plan come and go."""

    def __init__(self, place: Place, weather: Weather, dice: random.Random) -> None:
        self._place = place
        self._weather = weather
        self._dice = dice

    def strike(self, kind: str, seconds: float) -> str:
        """Have it go wrong for so long, and end; returns what was done, in words."""
        with self._ways()[kind] as done:
            time.sleep(seconds)
        return done

    def _ways(self) -> dict[str, AbstractContextManager[str]]:
        return {
            "run_killed": self._run_killed(),
            "daemon_killed": self._killed("daemon"),
            "code_server_killed": self._killed("code_server"),
            "webserver_killed": self._killed("webserver"),
            "database_killed": self._killed("database"),
            "database_restarted": self._killed("database", signal.SIGINT),
            "object_store_killed": self._killed("object_store"),
            "rate_limit_storm": self._service("rate_limit_storm"),
            "error_storm": self._service("error_storm"),
            "network_storm": self._service("network_storm"),
            "disk_full": self._disk_full(),
            "daemon_clock_forward": self._clock(3 * 3600),
            "daemon_clock_back": self._clock(-3 * 3600),
            "wrong_clock_at_start": self._wrong_clock(2 * 3600),
        }

    @contextmanager
    def _run_killed(self) -> Iterator[str]:
        """SIGKILL for the process of a run alone: its children have to notice by themselves."""
        deadline = time.monotonic() + _FOR_A_RUN_S
        while time.monotonic() < deadline:
            if runs_under_way(self._place):
                time.sleep(self._dice.uniform(0, 12))
                if runs := runs_under_way(self._place):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self._dice.choice(runs), signal.SIGKILL)
                        yield "SIGKILL"
                        return
            time.sleep(0.3)
        yield "no run was under way"

    @contextmanager
    def _killed(self, name: str, number: int = signal.SIGKILL) -> Iterator[str]:
        role = self._place.roles[name]
        role.kill(number)
        try:
            yield f"{signal.Signals(number).name}"
        finally:
            role.start()

    @contextmanager
    def _service(self, storm: str) -> Iterator[str]:
        self._weather.storms.add(storm)
        try:
            yield "70 % of the requests"
        finally:
            self._weather.storms.remove(storm)

    @contextmanager
    def _disk_full(self) -> Iterator[str]:
        """Not a byte is left where the platform and Dagster keep their state."""
        filler = self._place.state / "filler"
        written = 0
        with filler.open("wb") as file:
            try:
                while True:
                    written += file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass
        try:
            yield f"{written >> 20} MB taken"
        finally:
            filler.unlink()

    @contextmanager
    def _clock(self, seconds: int) -> Iterator[str]:
        """The clock of the daemon jumps while it runs, and jumps back.

        Dagster's daemon waits by the wall clock and goes on behind its last ticks: set back by
        hours, it stands still for as long. So what docs/failures/clock-jump.md tells an operator
        is done then.
        """
        self._place.set_clock("daemon", seconds)
        is_set_back = seconds > 0
        said = ", then `migrate`, and the daemon was started again" if is_set_back else ""
        try:
            yield f"{seconds / 3600:+g} h, and back{said}"
        finally:
            self._place.set_clock("daemon", 0)
            if is_set_back:
                self._place.roles["daemon"].kill()
                self._place.migrate()
                self._place.roles["daemon"].start()

    @contextmanager
    def _wrong_clock(self, seconds: int) -> Iterator[str]:
        """Daemon and code server, so runs too, start with a wrong clock, then a right one."""
        roles = [self._place.roles[name] for name in ("code_server", "daemon")]

        def restart(seconds: int) -> None:
            for role in roles:
                role.kill()
            for clock in self._place.clocks:
                self._place.set_clock(clock, seconds)
            if seconds == 0:
                self._place.migrate()
            for role in roles:
                role.start()

        code = roles[0]
        code.environ = self._place.faked("code")
        restart(seconds)
        try:
            yield f"{seconds / 3600:+g} h, put right, then `migrate`, and started again"
        finally:
            code.environ = {}
            restart(0)


def memory_mb(identity: str, part: str) -> float:
    """What the processes with `part` in their command lines have in memory, in MB."""
    found = [process.pid for process in processes_of(identity) if part in process.command]
    return sum(map(_resident, found)) / 1_048_576


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
