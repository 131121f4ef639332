"""The one way to a model: cached, routed, budgeted, validated, and honest about its confidence."""

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic
from urllib.parse import urlsplit

from pydantic import BaseModel

from rag_platform.errors import PlatformError
from rag_platform.llm.admission import Admission
from rag_platform.llm.cache import AnswerCache, cache_key
from rag_platform.llm.choice import Choice
from rag_platform.llm.client import AttemptFailed, ChatAnswer, ChatClient, ChatRequest
from rag_platform.llm.completion import (
    EXTRACTIVE,
    Ask,
    Completion,
    Extractive,
    ExtractiveAnswer,
    M,
)
from rag_platform.llm.confidence import NO_CONFIDENCE, Confidence, agreement, token_probability
from rag_platform.llm.connection import Connection
from rag_platform.llm.errors import InvalidAnswer, ServiceRefused
from rag_platform.llm.ordered import ordered_map
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import Prompt, PromptChanged, PromptLibrary
from rag_platform.llm.routing import Complexity, Step, chain_of, complexity, tier_of
from rag_platform.llm.sender import Sender, Sent, Tally
from rag_platform.llm.structured import (
    Unfit,
    parse,
    repair_message,
    schema_name,
    strict_schema,
)
from rag_platform.llm.untrusted import new_boundary
from rag_platform.settings_llm import LlmSettings
from rag_platform.settings_values import DEFAULT_TENANT

logger = logging.getLogger(__name__)

__all__ = [
    "EXTRACTIVE",
    "Ask",
    "Call",
    "Completion",
    "Confidence",
    "Extractive",
    "ExtractiveAnswer",
    "Gateway",
    "Route",
]

# For the samples that are compared: at the prompt's own temperature they would all say the same.
_SAMPLE_TEMPERATURE = 0.7
# An answer that is cut off is asked for again with twice the length, up to this.
_MOST_OUTPUT_TOKENS = 16_384
# Of English text; other scripts have fewer. For estimates only, never for a limit.
_BYTES_PER_TOKEN = 4
# The part of `max_output_tokens` that an answer is expected to take.
_EXPECTED_OUTPUT = 0.25


@dataclass(frozen=True)
class Call(Generic[M]):
    """A question made ready to be sent: the request, and the key of its answer in the cache."""

    ask: Ask[M]
    prompt: Prompt
    request: ChatRequest
    key: bytes


@dataclass(frozen=True)
class Route:
    """The models for a call, the first choice first, and the score that chose them."""

    complexity: Complexity
    chain: list[Step]


