"""What the report on a day says, before it is written down as pages."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from rag_platform.rides.clusters import ClusterFigures
from rag_platform.rides.drift import Shift
from rag_platform.rides.letters import Letter
from rag_platform.rides.raw import RawFigures

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the pages say; `images` are data: URIs by their caption."""

    day: date
    timezone: str
    raw: RawFigures
    clusters: ClusterFigures
    medians: dict[str, float | None]
    summaries: Row
    worst: list[Row]
    zones: list[tuple[str, int, int]]
    shifts: list[Shift]
    compared_with: list[date]
    letters: list[Letter]
    images: dict[str, str]

    @property
    def method(self) -> str:
        """Who wrote the summaries."""
        if self.summaries["method"] == "extractive":
            return "extractive: put together from the figures by a template, no model was asked"
        return "by a language model from the figures of the ride; not checked by a person"
