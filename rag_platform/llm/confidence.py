"""How sure an answer is, from what can be measured: never from the model's own word."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from rag_platform.llm.structured import object_start

Method = Literal["token_probability", "agreement", "extractive", "none"]

# What rounding makes of a probability of one.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Confidence:
    """A value in [0, 1], not yet calibrated, and how it came about; None where nothing tells."""

    value: float | None
    method: Method


NO_CONFIDENCE = Confidence(None, "none")


def token_probability(logprobs: Any, text: str, field: str) -> Confidence | None:
    """The product of the probabilities of the tokens that hold the value of a top-level field.

    `text` is the answer, a JSON object; `logprobs` are those of its tokens, as the service gave
    them. The quote that ends a string counts too: it tells `loan` from `loans`. None where the
    tokens are missing, are not those of the text, or have probabilities that are none.
    """
    span = value_span(text, field)
    tokens = _tokens(logprobs)
    if span is None or tokens is None or b"".join(token for token, _ in tokens) != text.encode():
        return None
    total, position, counted = 0.0, 0, 0
    for token, logprob in tokens:
        end = position + len(token)
        if position < span[1] and end > span[0]:
            total += logprob
            counted += 1
        position = end
    return Confidence(math.exp(min(0.0, total)), "token_probability") if counted else None


def value_span(text: str, field: str) -> tuple[int, int] | None:
    """Where the value of a top-level field stands in a JSON object, in bytes from and to.

    A string is taken without its first quote. None where there is no such field.
    """
    decoder = json.JSONDecoder()
    position = object_start(text) + 1
    found = None
    try:
        while text[_after_space(text, position)] != "}":
            key, position = decoder.raw_decode(text, _after_space(text, position))
            position = _after_space(text, position)
            if text[position] != ":":
                return None
            start = _after_space(text, position + 1)
            _, end = decoder.raw_decode(text, start)
            if key == field:
                found = (start + (text[start] == '"'), end)
            position = _after_space(text, end)
            if text[position] == ",":
                position += 1
    except (ValueError, IndexError, RecursionError):
        return None
    if found is None:
        return None
    before = len(text[: found[0]].encode())
    return before, before + len(text[found[0] : found[1]].encode())


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\n\r":
        position += 1
    return position


def _tokens(logprobs: Any) -> list[tuple[bytes, float]] | None:
    """The tokens of an answer with the logarithms of their probabilities; None for anything odd."""
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(entries, list):
        return None
    tokens = []
    for entry in entries:
        token = _bytes(entry) if isinstance(entry, dict) else None
        logprob = entry.get("logprob") if token is not None else None
        # A whole number may be too large for a float, and is no logarithm but for 0.
        if type(logprob) is int and abs(logprob) < 1_000_000:
            logprob = float(logprob)
        if token is None or type(logprob) is not float or not logprob <= _ROUNDING:
            return None
        tokens.append((token, logprob))
    return tokens


def _bytes(entry: dict[str, Any]) -> bytes | None:
    """A token's bytes: a character may be spread over several tokens."""
    raw, text = entry.get("bytes"), entry.get("token")
    try:
        if isinstance(raw, list):
            return bytes(raw)
        return text.encode() if isinstance(text, str) else None
    except (ValueError, TypeError):
        return None


def agreement(answer: BaseModel, samples: Sequence[BaseModel | None], field: str) -> Confidence:
    """The share of further samples that say the same in a field; None is an unusable sample."""
    if not samples:
        return NO_CONFIDENCE
    said = _comparable(getattr(answer, field))
    same = sum(
        sample is not None and _comparable(getattr(sample, field)) == said for sample in samples
    )
    return Confidence(same / len(samples), "agreement")


def _comparable(value: Any) -> Any:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
