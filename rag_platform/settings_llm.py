"""Settings of the model gateway and of MLflow."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rag_platform.settings_values import (
    Count,
    Dollars,
    Folder,
    HttpUrl,
    Name,
    PromptVersion,
    Seconds,
    Section,
    Share,
    Text,
)


class BudgetSettings(Section):
    """Ceilings for what models may cost, completions and paid embeddings together."""

    daily_usd: Dollars = Field(
        default=Decimal("5.0"), description="Most that one day (UTC) may cost, in US dollars."
    )
    run_usd: Dollars = Field(
        default=Decimal("1.0"), description="Most that one run may cost, in US dollars."
    )


class PriceSettings(Section):
    """What a model costs, before any public price; a model of unknown price is refused."""

    input_per_million: Dollars = Field(description="US dollars per million tokens read.")
    output_per_million: Dollars = Field(
        description="US dollars per million tokens written; 0 for an embedding model."
    )


class RateLimitSettings(Section):
    """What the service accepts, over all models and all processes of this platform."""

    requests_per_minute: Count = Field(default=500, description="Requests in any 60 seconds.")
    tokens_per_minute: Count = Field(
        default=200_000, description="Tokens, read and written, in any 60 seconds."
    )


class LlmSettings(Section):
    """The OpenAI-compatible service for completions and embeddings; the key is OPENAI_API_KEY.

    Without a key extractive methods stand in for completions, and say so.
    """

    base_url: HttpUrl = Field(
        default="https://api.openai.com/v1", description="Address of the service."
    )
    tiers: dict[Name, Text] = Field(
        default_factory=lambda: {"small": "gpt-4o-mini", "large": "gpt-4.1"},
        min_length=1,
        description="Model of each tier, cheapest first: easy requests go to the first, hard ones "
        "to the last.",
    )
    fallbacks: dict[Name, tuple[Name, ...]] = Field(
        default_factory=lambda data: _default_fallbacks(data.get("tiers", {})),
        description="Tiers to try, in order, when a tier's model fails.",
    )
    complexity_threshold: Share = Field(
        default=0.5, description="Complexity score from which a request counts as hard."
    )
    limits: RateLimitSettings = Field(
        default=RateLimitSettings(), description="Limits that no minute passes."
    )
    concurrency: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        default=8, description="Requests of one step at a time."
    )
    timeout_s: Seconds = Field(default=60.0, description="Longest silence in an answer.")
    budget: BudgetSettings = Field(
        default=BudgetSettings(), description="Ceilings that no run and no day may pass."
    )
    prices: dict[Text, PriceSettings] = Field(
        default_factory=dict,
        description="Price of each model by its name, where the public price is not yours.",
    )
    prompts: dict[Name, PromptVersion] = Field(
        default_factory=dict,
        description="Version of a prompt, such as `v002`, where it is not to be the latest.",
    )
    prompts_folder: Folder | None = Field(
        default=None,
        description="Folder of your own prompts, NAME/v001.yaml; they come before the built-in "
        "ones of the same name and version.",
    )
    batch_backfills: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="Whether backfills use the service's Batch API: half the price, within a day.",
    )

    @field_validator("fallbacks")
    @classmethod
    def _to_tiers(
        cls, fallbacks: dict[str, tuple[str, ...]], info: ValidationInfo
    ) -> dict[str, tuple[str, ...]]:
        tiers = info.data.get("tiers", {})
        for tier, others in fallbacks.items():
            for name in (tier, *others):
                if tiers and name not in tiers:
                    raise ValueError(f"{name!r} is no tier; there are: {', '.join(tiers)}")
            if tier in others or len(set(others)) != len(others):
                raise ValueError(f"{tier}: a tier is tried once; name each other tier once")
        return fallbacks


def _default_fallbacks(tiers: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {"large": ("small",)} if {"small", "large"} <= tiers.keys() else {}


class MlflowSettings(Section):
    """The MLflow server; credentials come from MLflow's own environment variables."""

    tracking_uri: Text | None = Field(
        default=None,
        description="Address of the server; null for a database file below the state folder.",
    )
