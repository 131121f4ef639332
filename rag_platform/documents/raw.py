"""raw_docs: what a source has, written down page by page.

One asking of the source is a *pass* over a window's page: it lists, fetches what is new or looks
changed, and records what came, changed, moved or went. A page that a later one follows is
replayed as recorded.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from rag_platform.documents.changelog import ChangeLog, PassReport
from rag_platform.documents.listing import Listing
from rag_platform.documents.preview import ListingPreview, preview
from rag_platform.documents.sources.base import Source
from rag_platform.documents.windows import Calendar, utc
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey

STAGE = "raw_docs"
# Part of every raw part's name; a change means that the columns of a raw part changed.
RAW_FINGERPRINT = "raw-1"


def raw_part(source: str, window: str, pass_no: int) -> PartKey:
    """Where the bytes that one pass fetched are kept."""
    return PartKey((source,), STAGE, window, pass_no, RAW_FINGERPRINT)


class RawDocs:
    """Asks one source on behalf of windows and keeps its change log."""

    def __init__(
        self,
        listing: Listing,
        log: ChangeLog,
        *,
        calendar: Calendar,
        dated_by: str,
        catalog: Catalog,
        pages: PageStore,
        begin: Callable[[str], None],
    ) -> None:
        """`begin` is told the window before its page gets its first change or a further one."""
        self.name = listing.name
        self.calendar = calendar
        self._listing = listing
        self._log = log
        self._dated_by = dated_by
        self._catalog = catalog
        self._pages = pages
        self._begin = begin

    @property
    def source(self) -> Source:
        """Where the documents come from."""
        return self._listing.source

    def written(self) -> set[str]:
        """The windows that have a page."""
        return self._log.written()

    def cursor(self) -> str | None:
        """Where the next increment of the source goes on; None for one that is listed whole."""
        return self._log.cursor()

    def run(
        self, window: str, *, refresh: bool = False, allow_deletions: bool = False
    ) -> PassReport:
        """Ask the source, or replay the window's page when time has passed over it.

        Raises `SourceUnavailable`, `SourceListingRefused`, `LockTimeout`, `UnknownWindow`.
        """
        self.calendar.check(window)
        with self._catalog.exclusive(f"source-{self.name}"):
            written = self._log.written()
            if not refresh and self._is_closed(window, written):
                return self._replay(window, written)
            self._begin(window)
            since = None if refresh else self._log.cursor()
            # Read again from its first event, it must come as far as it was.
            again = refresh and not self.source.complete
            self._listing.ask(since, None if again else self._ends(window))
            waiting = self._listing.fetch(
                self._due(window, written),
                pages=self._pages,
                part=raw_part(self.name, window, self._log.next_pass(window)),
            )
            done = self._log.record(
                window,
                waiting,
                url=self.source.url,
                allow_deletions=allow_deletions,
                raw_fingerprint=RAW_FINGERPRINT,
                complete=self.source.complete,
                since=since,
                cursor=self.source.cursor(),
            )
            self.source.recorded()
        return done

    def preview(self, window: str) -> ListingPreview:
        """What asking the source now would find for the window; records nothing."""
        self.calendar.check(window)
        return preview(
            self.name,
            self.source.look(self._log.cursor(), self._ends(window)),
            catalog=self._catalog,
            is_due=self._due(window, self._log.written()),
            complete=self.source.complete,
        )

    def _is_closed(self, window: str, written: set[str]) -> bool:
        """A page that a later one follows. One dated by its documents may be opened late.

        A page of a window to come was written by a clock that was fast, and closes nothing: else
        the source would not be asked again before that window.
        """
        if self._dated_by != "seen" and window not in written:
            return False
        return any(window < other <= self.calendar.current() for other in written)

    def _replay(self, window: str, written: set[str]) -> PassReport:
        if window not in written:
            self._log.close_empty(window)
        last = self._log.last_pass(window)
        return PassReport(window, None, last.objects, last.listed, {})

    def _ends(self, window: str) -> datetime | None:
        """Until when what happened belongs to the window; None: until now."""
        if self._dated_by == "seen" or window == self.calendar.current():
            return None
        return self.calendar.end(window)

    def _due(self, window: str, written: set[str]) -> Callable[[Any], bool]:
        """Whether a candidate belongs to this window's page.

        One that is dated into a page already written came late: it is taken at once. One that is
        dated into a page not yet written waits for it.
        """

        def is_due(row: Any) -> bool:
            # Of a source that tells what happened, the listing itself ends with the window.
            if self._dated_by == "seen" or not self.source.complete:
                return True
            if self._dated_by == "path":
                own = self.calendar.of_path(row.key) or window
            else:
                own = self.calendar.of_time(utc(row.modified))
            return own == window or own in written

        return is_due
