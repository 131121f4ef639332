"""The newest day with a report."""

from datetime import date

from obstore.store import MemoryStore

from rag_platform.rides.newest import newest_report
from rag_platform.rides.report import report_schema
from rag_platform.rides.tables import REPORT, DayTables


def test_the_newest_day_counts_whatever_was_written_last() -> None:
    import pyarrow as pa

    store = MemoryStore()
    assert newest_report(store) is None
    for day, rides in ((date(2026, 3, 9), 5), (date(2026, 11, 25), 7), (date(2025, 12, 31), 9)):
        row = dict.fromkeys(report_schema().names) | {"rides": rides, "drifted": []}
        DayTables(store).write(REPORT, day, pa.Table.from_pylist([row], report_schema()), {})
    store.put(f"rides/{REPORT}/date=2027-01-01/notes.txt", b"by hand")
    found = newest_report(store)
    assert found is not None
    day, figures = found
    assert day == date(2026, 11, 25)
    assert figures["rides"] == 7
    assert figures["drifted"] == []
