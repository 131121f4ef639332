"""Settings of running it: on how many machines, and who looks at it by which address."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from rag_platform.settings_values import Count, HttpUrl, Section, Text

NetworkAddress = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+(/\d{1,3})?$")]


class WorkersSettings(Section):
    """How many Ray actors work for one step at a time."""

    min: Count = Field(default=1, description="Actors that are kept while a step runs.")
    max: Count = Field(default=8, validate_default=True, description="Most actors.")
    cpus: Annotated[float, Field(strict=True, gt=0, le=1024)] = Field(
        default=1.0, description="Cores that Ray sets aside for each."
    )
    gpus: Annotated[float, Field(strict=True, ge=0, le=16)] = Field(
        default=0.0, description="GPUs that Ray sets aside for each."
    )

    @field_validator("max")
    @classmethod
    def _not_below(cls, most: int, info: ValidationInfo) -> int:
        least = info.data.get("min", 1)
        if most < least:
            raise ValueError(f"{most} is below min, {least}")
        return most


class ComputeSettings(Section):
    """Where bulk work is done: parsing, embedding and asking models."""

    engine: Literal["local", "ray"] = Field(
        default="local", description="`local`, in the run's own processes, or `ray`, an extra."
    )
    address: Text = Field(
        default="auto",
        description="Ray cluster: `auto` for the one that this machine belongs to, HOST:PORT of "
        "one, or `local` for one that begins and ends with the step.",
    )
    workers: WorkersSettings = Field(default=WorkersSettings(), description="Actors of a step.")
    batch: Count = Field(
        default=512, description="Chunks, documents or questions that an actor takes at a time."
    )


class ConsoleSettings(Section):
    """The console in the browser, and where it and what it links to are reached.

    Its token is RAG_PLATFORM_CONSOLE_TOKEN.
    """

    url: HttpUrl | None = Field(
        default=None,
        description="Address that people reach the console by; Dagster links to it. Null for no "
        "links.",
    )
    dagster_url: HttpUrl = Field(
        default="http://127.0.0.1:3000", description="Address of Dagster's UI, for links to runs."
    )
    mlflow_url: HttpUrl | None = Field(
        default=None,
        description="Address of MLflow's UI, for links to models; null for `mlflow.tracking_uri` "
        "where that is a server.",
    )
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] | None = Field(
        default=None,
        description="Header in which a reverse proxy that has signed people in says who asks, such "
        "as X-Forwarded-User; null for the token.",
    )
    trusted_proxies: tuple[NetworkAddress, ...] = Field(
        default=("127.0.0.1", "::1"),
        description="Addresses or networks from which `user_header` is believed.",
    )
    session_hours: Annotated[float, Field(strict=True, gt=0, le=720)] = Field(
        default=12.0, description="Hours after which people sign in again."
    )
    search_as: tuple[Text, ...] = Field(
        default=(),
        description="Groups that people who search in the console belong to; documents for other "
        "readers are not found there.",
    )
