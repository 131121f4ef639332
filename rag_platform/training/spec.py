"""What the platform has to know of a model: one `ModelSpec` in a file of `training/models/`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rag_platform.training.rows import Reader
from rag_platform.training.task import Task
from rag_platform.training.trainer import Trainer

SAMPLES = Path(__file__).resolve().parent / "samples"

# One seed everywhere: the same rows give the same model, folds and intervals.
SEED = 20_260_101


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model, from its data to its gates.

    `trainers` has `default` and, by the name of the extra that it needs, others. `gates` are
    bounds of metrics of the task: least ones, or most ones where lower is better. `schedule` is a
    cron line in UTC. `sample` names a file or a folder below `training/samples`; without one the
    settings have to name data.

    `audited` columns (`age`, say) are no features: no prediction depends on them. They map to the
    edges by which numbers are grouped (25 as "up to 25"), or to none where each value is a group.
    Where the gates have `disparate_impact`, it is measured between these groups.
    """

    name: str
    description: str
    task: Task
    reader: Reader
    trainers: Mapping[str, Trainer]
    gates: Mapping[str, float]
    schedule: str
    sample: str | None = None
    audited: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # Least and most of a column's values; a row outside is unusable.
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    folds: int = 5
    repeats: int = 3
    min_rows: int = 100
    # What a unit is called by a person, for tables: "message", "applicant".
    unit: str = "row"
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def sample_path(self) -> Path | None:
        """The data that comes with the platform; None where none does."""
        return SAMPLES / self.sample if self.sample else None
