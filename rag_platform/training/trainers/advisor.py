"""An advisor: questions answered from a text by a model service, or by rules where there is none.

Nothing is fitted. What is chosen is a prompt version and the models that are asked with it; this
choice is evaluated, kept and served like any other model. Each answer is paid once: it is kept
with its price and time, and so is that a model could not answer.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rag_platform.errors import PlatformError
from rag_platform.llm.budget import MICRO, BudgetExceeded
from rag_platform.llm.choice import Choice
from rag_platform.llm.completion import EXTRACTIVE as NO_MODEL
from rag_platform.llm.completion import Ask, Completion, Extractive, ExtractiveAnswer
from rag_platform.llm.errors import InvalidAnswer, ModelRefused, ServiceRefused
from rag_platform.storage.memo import Memo, memo_key
from rag_platform.training.errors import UnusableData
from rag_platform.training.tasks.answering import CONTEXT, QUESTION, Answering
from rag_platform.training.tasks.answers import Answer, as_json
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform.training.trainers import extractive_answers

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.llm.gateway import Gateway

logger = logging.getLogger(__name__)

PROMPT = "financial_answer"
PURPOSE = "models/financial_advisor"

_FILE = "advisor.json"
# What a model makes of one question, and will make of it again.
_LASTING = (InvalidAnswer, ModelRefused)

# As the columns of predictions have it.
Answered = dict[str, Any]


class Chosen(BaseModel):
    """The choice as it is kept. `tiers` in their order, the cheapest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["model", "extractive"]
    # Of the rules that answer without a model.
    rules: str = ""
    prompt: str = ""
    prompt_sha256: str = ""
    tiers: tuple[tuple[str, str], ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    complexity_threshold: float = 0.5

    @staticmethod
    def of(choice: Choice) -> "Chosen":
        """A choice of prompt and models."""
        return Chosen(
            method="model",
            prompt=choice.prompt,
            prompt_sha256=choice.prompt_sha256,
            tiers=tuple(choice.tiers.items()),
            fallbacks=dict(choice.fallbacks),
            complexity_threshold=choice.complexity_threshold,
        )

    def choice(self) -> Choice:
        """The choice, for a gateway."""
        return Choice(
            prompt=self.prompt,
            prompt_sha256=self.prompt_sha256,
            tiers=dict(self.tiers),
            fallbacks=self.fallbacks,
            complexity_threshold=self.complexity_threshold,
        )


class Advisor(Trainer):
    """Chooses the prompt version and the models that the settings have now.

    Without a key, rules answer (`extractive`), at no cost. `tier` is 0 to ask the cheapest model
    alone and -1 to ask the dearest; otherwise the complexity of a question decides.
    """

    version = "1"

    def __init__(self, *, tier: Literal[0, -1] | None = None) -> None:
        self._tier = tier

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> "AdvisorModel":
        """The choice as a model; rows and seed decide nothing."""
        return AdvisorModel(self._chosen(services), services)

    def load(self, folder: Path, *, services: Services) -> "AdvisorModel":
        """The choice that was saved."""
        try:
            text = (folder / _FILE).read_text(encoding="utf-8")
            return AdvisorModel(Chosen.model_validate_json(text), services)
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise UnusableData(
                f"{_FILE}: holds no choice of an advisor ({type(error).__name__}); train again."
            ) from error

    def fingerprint(self, services: Services | None = None) -> str:
        """With `services` also the prompt and the models, which are what makes the advisor."""
        chosen = self._chosen(services).model_dump_json() if services else ""
        return f"{super().fingerprint()}/{self._tier}/{extractive_answers.VERSION}/{chosen}"

    def _chosen(self, services: Services) -> Chosen:
        gateway = services.gateway(PURPOSE)
        if gateway.is_extractive:
            return Chosen(method="extractive", rules=extractive_answers.VERSION)
        choice = gateway.choice(PROMPT)
        if self._tier is not None:
            name, model = list(choice.tiers.items())[self._tier]
            choice = replace(choice, tiers={name: model}, fallbacks={})
        return Chosen.of(choice)


class AdvisorModel(Model):
    """Answers rows with `question` and `context` by what was chosen."""

    def __init__(self, chosen: Chosen, services: Services) -> None:
        self.chosen = chosen
        self._services = services

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """The answers in the columns of `Answering`.

        A question that the model refuses by its own rules, or answers in another form, has no
        `prediction`. Raises what keeps others from being answered, such as `BudgetExceeded`: the
        answers so far are kept, and the next call goes on behind them.
        """
        import pandas as pd

        asked = _asked(rows)
        if self.chosen.method == "model":
            answered = _Asking(self._gateway(), self.chosen, self._services.memo).answers(asked)
        else:
            answered = [_by_rules(*each) for each in asked]
        columns = list(Answering.prediction_columns)
        frame = pd.DataFrame(answered, index=rows.index, columns=columns)
        return frame.astype(dict.fromkeys(("score", "cost_usd", "latency_s"), float))

    def save(self, folder: Path) -> None:
        """Write the choice as JSON."""
        text = self.chosen.model_dump_json(indent=1)
        (folder / _FILE).write_text(text, encoding="utf-8")

    def parameters(self) -> dict[str, str | int | float | bool]:
        """What was chosen."""
        chosen = self.chosen
        if chosen.method == "extractive":
            return {"method": chosen.method, "model": NO_MODEL, "rules": chosen.rules}
        return {
            "method": chosen.method,
            "model": ", ".join(f"{tier}: {model}" for tier, model in chosen.tiers),
            "prompt": chosen.prompt,
            "prompt_sha256": chosen.prompt_sha256,
            "complexity_threshold": chosen.complexity_threshold,
        }

    def _gateway(self) -> "Gateway":
        gateway = self._services.gateway(PURPOSE)
        if gateway.is_extractive:
            models = ", ".join(model for _, model in self.chosen.tiers)
            raise ServiceRefused(
                f"{PURPOSE}: this version asks {models}, and there is no key: set OPENAI_API_KEY."
            )
        return gateway.chosen(self.chosen.choice())


class _Asking:
    """Questions to a model; what it has answered before is not asked again."""

    def __init__(self, gateway: "Gateway", chosen: Chosen, memo: Callable[[], Memo] | None) -> None:
        self._gateway = gateway
        self._prompt = chosen.prompt
        self._memo = memo() if memo else None
        self._fingerprint = gateway.fingerprint(chosen.prompt, Answer)
        self._stopped: PlatformError | None = None

    def answers(self, asked: Sequence[tuple[str, str]]) -> list[Answered]:
        """An answer for each, in order. Raises what is no matter of one question."""
        keys = [self._key(*each) for each in asked]
        found = self._known(keys)
        missing = {key: each for key, each in zip(keys, asked, strict=True) if key not in found}
        self._tell(missing)
        results = self._gateway.map(self._asks(missing))
        for key, result in zip(missing, results, strict=False):
            answered = self._answered(result)
            if answered is not None:
                found[key] = answered
                self._keep(key, answered)
        if self._stopped is not None:
            raise self._reason(len(asked) - sum(key in found for key in keys), len(asked))
        return [found[key] for key in keys]

    def _asks(self, missing: Mapping[bytes, tuple[str, str]]) -> Iterator[Ask[Answer]]:
        """Until something stands in the way: those under way are still waited for."""
        for question, context in missing.values():
            if self._stopped is not None:
                return
            yield Ask(self._prompt, {"question": question, "context": context}, Answer)

    def _answered(self, result: Completion[Answer] | PlatformError) -> Answered | None:
        if isinstance(result, _LASTING):
            logger.info("%s: no usable answer: %s", self._prompt, result)
            return _row(None, 0.0, "none", self._prompt)
        if isinstance(result, PlatformError):
            self._stopped = self._stopped or result
            return None
        sure = result.confidence.value
        likely = 1.0 if sure is None else sure
        return _row(
            result.value,
            1 - likely if result.value.refused else likely,
            result.model,
            result.prompt,
            # What another run has paid is in the cache without its price.
            cost_usd=None if result.cached else result.microusd / MICRO,
            latency_s=None if result.cached else result.seconds,
        )

    def _reason(self, left: int, total: int) -> PlatformError:
        error = self._stopped
        assert error is not None
        if isinstance(error, BudgetExceeded):
            return BudgetExceeded(
                f"{PURPOSE}: {left:,} of {total:,} questions wait, the others are answered and "
                f"kept: {error}",
                of_day=error.of_day,
            )
        return error

    def _tell(self, missing: Mapping[bytes, tuple[str, str]]) -> None:
        if missing:
            size = sum(len("".join(each).encode("utf-8", "replace")) for each in missing.values())
            one = self._gateway.estimate(self._prompt, size // len(missing))
            dollars = one * len(missing) / MICRO
            logger.info("%s: %d questions, some %.2f USD", PURPOSE, len(missing), dollars)

    def _key(self, question: str, context: str) -> bytes:
        content = json.dumps([question, context]).encode()
        return memo_key(PROMPT, self._fingerprint, content)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Answered]:
        values = self._memo.get_many(keys) if self._memo else {}
        return {key: json.loads(value) for key, value in values.items()}

    def _keep(self, key: bytes, answered: Answered) -> None:
        if self._memo:
            self._memo.put_many({key: json.dumps(answered).encode()})


def _asked(rows: "pd.DataFrame") -> list[tuple[str, str]]:
    """The questions and contexts of rows. Raises `UnusableData`."""
    for column in (QUESTION, CONTEXT):
        if column not in rows:
            raise UnusableData(f"rows have no column {column!r}; an advisor needs it.")
    asked = list(zip(rows[QUESTION], rows[CONTEXT], strict=True))
    for number, each in zip(rows.index, asked, strict=True):
        if not all(isinstance(text, str) for text in each):
            raise UnusableData(f"row {number}: question and context must be texts.")
    return asked


def _by_rules(question: str, context: str) -> Answered:
    began = time.perf_counter()
    found = extractive_answers.extract(question, context)
    latency = time.perf_counter() - began
    return _row(found.answer, found.held, NO_MODEL, "", cost_usd=0.0, latency_s=latency)


def _row(
    answer: Answer | None,
    score: float,
    model: str,
    prompt: str,
    *,
    cost_usd: float | None = None,
    latency_s: float | None = None,
) -> Answered:
    return {
        "prediction": None if answer is None else as_json(answer),
        "score": score,
        "model": model,
        "prompt": prompt,
        "cost_usd": cost_usd,
        "latency_s": latency_s,
    }


def _extracted(ask: Ask[Any]) -> ExtractiveAnswer:
    found = extractive_answers.extract(ask.variables["question"], ask.variables["context"])
    return ExtractiveAnswer(found.answer.model_dump(), found.held)


EXTRACTIVE: dict[str, Extractive] = {PROMPT: _extracted}
