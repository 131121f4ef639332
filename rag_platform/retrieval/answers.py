"""Answers to questions from what an index holds: every sentence with a citation that was checked,
or a refusal that says why."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rag_platform.encoders.sentences import one_line
from rag_platform.errors import PlatformError
from rag_platform.llm.gateway import Completion, Gateway
from rag_platform.llm.untrusted import REMOVED_INSTRUCTION, REMOVED_MARK, neutralize
from rag_platform.retrieval.grounding import located, shown
from rag_platform.retrieval.likeness import Match, match
from rag_platform.retrieval.search import Filters, Result
from rag_platform.settings_indexes import AskSettings

PROMPT = "passage_answer"
LONGEST_QUESTION = 1_000

_MOST_SENTENCES = 10
_MOST_QUOTES = 5
_LONGEST_SENTENCE = 1_000
_LONGEST_TITLE = 200

# Why there is no answer: nothing was found; what was found is not about the question; a model read
# it and says that the answer is not there; nothing that it said stands in a passage.
Refusal = Literal["nothing_found", "weak_retrieval", "not_in_passages", "no_valid_citation"]

Search = Callable[[str, int, Filters], Sequence[Result]]


class UnfitQuestion(PlatformError):
    """A question that is empty or too long."""


class Quote(BaseModel):
    """What a model says that it has from a passage, by the number that it was shown with."""

    model_config = ConfigDict(extra="forbid")
    passage: int
    quote: str


class Said(BaseModel):
    """A sentence of an answer, and what it is taken from."""

    model_config = ConfigDict(extra="forbid")
    text: str
    citations: list[Quote]


class PassageAnswer(BaseModel):
    """The form of a model's answer. Nothing in it is believed before it was checked."""

    model_config = ConfigDict(extra="forbid")
    refused: bool
    sentences: list[Said]


@dataclass(frozen=True, slots=True)
class Material:
    """The texts of the passages and how like the question they are, for the extractive method."""

    passages: tuple[str, ...]
    match: Match


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote as it shows in a document, at [start, end) of its text; `page` and `heading` are
    those of its passage. `uris` are all addresses of the passage, `uri` the first of them."""

    number: int
    title: str
    source: str
    uri: str
    uris: tuple[str, ...]
    page: int | None
    heading: str
    quote: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A sentence, and the numbers of its citations, at least one."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question comes to: sentences with citations, or `refusal`.

    `likeness`, 0 to 1, is how likely the passages found hold the answer. `dropped` sentences had no
    citation that holds. `model` is `extractive` where none was asked, and empty where there was
    nothing to ask about.
    """

    question: str
    likeness: float
    refusal: Refusal | None = None
    sentences: tuple[AnswerSentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    dropped: int = 0
    model: str = ""
    cached: bool = False
    microusd: int = 0

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


class Answers:
    """Answers questions of one reader: `search` finds what that reader may see, no more.

    `gateway` is opened for each question that is asked of a model.
    """

    def __init__(
        self, search: Search, *, gateway: Callable[[], Gateway], rules: AskSettings
    ) -> None:
        self._search = search
        self._gateway = gateway
        self._rules = rules

    def ask(self, question: str, *, filters: Filters | None = None) -> Answer:
        """The answer. Raises `UnfitQuestion`, and what searching and the gateway raise."""
        question = one_line(question)
        if not 0 < len(question) <= LONGEST_QUESTION:
            raise UnfitQuestion(
                f"question: it has {len(question):,} characters; write 1 to {LONGEST_QUESTION:,}."
            )
        results = self._search(question, self._rules.passages, filters or {})
        if not results:
            return Answer(question, 0.0, "nothing_found")
        passages = tuple(shown(result.text) for result in results)
        found = match(question, passages)
        likeness = round(found.likeness, 4)
        if found.likeness < self._rules.min_score:
            return Answer(question, likeness, "weak_retrieval")
        completion = self._gateway().complete(
            PROMPT,
            {"question": question, "passages": _numbered(results, passages)},
            PassageAnswer,
            context=Material(tuple(result.text for result in results), found),
        )
        return _checked(question, likeness, completion, results)


def _numbered(results: Sequence[Result], passages: Sequence[str]) -> str:
    """The passages as a model is shown them, from 1."""
    parts = []
    for number, (result, passage) in enumerate(zip(results, passages, strict=True), start=1):
        place = " > ".join(filter(None, (result.title, result.heading)))
        parts.append(f"[{number}] {shown(one_line(place))[:_LONGEST_TITLE]}\n{passage}")
    return "\n\n".join(parts)


def _checked(
    question: str, likeness: float, completion: Completion[PassageAnswer], results: Sequence[Result]
) -> Answer:
    """The part of an answer that stands in the passages."""
    sources = _Sources(results)
    said = [] if completion.value.refused else completion.value.sentences[:_MOST_SENTENCES]
    sentences = [kept for each in said if (kept := _sentence(each, sources))]
    refusal: Refusal | None = None
    if not sentences:
        refusal = "no_valid_citation" if said else "not_in_passages"
    return Answer(
        question,
        likeness,
        refusal,
        tuple(sentences),
        tuple(sources.cited.values()),
        dropped=len(said) - len(sentences),
        model=completion.model,
        cached=completion.cached,
        microusd=completion.microusd,
    )


def _sentence(said: Said, sources: "_Sources") -> AnswerSentence | None:
    """A sentence with those of its citations that hold; None without any."""
    text = one_line(neutralize(said.text[:_LONGEST_SENTENCE]).text)
    if not text or REMOVED_INSTRUCTION in text or REMOVED_MARK in text:
        return None
    numbers = [sources.number(each) for each in said.citations[:_MOST_QUOTES]]
    kept = tuple(dict.fromkeys(number for number in numbers if number))
    return AnswerSentence(text, kept) if kept else None


@dataclass(slots=True)
class _Sources:
    """The passages that were given, and what is cited of them: each quote once."""

    results: Sequence[Result]
    cited: dict[tuple[str, int, int], Citation] = field(default_factory=dict)

    def number(self, quote: Quote) -> int | None:
        """The number of a citation; None where the passage was not given or lacks the quote."""
        if not 1 <= quote.passage <= len(self.results):
            return None
        result = self.results[quote.passage - 1]
        span = located(quote.quote, result.text)
        if span is None:
            return None
        begin, end = span
        key = (result.doc_id, result.start + begin, result.start + end)
        if key not in self.cited:
            self.cited[key] = Citation(
                number=len(self.cited) + 1,
                title=result.title,
                source=result.source,
                uri=result.uri,
                uris=result.uris,
                page=result.page,
                heading=result.heading,
                quote=one_line(result.text[begin:end]),
                start=result.start + begin,
                end=result.start + end,
            )
        return self.cited[key].number
