"""Rides over a folder of their own, without Dagster: what a test writes files into and runs."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.gateway import Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import BUILT_IN, PromptLibrary
from rag_platform.rides.pipeline import Rides
from rag_platform.rides.simulation import simulate
from rag_platform.rides.summaries import EXTRACTIVE
from rag_platform.settings_llm import LlmSettings, PriceSettings
from rag_platform.settings_pipelines import RidesSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.objects import S3Connection, open_store

DAY = "2026-06-10"
MODEL = "test-model"


def gateway(
    catalog: Catalog, connection: Any = None, *, run_usd: float = 1.0, run_id: str = "run"
) -> Gateway:
    """A gateway at ten dollars per million tokens; extractive without a connection."""
    settings = LlmSettings.model_validate(
        {"tiers": {"small": MODEL}, "concurrency": 2, "budget": {"run_usd": run_usd}}
    )
    price = PriceSettings(input_per_million=Decimal(10), output_per_million=Decimal(10))
    budget = Budget(catalog, daily_usd=1000, run_usd=run_usd)
    return Gateway(
        connection=connection,
        settings=settings,
        prompts=PromptLibrary([BUILT_IN], {}, catalog, run_id),
        admission=Admission(
            catalog, budget, requests_per_minute=100_000, tokens_per_minute=100_000_000
        ),
        prices=Prices({MODEL: price}),
        cache=AnswerCache(catalog),
        run_id=run_id,
        purpose="ride_summaries",
        extractive=EXTRACTIVE,
    )


class RidesLocation:
    """A folder for files, one for outputs, and the stages over them."""

    def __init__(self, home: Path, catalog: Catalog) -> None:
        self.catalog = catalog
        self.folder = home / "files"
        self.storage = home / "storage"
        self.folder.mkdir()
        self.images = 0

    def rides(self, *, make: Callable[[], Gateway] | None = None, **settings: Any) -> Rides:
        """The stages by the settings."""
        given = {"url": self.folder.as_uri(), "start": date(2013, 1, 1), **settings}
        return Rides(
            RidesSettings.model_validate(given),
            catalog=self.catalog,
            memo=Memo(self.catalog),
            store=open_store(self.storage.as_uri(), create=True),
            storage_url=self.storage.as_uri(),
            s3=S3Connection(),
            gateway=make or (lambda: gateway(self.catalog)),
        )

    def write(self, name: str, content: str | bytes) -> Path:
        """Put a file into the folder; one that ends with .gz is packed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    def write_lines(self, name: str, rides: Sequence[Mapping[str, Any]]) -> Path:
        """Put rides into the folder as JSON lines."""
        return self.write(name, "".join(json.dumps(ride) + "\n" for ride in rides))

    def simulate(self, day: str = DAY, count: int = 2_000, seed: int = 1) -> Path:
        """Put a simulated day into the folder as Parquet."""
        import pyarrow.parquet as pq

        path = self.folder / f"rides-{day}.parquet"
        pq.write_table(simulate(date.fromisoformat(day), count, seed), path)
        return path

    def image(self, draw: Any) -> str:
        """A stand-in for a chart: that it can be drawn is looked at elsewhere."""
        self.images += 1
        return "data:image/png;base64,AAAA"


def ride(number: int = 1, at: str = f"{DAY}T12:00:00Z", **more: Any) -> dict[str, Any]:
    """A plausible record in the simulated form: 6 km in 20 minutes."""
    return {
        "ride_id": f"r{number}",
        "started_at": at,
        "distance_km": 6.0,
        "duration_s": 1200,
        **more,
    }
