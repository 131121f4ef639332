"""Embeddings from OpenAI or a server that speaks its API: paid, budgeted, retried, validated.

Servers of one's own (text-embeddings-inference, vLLM, infinity) take fewer texts in a request than
OpenAI, each another number: what is refused for that is sent again in halves, and what follows is
no larger.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.validation import InvalidEmbedding, validate
from rag_platform.errors import PlatformError
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Attempt
from rag_platform.llm.http_errors import (
    QUOTA,
    asked_wait,
    may_pass,
    shown,
    tokens_of,
    was_not_billed,
    was_too_slow,
)
from rag_platform.llm.prices import OPENAI_URL, Prices
from rag_platform.retries import attempts
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    import openai

# https://platform.openai.com/docs/models: the length of a vector when none is asked for.
_KNOWN_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}

# https://platform.openai.com/docs/api-reference/embeddings/create: 2,048 texts and 300,000
# tokens a request. A token is at least one byte.
_REQUEST_TEXTS = 2048
_REQUEST_BYTES = 300_000
_REQUESTS_AT_ONCE = 4
# How servers say that a request has too many texts, besides status 413: with status 422
# text-embeddings-inference ("batch size 33 > maximum allowed batch size 32") and infinity ("List
# should have at most 2048 items"), with 400 others ("array too long", "batch size is invalid").
_TOO_MANY = re.compile(r"batch size|at most \d+ items|array too long|too many inputs", re.I)
# How they say that one text is too long, with the same statuses: "`inputs` must have less than 512
# tokens", "This model's maximum context length is 8192 tokens". No smaller request helps.
_TOO_LONG = re.compile(r"less than \d+ tokens|context length|input length|sequence length", re.I)

# Until it is answered a request counts with more tokens than it has. With so small a share of what
# a minute allows, little of that stays unused.
_SHARE_OF_A_MINUTE = 20
_LONGEST_ADMISSION_S = 600.0

_ATTEMPTS = 3
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 120.0

# A number of a vector is written with so many bytes at most, the rest of an answer takes so many.
_NUMBER_BYTES = 32
_OTHER_BYTES = 1 << 20

_ADVICE = {
    400: "Check the model, its dimensions, and the length of the texts",
    401: "The key was refused: check OPENAI_API_KEY",
    403: "The key may not use this model: check its project and rights",
    404: "Check the embedder's model and `llm.base_url`",
    413: "One text is too large for the server: lower the chunker's `max_tokens`",
    422: "Check the length of the texts: the server may have to be told to truncate, or the "
    "chunker's `max_tokens` be lowered",
    429: "Run again later; what was stored is not paid for twice",
}


class EmbeddingServiceError(PlatformError):
    """The embedding service refused, could not be reached, or answered what cannot be used.

    `transient` where another try may succeed, after `wait_s` seconds if the service asks for that:
    not for a refused key or an unusable answer. `too_long` where a text has too many tokens for the
    model: the longest, if others have not.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        wait_s: float | None = None,
        too_long: bool = False,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.wait_s = wait_s
        self.too_long = too_long


class _TooLarge(EmbeddingServiceError):
    """The server takes smaller requests: fewer texts where `counted`, else fewer bytes."""

    counted = False


class _TakesNoDimension(EmbeddingServiceError):
    """The server's models have one length, and it refuses to be asked for it."""


@dataclass(frozen=True, slots=True)
class OpenAIConnection:
    """Where the service is and the key for it. `timeout_s` is the longest silence awaited."""

    base_url: str = OPENAI_URL
    api_key: str = field(default="", repr=False)
    timeout_s: float = 60.0


