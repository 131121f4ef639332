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


class Notifier(ABC):
    """Carries a message to people."""

    @abstractmethod
    def send(self, message: RunFailed) -> None:
        """Deliver, or raise."""


class LogNotifier(Notifier):
    """Writes messages to the log at level ERROR."""

    def send(self, message: RunFailed) -> None:
        logger.error(message.text())
