"""The stages of a model's training, and what they say of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import NoSuchModel, TrainingError
from rag_platform.training.rows import BadRow
from rag_platform.training.spec import ModelSpec
from rag_platform.training.trainer import Trainer

if TYPE_CHECKING:
    from rag_platform.storage.letters import Letter

DATA, DRIFT, CANDIDATE, EVALUATION, REGISTERED, DEPLOYED = STAGES = (
    "training_data",
    "drift_report",
    "candidate_model",
    "evaluation",
    "registered_model",
    "deployment",
)

# What a stage found in a week, as JSON; `at` is when, in UTC seconds since 1970.
Facts = dict[str, Any]


class NotTrained(TrainingError):
    """A stage has nothing to work on: the one before it has not run for the week."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who runs a stage: the id of the Dagster run, and where it can be looked at.

    `console` is the address of the model's page, where people decide about its versions.
    """

    run_id: str
    url: str | None = None
    console: str | None = None

    def tags(self) -> dict[str, str]:
        """The run and the page, for MLflow."""
        addresses = {"dagster.run_url": self.url, "rag_platform.console_url": self.console}
        return {"dagster.run_id": self.run_id} | {
            name: address for name, address in addresses.items() if address
        }


def trainer_of(spec: ModelSpec, name: str) -> Trainer:
    """The way to make a model that the settings name. Raises `NoSuchModel`."""
    if name not in spec.trainers:
        raise NoSuchModel(
            f"models.{spec.name}.trainer: {name!r} is none of its trainers; there are: "
            f"{', '.join(spec.trainers)}."
        )
    return spec.trainers[name]


def letters_of(bad: Sequence[BadRow]) -> "list[Letter]":
    """What could not be used, as dead letters."""
    from rag_platform.storage.letters import Letter

    return [
        Letter(
            row.file if row.number is None else f"{row.file}#{row.number}", row.reason, row.detail
        )
        for row in bad
    ]
