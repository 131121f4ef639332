"""What turned out to be right, joined with what was answered, whenever it comes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import DataFile
from rag_platform.training.score_tables import Pair
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd


def read_labels(spec: ModelSpec, files: Sequence[DataFile]) -> "pd.Series":
    """The target of each unit, by unit; of one that is told twice the later file counts.

    A file has the columns `unit` and `target`, or is in a form of the model's training data.
    Raises `UnusableData`.
    """
    import pandas as pd

    from rag_platform.training.tables import is_table, read_table
    from rag_platform.training.trainers.encoding import text_of

    found = []
    for file in sorted(files, key=lambda file: (file.modified, file.name)):
        table = read_table(file) if is_table(file) else None
        if table is None or not {UNIT, TARGET} <= {*table.columns}:
            table = spec.reader.read([file], labelled=True).frame
        told = table[[UNIT, TARGET]].dropna()
        found.append(told.assign(**{UNIT: told[UNIT].map(text_of)}))
    if not found:
        raise UnusableData(f"{spec.name}: no files with labels.")
    labels = pd.concat(found).drop_duplicates(UNIT, keep="last")
    return labels.set_index(UNIT)[TARGET]


def labelled(pair: Pair, labels: "pd.Series") -> Pair | None:
    """The rows whose label has come, with it; None without any."""
    from rag_platform.training.trainers.encoding import text_of

    targets = pair.rows[UNIT].map(labels)
    told = pair.where(targets.notna())
    if not len(told.rows):
        return None
    targets = targets[targets.notna()]
    if told.champion["prediction"].map(type).eq(str).all():
        # Classes named 0 and 1 are numbers in a file of labels, and texts in the answers.
        targets = targets.map(lambda value: value if isinstance(value, str) else text_of(value))
    return Pair(told.rows.assign(**{TARGET: targets}), told.champion, told.challenger)