class OpenAIEmbedder(Embedder):
    """Embeddings by POST /embeddings, within the rate limits, every attempt in the ledger.

    An attempt is reserved at the UTF-8 bytes of its texts, more than any byte-level tokenizer
    makes of them; it is settled by the `usage` of the answer, or in full where there is none.
    `dimension` is asked of the service; without it, the model's own is taken where it is known.
    Raises `UnknownPrice`, `BudgetExceeded`, `RateLimitTimeout` and `EmbeddingServiceError`.
    """

    def __init__(
        self,
        model: str,
        dimension: int | None,
        *,
        connection: OpenAIConnection,
        admission: Admission,
        prices: Prices,
        run_id: str,
        purpose: str,
        batch_size: int = 256,
    ) -> None:
        self.name = model
        self.dimension = dimension or _own_dimension(model)
        self.batch_size = batch_size
        self.paid = prices.microusd(model, input_tokens=1_000_000) > 0
        host = urlsplit(connection.base_url).hostname or ""
        self.fingerprint = f"openai/{host}/{self.dimension}/{model}"
        self._connection = connection
        self._admission = admission
        self._prices = prices
        self._run_id = run_id
        self._purpose = purpose
        self._asks_dimension = _KNOWN_DIMENSIONS.get(model) != self.dimension
        self._most_texts, self._most_bytes = _REQUEST_TEXTS, _REQUEST_BYTES
        self._endpoint = display_url(connection.base_url)
        self._where = f"{model} at {self._endpoint}"

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, float32 of shape (len(texts), dimension), of unit length."""
        _refuse_unsendable(texts)
        share = self._admission.tokens_per_minute // _SHARE_OF_A_MINUTE
        most_bytes = min(self._most_bytes, share)
        parts = list(_requests(texts, most_texts=self._most_texts, most_bytes=most_bytes))
        if parts:
            _ = self._client  # refused without a key, and made before threads share it
        if len(parts) < 2:
            found = [self._embed(part) for part in parts]
        else:
            with ThreadPoolExecutor(min(len(parts), _REQUESTS_AT_ONCE)) as pool:
                found = list(pool.map(self._embed, parts))
        return np.concatenate([np.empty((0, self.dimension), np.float32), *found])

    def embed_query(self, text: str) -> Vectors:
        """The vector of a query, float32 of shape (dimension,), of unit length."""
        vector: Vectors = self.embed_passages([text])[0]
        return vector

    def _embed(self, texts: list[str]) -> Vectors:
        """One request, or as many as the server was found to want meanwhile."""
        parts = list(_requests(texts, most_texts=self._most_texts, most_bytes=self._most_bytes))
        if len(parts) > 1:
            return np.concatenate([self._embed(part) for part in parts])
        try:
            return self._embed_at_once(texts)
        except _TooLarge as error:
            if error.counted:
                self._most_texts = min(self._most_texts, -(-len(texts) // 2))
            else:
                self._most_bytes = min(self._most_bytes, _size(texts) // 2)
        return self._embed(texts)

    def _embed_at_once(self, texts: list[str]) -> Vectors:
        call_id = uuid.uuid4().hex
        retries = attempts(
            _again_in,
            most=_ATTEMPTS,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_LONGEST_WAIT_S,
        )
        for attempt in retries:
            with attempt:
                return self._vectors(self._attempt(texts, call_id), len(texts))
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, texts: list[str], call_id: str) -> Any:
        """The answer's JSON; asked again at once by a server that takes no `dimensions`."""
        asks_dimension = self._asks_dimension
        try:
            return self._request(texts, call_id, asks_dimension)
        except _TakesNoDimension:
            self._asks_dimension = False
        return self._request(texts, call_id, False)

    def _request(self, texts: list[str], call_id: str, asks_dimension: bool) -> Any:
        """One request, reserved before and booked after; returns the answer's JSON."""
        import openai

        bound = _size(texts)
        attempt = Attempt(
            endpoint=self._endpoint,
            model=self.name,
            run_id=self._run_id,
            purpose=self._purpose,
            tokens=bound,
            microusd=self._prices.microusd(self.name, input_tokens=bound),
            call_id=call_id,
        )
        reservation = self._admission.admit(attempt, timeout_s=_LONGEST_ADMISSION_S)
        begun = time.monotonic()
        try:
            answer = self._client.embeddings.with_raw_response.create(
                input=texts,
                model=self.name,
                encoding_format="float",
                dimensions=self.dimension if asks_dimension else openai.omit,
            )
        except openai.APIError as error:
            took = time.monotonic() - begun
            self._admission.timed(self.name, self._book(reservation, error), took)
            # Not chained: the service's own words may hold the key and the texts, and a log shows
            # all of a chain.
            raise self._explained(error, texts, asks_dimension) from None
        took = time.monotonic() - begun
        content = _json(answer.content)
        billed = _tokens(content)
        tokens = bound if billed is None else billed
        self._admission.budget.settle(
            reservation,
            input_tokens=tokens,
            output_tokens=0,
            microusd=self._prices.microusd(self.name, input_tokens=tokens),
        )
        self._admission.timed(self.name, "answered", took)
        return content

    def _book(self, reservation: int, error: "openai.APIError") -> str:
        """A request without an answer: failed, or lost where it may have been billed; in a word."""
        import openai

        if isinstance(error, openai.APIStatusError):
            outcome = f"http_{error.status_code}"
            self._admission.budget.fail(reservation, error=outcome)
            if may_pass(error) and (wait := asked_wait(error)):
                self._admission.pause(self._endpoint, seconds=wait, reason=outcome)
        elif was_not_billed(error):
            outcome = "unreachable"
            self._admission.budget.fail(reservation, error=outcome)
        else:
            outcome = "timeout" if isinstance(error, openai.APITimeoutError) else "reset"
            self._admission.budget.lost(reservation, error=outcome)
        return outcome

    @cached_property
    def _client(self) -> "openai.OpenAI":
        from rag_platform.llm.bounded_http import openai_client

        if not self._connection.api_key:
            raise EmbeddingServiceError(
                f"{self._where}: there is no key. Set OPENAI_API_KEY; a server of your own that "
                "needs none takes any value."
            )
        most = _REQUEST_TEXTS * self.dimension * _NUMBER_BYTES + _OTHER_BYTES
        return openai_client(self._connection, most_bytes=most)

    def _vectors(self, content: Any, expected: int) -> Vectors:
        """The vectors of an answer in the order of the texts, validated and of unit length."""
        try:
            vectors = validate(_in_order(content), expected=expected, dimension=self.dimension)
        except InvalidEmbedding as error:
            raise EmbeddingServiceError(f"{self._where}: {error}") from error
        exact = vectors.astype(np.float64)
        unit: Vectors = (exact / np.linalg.norm(exact, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _explained(
        self, error: "openai.APIError", texts: list[str], asks_dimension: bool
    ) -> EmbeddingServiceError:
        """What went wrong and what to do, in one line and without the key."""
        import openai

        key, wait, too_long = self._connection.api_key, None, False
        advice = "Check `llm.base_url`, and that the service runs"
        if isinstance(error, openai.APIStatusError):
            wait = asked_wait(error)
            said = shown(error.message, key=key, sent=texts)
            if asks_dimension and self._may_have_one_length(error, said):
                return _TakesNoDimension(f"{self._where}: takes no `dimensions` ({said}).")
            is_about_size = error.status_code in (400, 413, 422)
            counted = is_about_size and _TOO_MANY.search(error.message)
            too_long = is_about_size and not counted and bool(_TOO_LONG.search(error.message))
            if len(texts) > 1 and not too_long and (counted or error.status_code == 413):
                smaller = _TooLarge(f"{self._where}: takes smaller requests ({said}).")
                smaller.counted = bool(counted)
                return smaller
            what = f"answered {error.status_code} ({said})"
            advice = _ADVICE.get(error.status_code, "Run again when the service is well")
            if too_long:
                advice = _ADVICE[422]
            if QUOTA in (error.code, error.type):
                advice = "The account's quota is used up: add credit, or use another key"
            elif wait and wait > _LONGEST_WAIT_S:
                advice = f"The service asks to wait {wait:.0f} s: run again after that"
        elif isinstance(error, openai.APITimeoutError) and not was_too_slow(error):
            what = f"no answer within {self._connection.timeout_s:g} s"
        else:
            what = f"cannot be reached ({shown(str(error.__cause__ or error), key=key)})"
        is_soon = wait is None or wait <= _LONGEST_WAIT_S
        return EmbeddingServiceError(
            f"{self._where}: {what}. {advice}.",
            transient=may_pass(error) and is_soon,
            wait_s=wait,
            too_long=too_long
            or (isinstance(error, openai.APIStatusError) and error.status_code == 413),
        )

    def _may_have_one_length(self, error: "openai.APIStatusError", said: str) -> bool:
        """Servers with models of one length refuse to be asked for it; the answer is checked."""
        return (
            self.name not in _KNOWN_DIMENSIONS
            and error.status_code == 400
            and "dimension" in said.lower()
        )


def _own_dimension(model: str) -> int:
    if model not in _KNOWN_DIMENSIONS:
        raise EmbeddingServiceError(
            f"{model}: how long its vectors are is not known. Set `dimensions` of this embedder."
        )
    return _KNOWN_DIMENSIONS[model]


def _refuse_unsendable(texts: Sequence[str]) -> None:
    """The service refuses a whole request for one text that is empty or not Unicode."""
    for position, text in enumerate(texts):
        if not text.strip() or not _is_unicode(text):
            raise InvalidEmbedding(
                f"embeddings: the text at position {position} is empty or not valid Unicode; "
                "nothing was sent. Leave it out"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def _requests(texts: Sequence[str], *, most_texts: int, most_bytes: int) -> Iterator[list[str]]:
    """The texts in order, in as few requests as the limits allow; a longer text goes alone."""
    part: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode())
        if part and (len(part) == most_texts or size + length > most_bytes):
            yield part
            part, size = [], 0
        part.append(text)
        size += length
    if part:
        yield part


def _again_in(error: Exception) -> bool | float:
    """Whether to try again, or the seconds to wait before, as the service asks."""
    if not isinstance(error, EmbeddingServiceError) or not error.transient:
        return False
    return True if error.wait_s is None else error.wait_s


def _json(content: bytes) -> Any:
    """The JSON of an answer; None when it is none (a sign-in page, half an answer)."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _tokens(content: Any) -> int | None:
    """The tokens billed, or None when the answer does not say."""
    return tokens_of(content.get("usage"), "prompt_tokens") if isinstance(content, dict) else None


def _in_order(content: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The vectors by their `index`; each text must have exactly one."""
    try:
        entries = {entry["index"]: entry["embedding"] for entry in content["data"]}
        if len(entries) != len(content["data"]) or set(entries) != set(range(len(entries))):
            raise InvalidEmbedding("the answer gives two vectors for one text, or none")
        vectors = np.asarray([entries[index] for index in range(len(entries))], np.float64)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise InvalidEmbedding(
            "the answer is no list of vectors. Check that `llm.base_url` is the address of an "
            "OpenAI-compatible API (it often ends in /v1)"
        ) from error
    # What a float32 cannot hold is caught as infinity.
    with np.errstate(over="ignore"):
        return vectors.astype(np.float32).astype(np.float64)
