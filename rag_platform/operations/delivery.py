"""Delivery of the outbox: every message once on every channel, whatever dies meanwhile.

One process at a time delivers on a channel, each channel by a thread of its own, so one that is
dead delays no other. A message is claimed before it is sent and settled after. Between the moment
that a service has taken it and the settling lies an instant that nothing can close: who is killed
there, or hears no answer, cannot know. Such a message is sent again when its lease is over, since
a failure told twice costs a glance and one that is never told costs a night. Mail keeps its
Message-ID, by which mailboxes recognise the second.

What cannot be sent makes its channel rest, longer each time up to a quarter of an hour, and all
messages wait there. The next attempt takes the message that was tried least, so none that always
fails blocks the others. After an outage the newest of the late messages come one by one, and all
before them as one summary.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from rag_platform.operations.notifications import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    error_line,
)
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.outbox import Claim, Deliveries, Message, Outbox

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A tick of a sensor may take 60 s. One of ours waits at most _PATIENCE_S for another that
# delivers, begins attempts for _BUDGET_S, and the last of them ends after _ATTEMPT_S.
_PATIENCE_S = 5.0
_BUDGET_S = 20.0
_ATTEMPT_S = 30.0
# Longer than an attempt, so it is over only for those that died.
_LEASE_S = 60.0

_FIRST_WAIT_S = 30.0
_LONGEST_WAIT_S = 900.0
# What may have arrived is not sent again soon: every repetition may be one too many.
_UNSURE_WAIT_S = 300.0
# Services ask for seconds or minutes; a nonsensical wish must not silence a channel for ever.
_LONGEST_WISH_S = 3600.0
_GIVEN_UP_AFTER_S = 3 * 86400.0

_LATE_S = 900.0
_LATE_SINGLY = 10


class Deliverer:
    """Delivers what waits in a catalog's outbox on some channels."""

    def __init__(
        self,
        catalog: Catalog,
        channels: Sequence[Channel],
        *,
        clock: Callable[[], float] = time.time,
        lease_s: float = _LEASE_S,
        attempt_s: float = _ATTEMPT_S,
        budget_s: float = _BUDGET_S,
    ) -> None:
        self._catalog = catalog
        self._outbox = Outbox(catalog)
        self._channels = list(channels)
        self._clock = clock
        self._deliveries = Deliveries(catalog, lease_s=lease_s, clock=clock)
        self._attempt_s = attempt_s
        self._budget_s = budget_s

    def deliver(self) -> dict[str, int]:
        """Send what may be sent now; returns how many messages went out, by channel.

        Takes a minute at the most. Raises what is no matter of a channel, such as a catalog that
        cannot be written; nothing is lost by that.
        """
        if not self._outbox.pending(1):
            return dict.fromkeys((channel.name for channel in self._channels), 0)
        with ThreadPoolExecutor(len(self._channels)) as pool:
            tasks = {each.name: pool.submit(self._drain, each) for each in self._channels}
        sent = {name: task.result() for name, task in tasks.items()}
        self._deliveries.finish([channel.name for channel in self._channels])
        return sent

    def _drain(self, channel: Channel) -> int:
        try:
            with self._catalog.exclusive(f"deliver-{channel.name}", timeout_s=_PATIENCE_S):
                return self._send_due(channel)
        except LockTimeout:
            return 0  # another process delivers there, and it sees what we would see

    def _send_due(self, channel: Channel) -> int:
        sent, end = 0, time.monotonic() + self._budget_s
        while time.monotonic() < end and not self._deliveries.rests_until(channel.name):
            due = self._deliveries.due(channel.name)
            if not due:
                break
            self._keep_interval(channel)
            claim = self._deliveries.claim(channel.name, self._next(channel, due))
            if claim.messages and self._attempt(channel, claim):
                sent += len(claim.messages)
        return sent

    def _keep_interval(self, channel: Channel) -> None:
        """Wait until the channel takes another message, whoever sent the last one."""
        if channel.interval_s:
            passed = self._clock() - self._deliveries.last_attempt(channel.name)
            # A clock that was set back would have us wait for long.
            time.sleep(min(max(channel.interval_s - passed, 0.0), channel.interval_s))

    def _next(self, channel: Channel, due: Sequence[Message]) -> list[Message]:
        """One message, or all those of long ago but the newest few."""
        late_before = self._clock() - _LATE_S
        late = sorted((each for each in due if each.at < late_before), key=lambda each: each.id)
        if channel.bundles and len(late) > _LATE_SINGLY + 1:
            return late[:-_LATE_SINGLY]
        return [due[0]]

    def _attempt(self, channel: Channel, claim: Claim) -> bool:
        try:
            within(self._attempt_s, lambda: channel.send(as_one(claim.messages)))
        except ChannelRefused as error:
            self._give_up(channel, claim, error)
            return False
        except TimeoutError:
            text = f"no whole answer within {self._attempt_s:g} s"
            self._put_off(channel, claim, ChannelUnavailable(text, may_have_arrived=True))
            return False
        except Exception as error:  # a defect must not stop what else is to be told
            self._put_off(channel, claim, error)
            return False
        if not self._deliveries.sent(claim):
            logger.warning("%s: sent after the end of a lease, so possibly twice", channel.name)
        return True

    def _give_up(self, channel: Channel, claim: Claim, error: ChannelRefused) -> None:
        text = error_line(error, channel.secrets)
        count = len(claim.messages)
        self._deliveries.give_up(claim, claim.messages, error=text)
        while error.of_channel and (due := self._deliveries.due(channel.name)):
            claim = self._deliveries.claim(channel.name, due)
            self._deliveries.give_up(claim, claim.messages, error=text)
            count += len(claim.messages)
        logger.error("%s: %s given up: %s", channel.name, _messages(count), text)

    def _put_off(self, channel: Channel, claim: Claim, error: Exception) -> None:
        """Have it wait, or give up what has waited for days."""
        text = error_line(error, channel.secrets)
        oldest = self._clock() - _GIVEN_UP_AFTER_S
        stale = [message for message in claim.messages if message.at < oldest]
        kept = [message for message in claim.messages if message.at >= oldest]
        if stale:
            self._deliveries.give_up(claim, stale, error=text)
            logger.error(
                "%s: %s given up after %d days: %s",
                *(channel.name, _messages(len(stale)), _GIVEN_UP_AFTER_S / 86400, text),
            )
        if kept:
            wait_s = _wait_s(claim.attempts, error)
            self._deliveries.wait(claim, kept, until=self._clock() + wait_s, error=text)
            logger.warning("%s: %s; trying again in %.0f s", channel.name, text, wait_s)

    def revive(self, *, days: float = 7.0) -> int:
        """Have what was given up in the last days be tried again; returns how much that is."""
        return self._deliveries.revive(since=self._clock() - days * 86400)


