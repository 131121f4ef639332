"""The rides of one configuration: its days and the four stages, each one run at a time a day."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rag_platform.rides.clusters import ClusterFigures, RideClusters
from rag_platform.rides.days import Days
from rag_platform.rides.files import RideFiles
from rag_platform.rides.raw import RawFigures, RawRides
from rag_platform.rides.tables import CLUSTERS, RAW, REPORT, SUMMARIES, DayTables, report_path
from rag_platform.storage.letters import WindowLetters
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    from rag_platform.llm.gateway import Gateway
    from rag_platform.rides.pages import Report
    from rag_platform.rides.report import Image, RideReport
    from rag_platform.rides.summaries import SummaryFigures
    from rag_platform.settings_pipelines import RidesSettings
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.memo import Memo
    from rag_platform.storage.objects import S3Connection

# How many days are looked at again: for late files, and for what a run left undone.
LOOK_BACK = 7
# How long a run waits for another one over the same day.
_PATIENCE_S = 1_800.0


class Rides:
    """The stages over one day at a time, by its key (`2026-11-25`)."""

    def __init__(
        self,
        settings: "RidesSettings",
        *,
        catalog: "Catalog",
        memo: "Memo",
        store: Any,
        storage_url: str,
        s3: "S3Connection",
        gateway: "Callable[[], Gateway]",
    ) -> None:
        """`store`, at `storage_url`, keeps the outputs; `gateway` is made when it is needed."""
        self.settings = settings
        self.days = Days(settings.timezone, settings.start.date())
        self.tables = DayTables(store)
        self.letters = WindowLetters(catalog, "rides")
        self._storage_url = storage_url
        self._catalog = catalog
        self._memo = memo
        self._s3 = s3
        self._gateway = gateway

    @property
    def raw(self) -> RawRides:
        """The stage that reads the files."""
        return RawRides(
            RideFiles(self.settings.url, self._s3),
            self.settings.adapter,
            days=self.days,
            tables=self.tables,
            letters=self.letters,
        )

    @property
    def report(self) -> "RideReport":
        """The stage that writes the report."""
        from rag_platform.rides.report import RideReport

        return RideReport(days=self.days, tables=self.tables, letters=self.letters)

    @property
    def clusters(self) -> RideClusters:
        """The stage that clusters."""
        return RideClusters(days=self.days, tables=self.tables)

    def run_raw(self, key: str) -> RawFigures:
        """Read the files of a day."""
        with self._alone(key):
            return self.raw.run(key)

    def run_clusters(self, key: str) -> ClusterFigures:
        """Cluster the rides of a day."""
        with self._alone(key):
            return self.clusters.run(key)

    def run_summaries(self, key: str) -> "SummaryFigures":
        """Summarize the anomalous rides of a day."""
        from rag_platform.rides.summaries import RideSummaries

        stage = RideSummaries(
            self._gateway(),
            cap=self.settings.max_summaries,
            days=self.days,
            tables=self.tables,
            letters=self.letters,
            memo=self._memo,
        )
        with self._alone(key):
            return stage.run(key)

    def run_report(self, key: str, image: "Image") -> "Report":
        """Report on a day; `image` makes a data: URI of a chart."""
        with self._alone(key):
            return self.report.run(key, image)

    def report_url(self, day: date) -> str:
        """Where the report of a day lies: a path, or the address in a bucket."""
        url = f"{self._storage_url.rstrip('/')}/{report_path(day, 'html')}"
        return unquote(urlsplit(url).path) if url.startswith("file:") else display_url(url)

    def unfinished(self) -> list[str]:
        """Of the last days those that stopped before their report, or whose summaries wait."""
        found = []
        for day in self.days.before(self.days.today(), LOOK_BACK):
            if self.tables.known_facts(RAW, day) is None:
                continue
            summaries = self.tables.known_facts(SUMMARIES, day)
            stages = (CLUSTERS, REPORT)
            is_whole = all(self.tables.known_facts(stage, day) for stage in stages)
            if not is_whole or summaries is None or summaries["deferred"]:
                found.append(day.isoformat())
        return sorted(found)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        self.days.check(key)  # a part of the lock's name, which is a file
        with self._catalog.exclusive(f"rides-{key}", timeout_s=_PATIENCE_S):
            yield
