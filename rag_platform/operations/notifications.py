"""Telling people what happened: a small port with a log as its embedded default."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass

logger = logging.getLogger("rag_platform.notifications")


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run that ended badly. `error` is its first line, `link` where to look."""

    run_id: str
    job: str
    windows: str
    step: str
    error: str
    link: str

    def text(self) -> str:
        """One line for a person."""
        where = f" in {self.step}" if self.step else ""
        window = f" for {self.windows}" if self.windows else ""
        return f"{self.job}{window} failed{where}: {self.error} ({self.link})"


@dataclass(frozen=True, slots=True)
class Notice:
    """What people asked to be told, written down by whoever noticed it."""

    line: str

    def text(self) -> str:
        """One line for a person."""
        return " ".join(self.line.split())


class Notifier(ABC):
    """Carries a message to people."""

    @abstractmethod
    def send(self, message: RunFailed | Notice) -> None:
        """Deliver, or raise."""


class LogNotifier(Notifier):
    """Writes messages to the log: failed runs at level ERROR, others at WARNING."""

    def send(self, message: RunFailed | Notice) -> None:
        level = logging.ERROR if isinstance(message, RunFailed) else logging.WARNING
        logger.log(level, "%s", message.text())