def _wait_s(attempts: int, error: Exception) -> float:
    """Seconds until the next attempt: doubling, with as much as a quarter more or less."""
    wait = _FIRST_WAIT_S * 2.0 ** min(attempts - 1, 10)
    if isinstance(error, ChannelUnavailable):
        if error.retry_after_s is not None:
            return min(error.retry_after_s, _LONGEST_WISH_S) + random.uniform(0, 1)
        if error.may_have_arrived:
            wait = max(wait, _UNSURE_WAIT_S)
    return min(wait, _LONGEST_WAIT_S) * random.uniform(0.75, 1.25)


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call returns or raises; TimeoutError when it takes longer.

    Timeouts of sockets begin anew with every byte, so a server that drips can outlast them. The
    call is then left behind in its thread, which ends with the process at the latest.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="attempt", daemon=True).start()
    return outcome.result(timeout=seconds)


def as_one(messages: Sequence[Message]) -> Message:
    """The message, or a summary of several, oldest first."""
    if len(messages) == 1:
        return messages[0]
    first, last = messages[0], messages[-1]
    when = f"{_when(first.at)} to {_when(last.at)} UTC"
    subject = f"{len(messages):,} earlier messages, {when}; the log has them in full"
    lines = [f"{_when(message.at)} {message.subject}" for message in messages]
    return Message(first.id, f"{first.key}..{last.key}", last.at, "\n".join([subject, *lines]))


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"
