"""Telling people what happened: what a channel is, and the log as the one that is always there."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.errors import PlatformError
from rag_platform.operations.terminal import printable

if TYPE_CHECKING:
    from rag_platform.storage.outbox import Message

logger = logging.getLogger("rag_platform.notifications")

_FAILED_KEY = "run-failed-"
_LONGEST_ERROR = 400


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run that ended badly. `error` is its first line, `link` where to look."""

    run_id: str
    job: str
    windows: str
    step: str
    error: str
    link: str

    @property
    def key(self) -> str:
        """What makes it one message."""
        return failure_key(self.run_id)

    def text(self) -> str:
        """What failed, then why, then where to look: a line each."""
        where = f" in {self.step}" if self.step else ""
        window = f" for {self.windows}" if self.windows else ""
        return f"{self.job}{window} failed{where}\n{self.error}\n{self.link}"


def failure_key(run_id: str) -> str:
    """The key of the message about a failed run."""
    return f"{_FAILED_KEY}{run_id}"


class ChannelRefused(PlatformError):
    """A message that will not be taken, however often it is sent; says what to do.

    `of_channel`: it is not for this message, so no other will be taken either.
    """

    def __init__(self, text: str, *, of_channel: bool = False) -> None:
        super().__init__(text)
        self.of_channel = of_channel


class ChannelUnavailable(PlatformError):
    """A message was not taken now. `retry_after_s`: the channel asked for that many seconds.

    `may_have_arrived`: it was handed over, and what became of it was not heard.
    """

    transient = True

    def __init__(
        self, text: str, *, retry_after_s: float | None = None, may_have_arrived: bool = False
    ) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.may_have_arrived = may_have_arrived


class Channel(ABC):
    """One way to people. `secrets` are hidden wherever its errors are shown."""

    name: str
    secrets: tuple[str, ...] = ()
    # Seconds between two messages, over all processes.
    interval_s = 0.0
    # Whether many messages that are late are told as one.
    bundles = True

    @abstractmethod
    def send(self, message: "Message") -> None:
        """Deliver; raises `ChannelRefused` or `ChannelUnavailable`."""


class LogChannel(Channel):
    """Writes messages to the log, in one line: failed runs at level ERROR, others at WARNING."""

    name = "log"
    bundles = False

    def send(self, message: "Message") -> None:
        level = logging.ERROR if message.key.startswith(_FAILED_KEY) else logging.WARNING
        body = "; ".join(line.strip() for line in message.body.splitlines() if line.strip())
        line = f"{message.subject}: {body}" if body else message.subject
        logger.log(level, "%s", printable(line))


def error_line(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """What a channel said, as a line of limited length without secrets."""
    name = "" if isinstance(error, PlatformError) else f"unexpected {type(error).__name__}: "
    text = f"{name}{error}"
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return printable(" ".join(text.split()))[:_LONGEST_ERROR]
