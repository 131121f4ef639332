"""Which prompt and which models answer: what is chosen once, kept, and asked again the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_platform.llm.prompts import Prompt
from rag_platform.settings_llm import LlmSettings


@dataclass(frozen=True)
class Choice:
    """A prompt (`name@version`) with its digest, and the way from a request to a model."""

    prompt: str
    prompt_sha256: str
    tiers: Mapping[str, str]
    fallbacks: Mapping[str, tuple[str, ...]]
    complexity_threshold: float

    @staticmethod
    def of(prompt: Prompt, settings: LlmSettings) -> "Choice":
        """What is chosen by the settings."""
        return Choice(
            prompt=prompt.label,
            prompt_sha256=prompt.sha256,
            tiers=dict(settings.tiers),
            fallbacks=dict(settings.fallbacks),
            complexity_threshold=settings.complexity_threshold,
        )

    def applied_to(self, settings: LlmSettings) -> LlmSettings:
        """The settings with these models in the place of theirs."""
        update: dict[str, Any] = {
            "tiers": dict(self.tiers),
            "fallbacks": dict(self.fallbacks),
            "complexity_threshold": self.complexity_threshold,
        }
        return settings.model_copy(update=update)
