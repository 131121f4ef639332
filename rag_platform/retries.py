"""Trying again what a network refused, by stamina, with a line in our own log for each wait."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import stamina
    from stamina.instrumentation import RetryDetails

logger = logging.getLogger(__name__)

# Whether an error may pass, or the seconds to wait for that.
MayPass = Callable[[Exception], bool | float]


def attempts(
    may_pass: MayPass, *, most: int, first_wait_s: float, longest_wait_s: float
) -> "Iterator[stamina.Attempt]":
    """Contexts to do something in, one after the other until one ends well.

    The waits double from the first to the longest, with as much jitter again as the first. What
    does not pass, and what is left after the `most`th attempt, is raised as it is.
    """
    import stamina
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([_report])  # stamina's own line may go to standard output
    yield from stamina.retry_context(
        on=may_pass,
        attempts=most,
        timeout=None,
        wait_initial=first_wait_s,
        wait_jitter=first_wait_s,
        wait_max=longest_wait_s,
    )


def _report(details: "RetryDetails") -> None:
    error = details.caused_by
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    logger.info("%s; trying again in %.1f s", cause, details.wait_for)
