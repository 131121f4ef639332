"""Gateways for tests: prompts of their own, and money that is easy to count."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
import yaml
from pydantic import BaseModel, ConfigDict

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.gateway import Extractive, Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import PromptLibrary
from rag_platform.settings_llm import LlmSettings, PriceSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_base import metadata
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.servers.openai_api import KEY

# One micro-dollar a token: money in the assertions is the number of tokens.
PRICE = PriceSettings(input_per_million=Decimal(1), output_per_million=Decimal(1))


class Label(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label: Literal["loans", "cards"]
    reason: str


def write_prompt(
    folder: Path, name: str = "classify", version: str = "v001", **changes: Any
) -> None:
    """A prompt with the untrusted variable `text` whose confidence is that of `label`."""
    content = {
        "description": "Choose a label.",
        "system": "Choose the label of the text.",
        "user": "{{text}}",
        "untrusted": ["text"],
        "max_output_tokens": 40,
        "confidence_field": "label",
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / f"{version}.yaml").write_text(yaml.safe_dump(content | changes))


def gateway(
    catalog: Catalog,
    base_url: str,
    prompts: Path,
    *,
    key: str = KEY,
    run_usd: float = 5,
    timeout_s: float = 5,
    run_id: str = "run-1",
    requests_per_minute: int = 1_000_000,
    cache: AnswerCache | None = None,
    extractive: Mapping[str, Extractive] | None = None,
    **settings: Any,
) -> Gateway:
    """A gateway with the tiers small (`tiny`) and large (`big`), large falling back to small."""
    values: dict[str, Any] = {
        "tiers": {"small": "tiny", "large": "big"},
        "prices": {"tiny": PRICE, "big": PRICE},
    }
    chosen = LlmSettings(**(values | settings))
    budget = Budget(catalog, daily_usd=100, run_usd=run_usd)
    return Gateway(
        connection=OpenAIConnection(base_url, key, timeout_s),
        settings=chosen,
        prompts=PromptLibrary([prompts], {}, catalog, run_id),
        admission=Admission(
            catalog,
            budget,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=1_000_000_000,
        ),
        prices=Prices(chosen.prices, base_url=base_url),
        cache=cache or AnswerCache(catalog),
        run_id=run_id,
        purpose="classification",
        extractive=extractive or {},
    )


def rows(catalog: Catalog) -> list[sa.Row[Any]]:
    """The ledger, oldest first."""
    with catalog.read() as connection:
        return list(connection.execute(sa.select(ledger).order_by(ledger.c.id)))


def emptied(catalog: Catalog) -> Catalog:
    """The catalog as it was when it was made: quicker than another one."""
    with catalog.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    return catalog
