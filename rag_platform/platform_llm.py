"""The parts of a platform that ask models: prompts, prices, budget, gateway. Opened when used."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rag_platform.settings_values import DEFAULT_TENANT

if TYPE_CHECKING:
    from rag_platform.encoders.openai import OpenAIConnection
    from rag_platform.llm.admission import Admission
    from rag_platform.llm.batch import Batches
    from rag_platform.llm.budget import Budget
    from rag_platform.llm.cache import AnswerCache
    from rag_platform.llm.gateway import Gateway
    from rag_platform.llm.prices import Prices
    from rag_platform.llm.prompts import PromptLibrary
    from rag_platform.settings_llm import LlmSettings
    from rag_platform.storage.catalog import Catalog


@dataclass
class LlmParts:
    """One door to all models. `run_id` says on whose account money goes.

    `openai` is how to reach the service; None where settings and environment say it all.
    """

    settings: "LlmSettings"
    catalog: "Catalog"
    run_id: str
    openai: "OpenAIConnection | None" = None

    @property
    def base_url(self) -> str:
        """The address of the service."""
        return self.openai.base_url if self.openai else str(self.settings.base_url)

    @cached_property
    def budget(self) -> "Budget":
        """What may be spent."""
        from rag_platform.llm.budget import Budget

        most = self.settings.budget
        return Budget(self.catalog, daily_usd=most.daily_usd, run_usd=most.run_usd)

    @cached_property
    def admission(self) -> "Admission":
        """The door before every paid request."""
        from rag_platform.llm.admission import Admission

        limits = self.settings.limits
        return Admission(
            self.catalog,
            self.budget,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
        )

    @cached_property
    def prompts(self) -> "PromptLibrary":
        """The prompts, as this run began with them."""
        from rag_platform.llm.prompts import BUILT_IN, PromptLibrary

        folder = self.settings.prompts_folder
        own = [Path(folder)] if folder else []
        return PromptLibrary([*own, BUILT_IN], self.settings.prompts, self.catalog, self.run_id)

    @cached_property
    def _answers(self) -> "AnswerCache":
        from rag_platform.llm.cache import AnswerCache

        return AnswerCache(self.catalog)

    def gateway(self, purpose: str, tenant: str = DEFAULT_TENANT) -> "Gateway":
        """The way to a model, on the account of `purpose`: an asset or a command."""
        from rag_platform.enrichment.extractive import EXTRACTIVE as of_documents
        from rag_platform.llm.gateway import Gateway
        from rag_platform.retrieval.extraction import EXTRACTIVE as of_passages
        from rag_platform.rides.summaries import EXTRACTIVE as of_rides
        from rag_platform.training.trainers.advisor import EXTRACTIVE as of_questions

        return Gateway(
            connection=self.connection(self.base_url),
            settings=self.settings,
            prompts=self.prompts,
            admission=self.admission,
            prices=self.prices(self.base_url),
            cache=self._answers,
            run_id=self.run_id,
            purpose=purpose,
            extractive={**of_documents, **of_rides, **of_questions, **of_passages},
            tenant=tenant,
        )

    def batches(self, purpose: str, tenant: str = DEFAULT_TENANT) -> "Batches":
        """Answers for a backfill, for half the price, into the gateway's cache."""
        from rag_platform.llm.batch import Batches

        return Batches(
            gateway=self.gateway(purpose, tenant),
            connection=self.connection(self.base_url),
            prices=self.prices(self.base_url),
            cache=self._answers,
            catalog=self.catalog,
            budget=self.budget,
            run_id=self.run_id,
            purpose=purpose,
        )

    def connection(self, base_url: str) -> "OpenAIConnection":
        """To a service; without a key where none was given. Raises `ServiceRefused` for an odd one.

        What files and secrets have around a key, such as a line end, is no part of it.
        """
        from rag_platform.encoders.openai import OpenAIConnection
        from rag_platform.llm.errors import ServiceRefused

        seconds = float(self.settings.timeout_s)
        given = self.openai or OpenAIConnection(
            base_url, os.environ.get("OPENAI_API_KEY", ""), seconds
        )
        key = given.api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise ServiceRefused(
                "OPENAI_API_KEY holds what no key has, such as a line end or a typographic quote. "
                "Set it again."
            )
        return replace(given, base_url=base_url, api_key=key)

    def prices(self, base_url: str) -> "Prices":
        """What models at an address cost."""
        from rag_platform.llm.prices import Prices

        return Prices(self.settings.prices, base_url=base_url)
