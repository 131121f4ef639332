"""What enriching a source still takes, and its expected price. Asks and records nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rag_platform.enrichment.chain import Enrichment
from rag_platform.llm.gateway import Gateway
from rag_platform.llm.prompts import Prompt, PromptLibrary


@dataclass(slots=True)
class EnrichmentNeed:
    """Questions by step that no answer is kept of, the windows from first to last that have any,
    and the price that is expected of them."""

    questions: dict[str, int] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    cost_usd: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def enrichment_need(
    enrichment: Enrichment, windows: Sequence[str], *, gateway: Gateway, prompts: PromptLibrary
) -> EnrichmentNeed:
    """What the steps would ask about the pages of some windows, oldest first.

    Where a step has not run yet, the ones after it are counted by the documents alone. The price
    is that of the dearest tier (`Gateway.estimate`), without retries and repairs.
    """
    need = EnrichmentNeed()
    microusd = 0
    for step in enrichment.steps:
        prompt = prompts.get(step.prompt)
        count = 0
        for window in windows:
            for variables in step.unasked(window):
                count += 1
                microusd += gateway.estimate(step.prompt, _bytes(prompt, variables))
                need.first = min(need.first or window, window)
                need.last = max(need.last or window, window)
        need.questions[step.stage] = count
    need.cost_usd = microusd / 1_000_000
    return need


def _bytes(prompt: Prompt, variables: Mapping[str, str]) -> int:
    """Of the variables as they are sent: what comes from outside is cut."""
    return sum(
        len((value[: prompt.max_input_chars] if name in prompt.untrusted else value).encode())
        for name, value in variables.items()
    )
