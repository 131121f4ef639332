"""How much memory a session of processes takes, looked at from outside."""

import os
import threading
from pathlib import Path

MB = 1e6


class MemoryWatch(threading.Thread):
    """The most memory that a session's processes had at a time, looked at twice a second.

    `own` is theirs alone, all together; `mapped` are pages of files in the largest of them, which
    the system takes back where it needs room.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._over = threading.Event()
        self.own = self.mapped = 0

    def run(self) -> None:
        while not self._over.wait(0.5):
            own, mapped = 0, [0]
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if os.getsid(int(folder.name)) != self._session:
                        continue
                    status = (folder / "status").read_text(encoding="utf-8")
                except OSError:  # ended meanwhile
                    continue
                kib = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
                if "RssAnon" in kib:
                    own += int(kib["RssAnon"].split()[0]) + int(kib["RssShmem"].split()[0])
                    mapped.append(int(kib["RssFile"].split()[0]))
            self.own, self.mapped = max(self.own, own), max(self.mapped, *mapped)

    def end(self) -> dict[str, int]:
        self._over.set()
        self.join()
        scale = 1024 / MB
        return {"peak own MB": round(self.own * scale), "mapped MB": round(self.mapped * scale)}
