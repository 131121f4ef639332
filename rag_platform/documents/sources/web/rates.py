"""How often a host is asked: one request an interval, whatever the number of threads."""

import threading
import time


class HostRates:
    """Intervals between the requests to a host, in this process."""

    def __init__(self, interval_s: float) -> None:
        """`interval_s` seconds between two requests to a host, unless it wants more."""
        self._interval_s = interval_s
        self._slower: dict[str, float] = {}
        self._free_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str) -> None:
        """Return when it is this request's turn."""
        while True:
            with self._lock:
                now = time.monotonic()
                free_at = self._free_at.get(host, now)
                if free_at <= now:
                    interval = max(self._interval_s, self._slower.get(host, 0.0))
                    self._free_at[host] = now + interval
                    return
            time.sleep(free_at - now)

    def slow(self, host: str, interval_s: float) -> None:
        """From now on a host is asked no more often than this."""
        with self._lock:
            self._slower[host] = interval_s

    def pause(self, host: str, seconds: float) -> None:
        """Nothing is asked of a host for so long."""
        with self._lock:
            until = time.monotonic() + seconds
            self._free_at[host] = max(self._free_at.get(host, 0.0), until)
