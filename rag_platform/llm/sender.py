"""A question to a chain of models: every attempt admitted, booked, tried again within reason."""

import logging
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Attempt
from rag_platform.llm.client import AttemptFailed, ChatAnswer, ChatClient, ChatRequest, Usage
from rag_platform.llm.errors import ModelUnavailable
from rag_platform.llm.prices import Prices
from rag_platform.llm.routing import Step
from rag_platform.retries import MayPass, attempts

logger = logging.getLogger(__name__)

ATTEMPTS = 4
_FIRST_WAIT_S = 2.0
_MOST_WAITING_S = 120.0
# For the queue of the rate limit, which many callers share; being queued is not being refused.
_MOST_QUEUEING_S = 900.0
# What an attempt may take beyond its own deadline: connecting, one last silence, booking.
_LEASE_MARGIN_S = 60.0


@dataclass
class Tally:
    """What one call has come to so far: its attempts, what they used, and the time left.

    `waiting_left_s` is for waits and for attempts that fail.
    """

    prompt: str
    call_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    microusd: int = 0
    waiting_left_s: float = _MOST_WAITING_S

    def wait(self, seconds: float) -> bool:
        """Whether there is so much waiting left; it is taken off then."""
        if seconds > self.waiting_left_s:
            return False
        self.waiting_left_s -= seconds
        return True


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer, which step of the chain gave it, and why those before it did not."""

    answer: ChatAnswer
    step: Step
    fallback: str | None


class Sender:
    """Asks the models of a chain, each up to 4 times, until one answers.

    The waits between the attempts double from 2 s, with jitter; a service's Retry-After makes
    them longer, and holds for all processes. After 120 s of them, of pauses that others were told
    and of attempts that failed, nothing is waited for or tried again in a call; each model that is
    left still has one attempt. What stands in the queue of the rate limit is not counted. A model
    that keeps failing is left alone for a while, by every process.
    """

    def __init__(
        self,
        client: ChatClient,
        *,
        admission: Admission,
        prices: Prices,
        run_id: str,
        purpose: str,
    ) -> None:
        self._client = client
        self._admission = admission
        self._prices = prices
        self._run_id = run_id
        self._purpose = purpose

    @property
    def endpoint(self) -> str:
        """The service's address without credentials."""
        return self._client.endpoint

    def bound(self, model: str, request: ChatRequest) -> int:
        """The most that one attempt may cost, in micro-dollars. Raises `UnknownPrice`."""
        return self._prices.microusd(
            model, input_tokens=request.input_bound, output_tokens=request.max_tokens
        )

    def send(self, chain: Sequence[Step], request: ChatRequest, tally: Tally) -> Sent:
        """The answer of the first model of the chain that gives one.

        Raises `ModelUnavailable`, the `ModelError` of an attempt that nothing will help,
        `UnknownPrice` before anything is sent, `BudgetExceeded` and `RateLimitTimeout`.
        """
        for step in chain:
            self.bound(step.model, request)
        left, asked = list(chain), list[float]()
        reasons: dict[str, str] = {}  # why not, by model
        while left:
            step = self._next(left, tally, reasons)
            left.remove(step)
            reasons.pop(step.model, None)
            try:
                answer = self._insist(step.model, request, tally)
            except AttemptFailed as failed:
                if failed.then == "stop":
                    raise failed.error(self._told(step.model, f"{failed}.")) from None
                reasons[step.model] = _last(failed)
                asked += [failed.wait_s] if failed.wait_s else []
                logger.warning("%s: given up on (%s)", step.model, failed)
            else:
                return Sent(answer, step, _listed(reasons) or None)
        if asked:
            # Longer than this call waits, and there is nothing else to try: others keep away.
            reason = "every model asks to wait"
            self._admission.pause(self._client.endpoint, seconds=min(asked), reason=reason)
        raise self._unavailable(_listed(reasons))

    def once(self, step: Step, request: ChatRequest, tally: Tally) -> ChatAnswer:
        """One attempt, and no more than that. Raises `AttemptFailed`, and what `send` does."""
        return self._attempt(step.model, request, tally)

    def _next(self, left: Sequence[Step], tally: Tally, reasons: dict[str, str]) -> Step:
        """The first that is not left alone at the moment; if all are, the one that is soonest."""
        endpoint = self._client.endpoint
        cooling = {step: self._admission.cooling(endpoint, step.model) for step in left}
        for step, seconds in cooling.items():
            if seconds <= 0:
                return step
            reasons[step.model] = f"left alone for {seconds:.0f} s"
        soonest = min(left, key=lambda step: cooling[step])
        if not tally.wait(cooling[soonest]):
            raise self._unavailable(_listed(reasons))
        logger.info("%s: waiting %.0f s for it", soonest.model, cooling[soonest])
        time.sleep(cooling[soonest])
        return soonest

    def _insist(self, model: str, request: ChatRequest, tally: Tally) -> ChatAnswer:
        """The answer of one model, in up to 4 attempts. Raises the last `AttemptFailed`."""
        tries = attempts(
            _patience(tally),
            most=ATTEMPTS,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_MOST_WAITING_S,
        )
        try:
            for attempt in tries:
                with attempt:
                    return self._attempt(model, request, tally)
        except AttemptFailed as failed:
            if failed.outcome == "rate_limited":
                self._admission.failed(self._client.endpoint, model, reason=failed.outcome)
            raise
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, model: str, request: ChatRequest, tally: Tally) -> ChatAnswer:
        """One attempt; when it names a parameter that the model does not take, another without.

        Ends, since each time there is one parameter less to complain about.
        """
        while True:
            try:
                return self._request(model, request, tally)
            except AttemptFailed as failed:
                if failed.then != "dialect":
                    raise

    def _request(self, model: str, request: ChatRequest, tally: Tally) -> ChatAnswer:
        """One request, reserved before it is sent and booked after."""
        endpoint, bound = self._client.endpoint, request.input_bound
        paused = self._admission.cooling(endpoint, "")
        if paused and not tally.wait(paused):
            raise self._unavailable(f"it asks to be left alone for {paused:.0f} s more")
        attempt = Attempt(
            endpoint=endpoint,
            model=model,
            run_id=self._run_id,
            purpose=self._purpose,
            tokens=bound + request.max_tokens,
            microusd=self.bound(model, request),
            call_id=tally.call_id,
            prompt=tally.prompt,
            lease_s=self._client.total_s + _LEASE_MARGIN_S,
        )
        reservation = self._admission.admit(attempt, timeout_s=_MOST_QUEUEING_S)
        tally.attempts += 1
        unknown = Usage(bound, request.max_tokens)
        begun = time.monotonic()
        try:
            answer = self._client.ask(model, request)
        except AttemptFailed as failed:
            took = time.monotonic() - begun
            tally.waiting_left_s -= took
            self._book(reservation, attempt, failed, unknown, tally)
            self._admission.timed(model, failed.outcome, took)
            raise
        took = time.monotonic() - begun
        self._settle(reservation, model, answer.usage or unknown, tally)
        self._admission.timed(model, "answered", took)
        self._admission.worked(endpoint, model)
        return answer

    def _book(
        self,
        reservation: int,
        attempt: Attempt,
        failed: AttemptFailed,
        unknown: Usage,
        tally: Tally,
    ) -> None:
        budget = self._admission.budget
        if failed.billed == "no":
            budget.fail(reservation, error=failed.outcome)
        elif failed.billed == "unknown":
            budget.lost(reservation, error=failed.outcome)
            tally.microusd += attempt.microusd
        else:
            self._settle(reservation, attempt.model, failed.usage or unknown, tally)
        if failed.wait_s and failed.wait_s <= tally.waiting_left_s:
            self._admission.pause(
                attempt.endpoint, seconds=failed.wait_s, reason=f"{failed.outcome}, Retry-After"
            )
        if failed.then == "retry" and failed.outcome != "rate_limited":
            self._admission.failed(attempt.endpoint, attempt.model, reason=failed.outcome)

    def _settle(self, reservation: int, model: str, usage: Usage, tally: Tally) -> None:
        price = self._prices.microusd(
            model, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens
        )
        self._admission.budget.settle(
            reservation,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            microusd=price,
        )
        tally.input_tokens += usage.input_tokens
        tally.output_tokens += usage.output_tokens
        tally.microusd += price

    def _unavailable(self, why: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self._purpose}: no model at {self._client.endpoint} answers ({why}). Check "
            "`llm.base_url` and that the service is well, and run again later; what was answered "
            "is not paid for twice."
        )

    def _told(self, model: str, what: str) -> str:
        return f"{self._purpose}: {model} at {self._client.endpoint} {what}"


def _patience(tally: Tally) -> MayPass:
    """Whether an attempt that failed is worth another one, and after how many seconds."""
    failures = 0

    def wait(error: Exception) -> bool | float:
        nonlocal failures
        failures += 1
        if not isinstance(error, AttemptFailed) or error.then != "retry" or failures == ATTEMPTS:
            return False
        own = _FIRST_WAIT_S * 2 ** (failures - 1) + random.uniform(0, _FIRST_WAIT_S)
        seconds = max(own, error.wait_s or 0.0)
        return seconds if tally.wait(seconds) else False

    return wait


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{model} {why}" for model, why in reasons.items())


def _last(failed: AttemptFailed) -> str:
    if failed.wait_s and failed.wait_s > 1:
        return f"{failed}, asks to wait {failed.wait_s:.0f} s"
    return str(failed)
