"""The newest day that has a report, whatever the calendar says."""

import re
from datetime import date
from typing import Any

from rag_platform.rides.tables import REPORT, DayTables, Facts

_DAY = re.compile(r"/date=(\d{4}-\d\d-\d\d)/part\.parquet$")


def newest_report(store: Any) -> tuple[date, Facts] | None:
    """The day and the figures of its report; None before the first. `store` keeps the tables."""
    days = [
        found[1]
        for page in store.list(prefix=f"rides/{REPORT}/")
        for entry in page
        if (found := _DAY.search(f"/{entry['path']}"))
    ]
    if not days:
        return None
    day = date.fromisoformat(max(days))
    (row,) = DayTables(store).read(REPORT, day).to_pylist()
    return day, row
