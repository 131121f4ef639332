"""Settings of the models that are trained here, of their rollout, and of who is told."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rag_platform.settings_values import (
    Count,
    Cron,
    HttpUrl,
    Location,
    Section,
    Share,
    Text,
)

Percent = Annotated[int, Field(strict=True, ge=1, le=100)]


class RolloutSettings(Section):
    """From a registered version to the one that serves, a step a day at most."""

    shadow_units: Count = Field(
        default=200,
        description="Units that the challenger answers in shadow, beside the champion, before any "
        "of its answers counts.",
    )
    steps: tuple[Percent, ...] = Field(
        default=(5, 25, 50, 100),
        min_length=1,
        description="Shares in % of the units whose answer comes from the challenger, one step "
        "after the other; at 100 it is promoted.",
    )
    step_units: Count = Field(
        default=200, description="Units to be answered on a step before the next one."
    )
    max_error_rate: Share = Field(
        default=0.02, description="Most of a day's units that the challenger may fail to answer."
    )
    max_latency_ratio: Annotated[float, Field(gt=0)] = Field(
        default=3.0, description="Most times of the champion's median latency that it may take."
    )

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)) or steps[-1] != 100:
            raise ValueError("must rise and end with 100, such as [5, 25, 50, 100]")
        return steps


class ModelSettings(Section):
    """One of the models. What is left out is as its file in `training/models` says."""

    data: Location | None = Field(
        default=None,
        description="Labelled data: a file, a folder or s3://bucket/prefix; null for the sample "
        "that comes with the platform.",
    )
    trainer: Text = Field(
        default="default", description="Way to make the model: `default` or one of its extras."
    )
    schedule: Cron | None = Field(
        default=None,
        description="Cron line (UTC) of the weekly training; null for the model's own.",
    )
    gates: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Bounds of metrics, in place of or beside the model's own.",
    )
    enabled: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="Whether it is trained and served at all."
    )
    max_age_days: Count = Field(
        default=30,
        description="Days after which data is too old to train on, by the newest of its files.",
    )
    max_bad_share: Share = Field(
        default=0.05, description="Most of the records that may be unusable."
    )
    scoring: Location | None = Field(
        default=None,
        description="Rows to be answered every day, in files or folders with the date in their "
        "name (2026-11-26 or date=2026-11-26); null for none.",
    )
    labels: Location | None = Field(
        default=None,
        description="What turned out to be right, in files with the units and the target, "
        "whenever they come; null for none.",
    )
    retrain_cooldown_days: Count = Field(
        default=7, description="Days between two trainings that drift asks for."
    )
    rollout: RolloutSettings = Field(
        default=RolloutSettings(), description="How a new version comes to serve."
    )


class SlackSettings(Section):
    """Slack, by SLACK_WEBHOOK_URL or by SLACK_BOT_TOKEN with a channel, from the environment."""

    channel: Text | None = Field(
        default=None, description="Channel for the bot; a webhook has its own."
    )
    base_url: HttpUrl = Field(
        default="https://slack.com/api", description="Address of Slack's Web API."
    )


class MailSettings(Section):
    """Mail by SMTP; the password is SMTP_PASSWORD in the environment."""

    host: Text = Field(description="The mail server.")
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = Field(
        default=587, description="Its port: 587 for STARTTLS, 465 for TLS, 25 without."
    )
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is encrypted."
    )
    username: Text | None = Field(default=None, description="Login; null for none.")
    sender: Text = Field(description="Address in From.")
    recipients: tuple[Text, ...] = Field(min_length=1, description="Addresses in To.")


class NotificationSettings(Section):
    """Who is told of failures, of promotions, and of the week. Everything is logged anyway."""

    slack: SlackSettings | None = Field(default=None, description="Slack; null for none.")
    mail: MailSettings | None = Field(default=None, description="Mail; null for none.")
    dagster_url: HttpUrl | None = Field(
        default=None, description="Address of Dagster's UI, for links in messages."
    )
    digest: Cron = Field(default="0 8 * * 1", description="Cron line (UTC) of the weekly digest.")
