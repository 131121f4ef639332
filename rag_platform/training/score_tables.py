"""The answers of each day as kept: by whom, and which versions were asked.

Below `training/MODEL/scores/date=DAY` lies one Parquet file, put in place whole: a row for each
record with its unit, who answered it (`served`), that answer, and all answers of both versions
under `champion.` and `challenger.`. The rows themselves are kept by the hash of their content, so
that a label that comes weeks later is joined with the row as it was.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.snapshots import Snapshots
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import UNIT

if TYPE_CHECKING:
    import pandas as pd

_FACTS = b"rag_platform.facts"
# Where a row stood in the day's files: the snapshot has an order of its own.
_RECORD = "_record"


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers a day: decided when it is first run, and kept for when it is run again."""

    champion: str
    challenger: str | None = None
    share: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """Rows that two versions answered, each unit once, with the answers in the same order."""

    rows: "pd.DataFrame"
    champion: "pd.DataFrame"
    challenger: "pd.DataFrame"

    def where(self, mask: "pd.Series[bool]") -> "Pair":
        """Some of the rows, with their answers."""
        return Pair(self.rows[mask], self.champion[mask], self.challenger[mask])


class ScoreTables:
    """The days of one model in an object store."""

    def __init__(self, store: Any, spec: ModelSpec) -> None:
        self._store = store
        self._spec = spec
        self._snapshots = Snapshots(store)

    def days(self) -> list[str]:
        """The days that have scores, oldest first."""
        found = self._store.list(f"training/{self._spec.name}/scores/")
        paths = [item["path"] for batch in found for item in batch]
        return sorted(path.split("date=")[1].split("/")[0] for path in paths if "date=" in path)

    def plan(self, day: str) -> Plan | None:
        """Who answered a day; None for one that has no scores."""
        try:
            return _plan(self._table(day))
        except FileNotFoundError:
            return None

    def write(
        self,
        day: str,
        plan: Plan,
        rows: "pd.DataFrame",
        served: "pd.DataFrame",
        answers: "Mapping[str, pd.DataFrame]",
    ) -> None:
        """Replace a day. `served` has the columns `served` and `version`, and who was served what;
        `answers` are those of both versions; all in the order of the rows."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        both = [answers[arm][self._columns].add_prefix(f"{arm}.") for arm in answers]
        frame = pd.concat([rows[[UNIT]], served, *both], axis="columns")
        kept = rows.assign(**{_RECORD: range(len(rows))})
        facts = {"plan": asdict(plan), "rows": self._snapshots.keep(self._spec.name, kept)}
        table = pa.Table.from_pandas(frame, preserve_index=False)
        table = table.replace_schema_metadata({_FACTS: json.dumps(facts)})
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        # Written elsewhere and moved: a reader of the folder never meets a half of a file.
        aside = f"training/_unfinished/{self._spec.name}.{day}.parquet"
        self._store.put(aside, sink.getvalue())
        self._store.rename(aside, scores_path(self._spec.name, day))

    def pair(self, champion: str, challenger: str, *, days: int) -> Pair | None:
        """What both versions answered on the last days; None where there is nothing.

        Of a unit that was answered more than once the last time counts.
        """
        import pandas as pd

        found = []
        for table in map(self._table, self.days()[-days:]):
            plan = _plan(table)
            if (plan.champion, plan.challenger) == (champion, challenger):
                rows = self._joined(table)
                found += [rows] if rows is not None else []
        if not found:
            return None
        rows = pd.concat(found).drop_duplicates(UNIT, keep="last").reset_index(drop=True)
        answers = {
            arm: rows[[f"{arm}.{name}" for name in self._columns]] for arm in (CHAMPION, CHALLENGER)
        }
        told = [frame.iloc[:, 0].notna() for frame in answers.values()]
        pair = Pair(rows, *(frame.set_axis(self._columns, axis=1) for frame in answers.values()))
        pair = pair.where(told[0] & told[1])
        return pair if len(pair.rows) else None

    def _joined(self, table: Any) -> "pd.DataFrame | None":
        """The rows of a day with both answers; None where the challenger has none."""
        import pandas as pd

        answers = table.to_pandas()
        names = [f"{arm}.{name}" for arm in (CHAMPION, CHALLENGER) for name in self._columns]
        if not {*names} <= {*answers.columns}:
            return None
        rows = self._snapshots.load(self._spec.name, _facts(table)["rows"])
        rows = rows.sort_values(_RECORD, ignore_index=True).drop(columns=_RECORD)
        return pd.concat([rows, answers[names]], axis="columns")

    def _table(self, day: str) -> Any:
        import pyarrow.parquet as pq

        content = self._store.get(scores_path(self._spec.name, day)).bytes()
        return pq.read_table(io.BytesIO(bytes(content)))

    @property
    def _columns(self) -> list[str]:
        return list(self._spec.task.prediction_columns)


def scores_path(model: str, day: str) -> str:
    """Where the scores of a day lie, below the storage."""
    return f"training/{model}/scores/date={day}/part.parquet"


def _facts(table: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(table.schema.metadata[_FACTS])
    return found


def _plan(table: Any) -> Plan:
    return Plan(**_facts(table)["plan"])
