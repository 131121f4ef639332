"""A question to the gateway and its answer, with all that is known of how it came about."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from rag_platform.llm.confidence import Confidence

M = TypeVar("M", bound=BaseModel)

EXTRACTIVE = "extractive"


@dataclass(frozen=True)
class Ask(Generic[M]):
    """A question: a prompt, what it is about, and the form of the answer.

    `context` is for the extractive method alone; no model sees it.
    """

    prompt_name: str
    variables: Mapping[str, str]
    schema: type[M]
    context: Any = None


@dataclass(frozen=True)
class ExtractiveAnswer:
    """What a method without a model makes of a question, and how sure it is, from 0 to 1."""

    value: dict[str, Any]
    confidence: float | None


Extractive = Callable[[Ask[Any]], ExtractiveAnswer]


@dataclass(frozen=True)
class Completion(Generic[M]):
    """An answer, where it came from, and what it cost.

    `model` answered as the model of `tier`; `fallback` says why not the first of the chain.
    Tokens and micro-dollars are those of all `attempts` of the call: 0 for a `cached` answer.
    `seconds` is how long the call took, with all waiting; 0 where it was answered before.
    Without a service, `model` is `extractive`.
    """

    value: M
    model: str
    prompt: str
    tier: str
    complexity: float
    input_tokens: int
    output_tokens: int
    microusd: int
    cached: bool
    attempts: int
    confidence: Confidence
    repaired: bool
    fallback: str | None = None
    seconds: float = 0.0

    def stored(self) -> dict[str, Any]:
        """As JSON for the cache."""
        stored = {name: value for name, value in vars(self).items() if name != "value"}
        value = self.value.model_dump(mode="json")
        return stored | {"value": value, "confidence": asdict(self.confidence)}

    @staticmethod
    def of_stored(stored: Mapping[str, Any], value: M) -> "Completion[M]":
        """The answer from the cache: it costs nothing this time."""
        told = {**stored, "value": value, "confidence": Confidence(**stored["confidence"])}
        free = dict.fromkeys(
            ("input_tokens", "output_tokens", "microusd", "attempts", "seconds"), 0
        )
        return Completion(**told | free | {"cached": True})
