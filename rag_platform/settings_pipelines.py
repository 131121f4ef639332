"""Settings of the pipelines that stand on the model gateway: enrichment and rides."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from rag_platform.settings_values import (
    Count,
    Cron,
    Label,
    Location,
    Moment,
    Section,
    Share,
    SourceName,
    Timezone,
)


class QualitySettings(Section):
    """The gate on a page of enriched documents, and what follows when it does not hold."""

    max_null_share: Share = Field(
        default=0.10,
        description="Most of a page's required fields (title, language, summary, label) that may "
        "be missing.",
    )
    max_outlier_share: Share = Field(
        default=0.05, description="Most of a page's documents that may be outliers."
    )
    reaction: Literal["stop", "review", "warn"] = Field(
        default="stop",
        description="`stop`: nothing of the page is published; `review`: all of it goes to the "
        "review queue; `warn`: it is published with a warning.",
    )


class EnrichmentSettings(Section):
    """Entities, summary and category of documents, published when they are certain enough."""

    sources: tuple[SourceName, ...] = Field(
        default=(), description="Sources whose documents are enriched."
    )
    labels: dict[Label, str] = Field(
        default_factory=dict,
        validate_default=True,
        description="Categories, two or more: a list of names, or names with what each means. "
        "Without a model service the meanings decide: by names alone far fewer are told.",
    )
    gate: Share = Field(
        default=0.8, description="Confidence from which a document is published without review."
    )
    review_hours: Count = Field(default=24, description="Hours that a review may take.")
    quality: QualitySettings = Field(
        default=QualitySettings(), description="The gate on a page as a whole."
    )

    @field_validator("sources")
    @classmethod
    def _once(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sources))

    @field_validator("labels", mode="before")
    @classmethod
    def _described(cls, labels: Any) -> Any:
        return dict.fromkeys(labels, "") if isinstance(labels, list | tuple) else labels

    @field_validator("labels")
    @classmethod
    def _enough(cls, labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if info.data.get("sources") and len(labels) < 2:
            raise ValueError("needs at least two categories, such as [billing, cards, other]")
        return labels


class RidesSettings(Section):
    """Taxi rides, day by day: clusters, anomalous rides with a summary each, a report."""

    url: Location = Field(description="Where the rides lie: a folder or s3://bucket/prefix.")
    adapter: Literal["simulated", "nyc_tlc", "chicago"] = Field(
        default="simulated", description="Form of the records."
    )
    schedule: Cron = Field(
        default="0 6 * * *", description="Cron line of the morning run, for the day before."
    )
    timezone: Timezone = Field(
        default="UTC", description="Time zone of the schedule and of a ride's day."
    )
    start: Moment = Field(
        default=datetime(2013, 1, 1, tzinfo=UTC), description="The first day, a date."
    )
    max_summaries: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=50, description="Most anomalous rides of a day that get a summary, worst first."
    )
    max_anomaly_share: Share = Field(
        default=0.10, description="A day with more anomalous rides fails its check."
    )
    max_bad_share: Share = Field(
        default=0.10, description="A day with more unusable records fails its check."
    )
