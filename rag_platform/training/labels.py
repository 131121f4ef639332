"""What turned out to be right, joined with what was answered, whenever it comes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import DataFile
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

    found = []
    for file in sorted(files, key=lambda file: (file.modified, file.name)):
        plain = read_table(file) if is_table(file) else None
        if plain is None or not {UNIT, TARGET} <= {*plain.columns}:
            plain = spec.reader.read([file], labelled=True).frame
        found.append(plain[[UNIT, TARGET]].dropna().astype({UNIT: str}))
    if not found:
        raise UnusableData(f"{spec.name}: no files with labels.")
    labels = pd.concat(found).drop_duplicates(UNIT, keep="last")
    return labels.set_index(UNIT)[TARGET]
