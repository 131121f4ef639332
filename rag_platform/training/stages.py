"""The stages of a model's training, and what they say of themselves."""

from dataclasses import dataclass
from typing import Any

from rag_platform.training.errors import TrainingError

DATA, DRIFT, CANDIDATE, EVALUATION, REGISTERED, DEPLOYED = STAGES = (
    "training_data",
    "drift_report",
    "candidate_model",
    "evaluation",
    "registered_model",
    "deployment",
)

# What a stage found in a week, as JSON.
Facts = dict[str, Any]


class NotTrained(TrainingError):
    """A stage has nothing to work on: the one before it has not run for the week."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who runs a stage: the id of the Dagster run, and where it can be looked at."""

    run_id: str
    url: str | None = None

    def tags(self) -> dict[str, str]:
        """The run, for MLflow."""
        return {"dagster.run_id": self.run_id} | ({"dagster.run_url": self.url} if self.url else {})
