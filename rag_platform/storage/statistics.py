"""What SQLite is told about the sizes of its tables.

Without it SQLite takes ten rows for what any first column of an index leaves, `source` among them,
and reads all documents of a source to find a few. What ANALYZE would count it would count too
late: a first sync fills tables that were empty when it began. So the figures are typical ones and
never change, and plans with them (https://sqlite.org/lang_analyze.html, "Fixed Results Of
ANALYZE"). PostgreSQL counts by itself.
"""

import sqlalchemy as sa

_ROWS = 1_000_000
# Rows that have the same value of a column. Of others (ids, keys, digests, times) there are few.
_SHARED = {
    "source": 100_000,
    "index_name": 100_000,
    "endpoint": 100_000,
    "model": 100_000,
    "access": 100_000,
    "band": 50_000,
    "kind": 10_000,
    "day": 10_000,
    "stage": 10_000,
    "status": 1_000,
    "window": 1_000,
    "pass_no": 1_000,
    "run_id": 1_000,
    "name": 100,
}
_FEW = 10


def write_statistics(connection: sa.Connection) -> None:
    """Give SQLite typical figures for every index there is, in place of what it has."""
    run = connection.exec_driver_sql
    run("analyze sqlite_master")  # makes their table
    run("delete from sqlite_stat1")
    indexes = run(
        'select m.name, i.name, i."unique" from sqlite_master m, pragma_index_list(m.name) i'
        " where m.type = 'table' and not i.partial"
    ).all()
    for table, index, is_unique in indexes:
        columns = run("select name from pragma_index_info(?) order by seqno", (index,)).scalars()
        run(
            "insert into sqlite_stat1 (tbl, idx, stat) values (?, ?, ?)",
            (table, index, _figures(list(columns), is_unique=bool(is_unique))),
        )
    run("analyze sqlite_master")  # reads them


def _figures(columns: list[str | None], *, is_unique: bool) -> str:
    """Of an index: rows in all, then rows that share its first column, its first two, ..."""
    figures = [_ROWS]
    for column in columns:
        figures.append(min(figures[-1], _SHARED.get(column or "", _FEW)))
    if is_unique:
        figures[-1] = 1
    return " ".join(map(str, figures))