class Gateway:
    """Answers of models to prompts, of the form of a pydantic model.

    In this order: cache, route, and for each model of the chain admission (budget and rate limit),
    the request, its price in the ledger; then validation with one repair turn, and the cache.
    Without a key, methods of `extractive` by the prompt's name stand in, at no cost; they are
    validated alike, and leave nothing in the ledger.
    """

    def __init__(
        self,
        *,
        connection: Connection | None,
        settings: LlmSettings,
        prompts: PromptLibrary,
        admission: Admission,
        prices: Prices,
        cache: AnswerCache,
        run_id: str,
        purpose: str,
        extractive: Mapping[str, Extractive],
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        # Part of every key: what one tenant paid for is no other's.
        self._owner = {} if tenant == DEFAULT_TENANT else {"tenant": tenant}
        self._settings = settings
        self._prompts = prompts
        self._budget = admission.budget
        self._prices = prices
        self._cache = cache
        self._run_id = run_id
        self._purpose = purpose
        self._extractive = extractive
        self._sender: Sender | None = None
        if connection is not None and connection.api_key:
            self._sender = Sender(
                ChatClient(connection),
                admission=admission,
                prices=prices,
                run_id=run_id,
                purpose=purpose,
            )

    @property
    def is_extractive(self) -> bool:
        """Whether there is no service, so that extractive methods answer."""
        return self._sender is None

    @property
    def _service(self) -> Sender:
        if self._sender is None:
            raise ServiceRefused("no model can be asked without a key: set OPENAI_API_KEY.")
        return self._sender

    def complete(
        self,
        prompt_name: str,
        variables: Mapping[str, str],
        schema: type[M],
        *,
        context: Any = None,
    ) -> Completion[M]:
        """The answer to a prompt with these variables.

        Raises the kinds of `ModelError`, `BudgetExceeded`, `UnknownPrice`, `RateLimitTimeout` and
        `PromptError`.
        """
        ask = Ask(prompt_name, variables, schema, context)
        if self._sender is None:
            return self._extracted(ask)
        call = self.prepare(ask)
        if not call.prompt.cache_hours:
            return self._answered(call)
        if known := self._known(call):
            return known
        with self._cache.flight(call.key):
            if known := self._known(call):
                return known
            completion = self._answered(call)
            self.keep(call, completion)
        return completion

    def map(self, asks: Iterable[Ask[M]]) -> Iterator[Completion[M] | PlatformError]:
        """The answers in the order of the questions, `settings.concurrency` at a time.

        A question that fails has its error in its place, and so do those that the budget does not
        reach; a cheaper one after them may still be answered. Any other exception is raised.
        """

        def answer(ask: Ask[M]) -> Completion[M] | PlatformError:
            try:
                return self.complete(
                    ask.prompt_name, ask.variables, ask.schema, context=ask.context
                )
            except PlatformError as error:
                return error

        threads = self._settings.concurrency
        return ordered_map(answer, asks, threads=threads, ahead=2 * threads)

    def choice(self, prompt_name: str) -> Choice:
        """The prompt of this name and the models that questions go to now."""
        return Choice.of(self._prompts.get(prompt_name), self._settings)

    def chosen(self, choice: Choice) -> "Gateway":
        """This gateway with the models of a choice; ask it with the choice's `prompt`.

        Raises `PromptChanged` where the prompt is another by now, and `PromptError` without one.
        """
        if self._prompts.get(choice.prompt).sha256 != choice.prompt_sha256:
            raise PromptChanged(
                f"prompt {choice.prompt}: its file is not the one that was chosen. Put that back; "
                "write changes to a new version."
            )
        other = copy.copy(self)
        other._settings = choice.applied_to(self._settings)
        return other

    def fingerprint(self, prompt_name: str, schema: type[BaseModel]) -> str:
        """Everything but the variables that decides an answer, in a line: for keys of a memo."""
        form = strict_schema(schema)
        if self._sender is None:
            return "/".join([EXTRACTIVE, prompt_name, _digest(form), *self._owner.values()])
        prompt = self._prompts.get(prompt_name)
        host = urlsplit(self._sender.endpoint).hostname or ""
        decides = [self._routing(), prompt.sha256, form]
        return "/".join(["chat", host, prompt.label, _digest(decides), *self._owner.values()])

    def estimate(
        self, prompt_name: str, variables_bytes: int, output_tokens: int | None = None
    ) -> int:
        """What an answer is expected to cost, in micro-dollars, at the dearest of the tiers.

        Four bytes make a token; an answer takes a quarter of what the prompt allows, if
        `output_tokens` does not say more precisely. Retries, repairs and samples are left out.
        """
        if self._sender is None:
            return 0
        prompt = self._prompts.get(prompt_name)
        read = len((prompt.system + prompt.user).encode()) + variables_bytes
        if output_tokens is None:
            output_tokens = math.ceil(prompt.max_output_tokens * _EXPECTED_OUTPUT)
        return max(
            self._prices.microusd(
                model,
                input_tokens=math.ceil(read / _BYTES_PER_TOKEN),
                output_tokens=output_tokens,
            )
            for model in self._settings.tiers.values()
        )

    def prepare(self, ask: Ask[M]) -> Call[M]:
        """The request for a question, with a data boundary of its own."""
        prompt = self._prompts.get(ask.prompt_name)
        variables = {name: _sendable(value) for name, value in ask.variables.items()}
        boundary = new_boundary()
        messages = prompt.render(variables, boundary=boundary)
        request = ChatRequest(
            messages=messages,
            schema_name=schema_name(ask.schema),
            schema=strict_schema(ask.schema),
            max_tokens=prompt.max_output_tokens,
            temperature=prompt.temperature,
            logprobs=prompt.confidence_field is not None,
        )
        # Who sees the messages without the boundary still has to tell all variables apart.
        fixed = [{**m, "content": m["content"].replace(boundary, "")} for m in messages]
        used = {name: variables[name] for name in prompt.variables}
        key = cache_key(
            form=1,
            endpoint=self._service.endpoint,
            routing=self._routing(),
            prompt=[prompt.label, prompt.sha256],
            messages=fixed,
            variables=used,
            schema=[request.schema_name, request.schema],
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            samples=prompt.samples,
            confidence_field=prompt.confidence_field,
            **self._owner,
        )
        return Call(replace(ask, variables=variables), prompt, request, key)

    def route(self, call: Call[Any]) -> Route:
        """The models for a call, by its complexity."""
        settings = self._settings
        score = complexity("\n".join(call.ask.variables.values()), call.request.schema)
        tier = tier_of(score.score, list(settings.tiers), settings.complexity_threshold)
        return Route(score, chain_of(tier, settings.tiers, settings.fallbacks))

    def finish(self, call: Call[M], route: Route, sent: Sent, tally: Tally) -> Completion[M]:
        """What a model's answer comes to: validated, repaired if need be, with its confidence.

        Raises `InvalidAnswer`, and what asking again raises.
        """
        repaired = False
        try:
            value = _fitting(sent.answer, call)
        except Unfit as unfit:
            repaired = True
            sent, value = self._repaired(call, sent, unfit, tally)
        confidence = self._confidence(call, sent, value, tally)
        return Completion(
            value=value,
            model=sent.step.model,
            prompt=call.prompt.label,
            tier=sent.step.tier,
            complexity=route.complexity.score,
            input_tokens=tally.input_tokens,
            output_tokens=tally.output_tokens,
            microusd=tally.microusd,
            cached=False,
            attempts=tally.attempts,
            confidence=confidence,
            repaired=repaired,
            fallback=sent.fallback,
        )

    def keep(self, call: Call[M], completion: Completion[M]) -> None:
        """Store an answer for as long as its prompt says."""
        if call.prompt.cache_hours:
            self._cache.put(call.key, completion.stored(), hours=call.prompt.cache_hours)

    def _known(self, call: Call[M]) -> Completion[M] | None:
        """The answer in the cache, booked as such."""
        stored = self._cache.get(call.key)
        if stored is None:
            return None
        try:
            value = parse(json.dumps(stored["value"]), call.ask.schema)
        except Unfit:
            return None  # the schema's own rules, which no key can hold, have changed
        self._budget.cached(
            run_id=self._run_id,
            purpose=self._purpose,
            model=stored["model"],
            prompt=call.prompt.label,
            endpoint=self._service.endpoint,
            saved_microusd=stored["microusd"],
            input_tokens=stored["input_tokens"],
            output_tokens=stored["output_tokens"],
        )
        return Completion.of_stored(stored, value)

    def _answered(self, call: Call[M]) -> Completion[M]:
        """A new answer, paid for."""
        began = time.monotonic()
        route = self.route(call)
        tally = Tally(call.prompt.label)
        sent = self._service.send(route.chain, call.request, tally)
        logger.info(
            "%s: complexity %s, tier %s, answered by %s%s",
            call.prompt.label,
            route.complexity,
            route.chain[0].tier,
            sent.step.model,
            f" after {sent.fallback}" if sent.fallback else "",
        )
        done = self.finish(call, route, sent, tally)
        return replace(done, seconds=time.monotonic() - began)

    def _repaired(self, call: Call[M], sent: Sent, unfit: Unfit, tally: Tally) -> tuple[Sent, M]:
        """The answer to one more try of the same model: longer, or told what was wrong."""
        request = call.request
        if not sent.answer.cut_off:
            turn = repair_message(unfit, request.schema)
            request = replace(request, messages=[*request.messages, turn])
        elif request.max_tokens < _MOST_OUTPUT_TOKENS:
            longer = min(2 * request.max_tokens, _MOST_OUTPUT_TOKENS)
            request = replace(request, max_tokens=longer)
        else:
            raise self._invalid(call, sent, unfit)
        logger.info("%s: asking %s again (%s)", call.prompt.label, sent.step.model, unfit)
        again = self._service.send([sent.step], request, tally)
        again = replace(again, fallback=sent.fallback)
        try:
            return again, _fitting(again.answer, call)
        except Unfit as still:
            raise self._invalid(call, sent, still) from None

    def _invalid(self, call: Call[Any], sent: Sent, unfit: Unfit) -> InvalidAnswer:
        return InvalidAnswer(
            f"{self._purpose}: {sent.step.model} gave no valid answer to {call.prompt.label}, "
            f"nor when asked again ({unfit}). Change the prompt, its `max_output_tokens`, or the "
            "model of the tier."
        )

    def _confidence(self, call: Call[M], sent: Sent, value: M, tally: Tally) -> Confidence:
        field = call.prompt.confidence_field
        if field is None:
            return NO_CONFIDENCE
        if found := token_probability(sent.answer.logprobs, sent.answer.text, field):
            return found
        warmer = max(call.prompt.temperature, _SAMPLE_TEMPERATURE)
        request = replace(call.request, temperature=warmer, logprobs=False)
        samples: list[M | None] = []
        for _ in range(call.prompt.samples):
            try:
                answer = self._service.once(sent.step, request, tally)
                samples.append(_fitting(answer, call))
            except Unfit:
                samples.append(None)
            except (AttemptFailed, PlatformError) as error:
                # The answer itself is there and paid for: it is not given up for its confidence.
                logger.warning("%s: a sample failed (%s)", call.prompt.label, error)
                break
        return agreement(value, samples, field)

    def _extracted(self, ask: Ask[M]) -> Completion[M]:
        method = self._extractive.get(ask.prompt_name.partition("@")[0])
        if method is None:
            raise InvalidAnswer(
                f"{ask.prompt_name}: there is no extractive method for this prompt. Set "
                "OPENAI_API_KEY, so that a model answers it."
            )
        found = method(ask)
        try:
            value = parse(json.dumps(found.value), ask.schema)
        except Unfit as unfit:
            raise InvalidAnswer(
                f"{ask.prompt_name}: the extractive method gave no valid answer ({unfit})."
            ) from None
        return Completion(
            value=value,
            model=EXTRACTIVE,
            prompt=self._prompts.get(ask.prompt_name).label,
            tier=EXTRACTIVE,
            complexity=0.0,
            input_tokens=0,
            output_tokens=0,
            microusd=0,
            cached=False,
            attempts=0,
            confidence=Confidence(found.confidence, "extractive"),
            repaired=False,
        )

    def _routing(self) -> list[Any]:
        settings = self._settings
        fallbacks = {name: list(others) for name, others in settings.fallbacks.items()}
        return [list(settings.tiers.items()), fallbacks, settings.complexity_threshold]


def _fitting(answer: ChatAnswer, call: Call[M]) -> M:
    """The answer in its form. Raises `Unfit`."""
    if answer.cut_off:
        raise Unfit(["The answer was cut off"], ["cut off at its length"])
    return parse(answer.text, call.ask.schema)


def _sendable(text: str) -> str:
    """The text without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
