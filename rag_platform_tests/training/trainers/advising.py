"""Advisors over a scripted service: what a test asks, and what it is answered."""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.gateway import Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import BUILT_IN, PromptLibrary
from rag_platform.settings_llm import LlmSettings, PriceSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.training.trainer import Services
from rag_platform.training.trainers.advisor import EXTRACTIVE
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer

TIERS = {"small": "tiny", "large": "big"}


@dataclass
class Place:
    """A catalog, a service or none, and the settings of the advisors there."""

    catalog: Catalog
    server: OpenAIServer | None = None
    run_usd: float = 5.0
    tiers: Mapping[str, str] | None = None
    prompts: Path | None = None
    memo: Callable[[Catalog], Memo] | None = Memo

    def services(self) -> Services:
        """As a new run has them."""
        run_id, make = uuid.uuid4().hex, self.memo
        memo = (lambda: make(self.catalog)) if make else None
        return Services(lambda purpose: self._gateway(purpose, run_id), memo)

    def _gateway(self, purpose: str, run_id: str) -> Gateway:
        """At one dollar per million tokens; hard questions go to `big`."""
        tiers = dict(self.tiers or TIERS)
        price = PriceSettings(input_per_million=Decimal(1), output_per_million=Decimal(1))
        settings = LlmSettings.model_validate({"tiers": tiers, "concurrency": 2})
        budget = Budget(self.catalog, daily_usd=1000, run_usd=self.run_usd)
        connection = OpenAIConnection(self.server.base_url, KEY, 5.0) if self.server else None
        folders = [self.prompts] if self.prompts else []
        return Gateway(
            connection=connection,
            settings=settings,
            prompts=PromptLibrary([*folders, BUILT_IN], {}, self.catalog, run_id),
            admission=Admission(
                self.catalog,
                budget,
                requests_per_minute=1_000_000,
                tokens_per_minute=1_000_000_000,
            ),
            prices=Prices(dict.fromkeys(("tiny", "big", "other"), price)),
            cache=AnswerCache(self.catalog),
            run_id=run_id,
            purpose=purpose,
            extractive=EXTRACTIVE,
        )


def rows(count: int, *, context: str = "[t1] | 2019\n[t2] Cash | {n}") -> pd.DataFrame:
    """Questions about as many contexts."""
    return pd.DataFrame(
        {
            "unit": [f"q{n}" for n in range(count)],
            "group": [f"g{n}" for n in range(count)],
            "question": ["How much was cash in 2019?"] * count,
            "context": [context.replace("{n}", str(100 + n)) for n in range(count)],
        },
        index=range(10, 10 + count),
    )


def answering(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """For `server.chat.answer`: the figure of the cash row, as an advisor should answer."""

    def answer(body: dict[str, Any]) -> Any:
        found = re.search(r"\[t2\] Cash \| (\d+)", asked(body))
        said = {
            "derivation": "",
            "answer": [found[1] if found else "?"],
            "scale": "",
            "cites": ["t2"],
            "refused": False,
        }
        return said | changes

    return answer


def asked(body: dict[str, Any]) -> str:
    """The user message of a request."""
    return str(body["messages"][1]["content"])


def prediction(answer: str) -> dict[str, Any]:
    """What stands in a prediction."""
    found: dict[str, Any] = json.loads(answer)
    return found
