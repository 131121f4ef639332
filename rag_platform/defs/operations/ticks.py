"""Ticks that are still to come: a clock was fast, and was set back.

Dagster goes on behind the last tick of a schedule or sensor. Behind one that a fast clock made it
would stand still until the right clock has come there, so every command brings such ticks to now.
"""

import logging
import time
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState

logger = logging.getLogger(__name__)

# By so much the clocks of machines may differ before it is taken for a mistake.
_AHEAD_S = 300.0


def bring_back_ticks(opened: dg.DagsterInstance) -> list[str]:
    """Let schedules and sensors go on whose last tick lies ahead; returns their names."""
    states = {
        state.selector_id: state
        for state in opened.all_instigator_state()
        if state.selector_id is not None
    }
    now = time.time()
    newest = opened.get_batch_ticks(list(states), limit=1)
    names = []
    for selector, state in states.items():
        is_ahead = any(tick.timestamp > now + _AHEAD_S for tick in newest.get(selector, ()))
        if is_ahead:
            _bring_back(opened, state, now)
        if _forget_times(opened, state, now) or is_ahead:
            names.append(state.name)
    if names:
        logger.warning(
            "%s had ticked in the future: a clock was fast. They go on now.", ", ".join(names)
        )
    return names


def _bring_back(opened: dg.DagsterInstance, state: InstigatorState, now: float) -> None:
    ahead = opened.get_ticks(state.instigator_origin_id, state.selector_id, after=now + _AHEAD_S)
    for tick in ahead:
        opened.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now)))


def _forget_times(opened: dg.DagsterInstance, state: InstigatorState, now: float) -> bool:
    """Set what else lies ahead: when it was started, looked at, last came to an end."""
    data = state.instigator_data
    if data is None:
        return False
    ahead: dict[str, Any] = {
        name: now
        for name, value in data._asdict().items()
        if name.endswith("timestamp") and value is not None and value > now + _AHEAD_S
    }
    if ahead:
        opened.update_instigator_state(state.with_data(data._replace(**ahead)))
    return bool(ahead)
