"""Which windows have something waiting in a feed, so that history is filed where it belongs."""

from collections.abc import Set
from datetime import datetime
from itertools import islice

from rag_platform.documents.sources.base import Source
from rag_platform.documents.windows import Calendar, utc


def windows_to_ask(
    source: Source,
    since: str | None,
    *,
    calendar: Calendar,
    dated_by: str,
    written: Set[str],
    most: int,
    now: datetime | None = None,
) -> list[str]:
    """The windows to ask for, in order: the current one, where nothing else is known.

    Of a feed whose events belong to windows by their time: from the window of the first event that
    waits after the cursor `since`, `most` windows at most. `written` windows are those with a page;
    what is dated into one that a later one follows came late and goes to the newest.
    """
    current = calendar.current(now)
    if source.complete or dated_by == "seen":
        return [current]
    oldest = source.oldest(since)
    if oldest is None:
        return [current]
    window = calendar.of_time(utc(oldest))
    if window in written:
        window = max(written)
    return list(islice(calendar.between(min(window, current), current), most))
