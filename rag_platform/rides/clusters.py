"""ride_clusters: the rides of a day with their clusters, and which of them belong to none."""

from collections import Counter
from dataclasses import dataclass
from datetime import date

from rag_platform.rides.days import Days
from rag_platform.rides.labels import cluster
from rag_platform.rides.tables import CLUSTERS, RAW, DayTables, Facts


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """What was found in a day. `why` counts the labels, the most frequent first; a ride
    may have several."""

    rides: int
    clusters: int
    anomalies: int
    why: dict[str, int]

    @property
    def anomaly_share(self) -> float:
        """Anomalous rides among all, 0 to 1."""
        return self.anomalies / self.rides if self.rides else 0.0

    @classmethod
    def of(cls, facts: Facts) -> "ClusterFigures":
        """As they were kept with the day's table; the rides are the table's own rows."""
        why: dict[str, int] = dict(Counter(facts["why"]).most_common())
        return cls(facts["rows"], facts["clusters"], facts["anomalies"], why)


class RideClusters:
    """Writes the clusters of a day."""

    def __init__(self, *, days: Days, tables: DayTables) -> None:
        self._days = days
        self._tables = tables

    def run(self, key: str) -> ClusterFigures:
        """Cluster a day's rides and replace its table. Raises `DayMissing`, `UnknownDay`."""
        day = self._days.check(key)
        found = cluster(self._tables.read(RAW, day))
        odd = found.filter(found["is_anomaly"])
        why = Counter(label for labels in odd["why"].to_pylist() for label in labels or ())
        facts = {
            "clusters": len(set(found["cluster"].unique().to_pylist()) - {-1}),
            "anomalies": odd.num_rows,
            "why": why,
        }
        self._tables.write(CLUSTERS, day, found, facts)
        return self.figures(day)

    def figures(self, day: date) -> ClusterFigures:
        """Those of the last run over a day. Raises `DayMissing`."""
        return ClusterFigures.of(self._tables.facts(CLUSTERS, day))
