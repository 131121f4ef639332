"""Spending by category and week, out of lines of spending or of daily measures.

Two forms are known by their columns, in any case:

- lines: a date, a category and an amount, any number of them a day, or one a week. They are summed;
  refunds are negative. The names are `date` (or `timestamp`, `transaction_timestamp`, `trans_dt`),
  `category` (or `department`, `cat_descr`) and `amount` (or `sales_value`, `merchandise_amt`). A
  column `week` in place of the date, and `target` in place of the amount, say that the lines are of
  whole weeks.
- measures: a `date` and a column `spend_CATEGORY` for each category, a line a day, such as changes
  against a base. Their mean over the week is taken. Columns that are other views of the same
  spending are left out: by income (`_q1` to `_q4`, `_incmiddle`), against another base
  (`spend_19_`) and not seasonally adjusted (`spend_s_`).

Which weeks count:

- A week is told by its Monday.
- Lines end in the middle of a week as often as not. The weekdays on which at least half of the
  weeks have lines are the usual ones (all seven where there are fewer than three weeks). The first
  week is whole when the lines begin on or before the first usual weekday, the last one when they
  end on or after the last; else it is left out.
- A category without lines in a week has spent 0, from its first week on. A week in which no
  category has a line is a gap in the data, and no row.
- Of measures, a week counts with all its seven days.

Which categories: one with lines in at least half of the weeks of the last year, or of the data
where they are shorter; of these the `MAX_CATEGORIES` with the most money. All others are summed as
`other`, which is left out where it has lines less often than that. Measures cannot be summed: a
category of which there are fewer weeks is left out. Categories that differ in case and blanks alone
are one, in lower case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.tables import is_table, read_table
from rag_platform.training.task import GROUP, TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd

CATEGORY, WEEK, OTHER = "category", "week", "other"
MAX_CATEGORIES = 200
# Of the weeks of the last year, in how many a category has lines at the least.
LEAST_SHARE = 0.5
YEAR = 52
_DAYS = 7
_FEW_WEEKS = 3
_MAX_NAME = 100
# After a time; after a date alone it would be the day.
_ZONE = r"(?<=[0-9]{2}:[0-9]{2})([0-9:.,]*?)\s*(?:[Zz]|[-+][0-9]{2}:?(?:[0-9]{2})?)$"
_ERA = ("1990-01-01", "2100-01-01")

_DATES = ("date", "timestamp", "transaction_timestamp", "trans_dt")
_CATEGORIES = (CATEGORY, "department", "cat_descr")
_AMOUNTS = ("amount", "sales_value", "merchandise_amt")
# A basket tells a product once, with its quantity: a line that comes again was delivered twice.
_KEYS = {"basket_id", "product_id"}

_MEASURE = "spend_"
_OTHER_VIEWS = r"spend_(?:19|s)_.*|.*_(?:q[1-4]|incmiddle)"
# As the Economic Tracker of Opportunity Insights names them.
_NAMES = {
    "aap": "apparel and accessories",
    "acf": "accommodation and food",
    "aer": "arts and recreation",
    "apg": "general merchandise and apparel",
    "gen": "general merchandise",
    "grf": "grocery and food",
    "hcs": "health care",
    "hic": "home improvement",
    "sgh": "sporting goods and hobby",
    "tws": "transport and warehousing",
}


@dataclass(frozen=True)
class SpendingReader(Reader):
    """Reads `category` and `week`, a row for each of both; `unit` is both, `group` the week.

    Rows to be predicted are asked for with a category and a date or week a record; each record is a
    row, and the index is its number where there is one file.
    """

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """Rows of all tables, summed over the files.

        Bad rows: `no_date`, `no_category`, `no_amount`; `duplicate`, a line that came twice in a
        form whose lines have keys; `other_form`, a whole table beside others that are usable.
        """
        import pandas as pd

        bad: list[BadRow] = []
        tables = [file for file in files if is_table(file)]
        if not tables:
            raise UnusableData(f"{len(files)} files: none is a table; needs CSV, JSON or Parquet.")
        read = list(_known(tables, bad, labelled=labelled))
        if len({one.kind for one in read}) > 1:
            raise UnusableData(
                "lines of spending, whole weeks and daily measures do not go together; found "
                + ", ".join(f"{one.kind} in {one.file.name[:80]!r}" for one in read)
                + "; deliver one form."
            )
        records = sum(one.records for one in read) + len(tables) - len(read)
        lines = pd.concat([one.lines for one in read], ignore_index=len(read) > 1)
        if not labelled:
            return Rows(_rows(lines.assign(week=_monday(lines["date"])), []), bad, records)
        weekly = _measured(lines) if read[0].kind == "measures" else _summed(lines, read[0].kind)
        return Rows(_rows(weekly, [TARGET]), bad, records)


@dataclass(frozen=True)
class _Read:
    """Lines with `date`, `category` and, if asked for, `amount`."""

    file: DataFile
    kind: str
    lines: "pd.DataFrame"
    records: int


class _OtherForm(UnusableData):
    """A table that holds something else."""


def _known(tables: Sequence[DataFile], bad: list[BadRow], *, labelled: bool) -> Iterator[_Read]:
    """Of all tables in a form that is known. Raises where none is."""
    others = []
    for file in tables:
        try:
            yield _lines(file, bad, labelled=labelled)
        except _OtherForm as error:
            others.append((file, error))
    if len(others) == len(tables):
        raise others[0][1]
    bad.extend(BadRow(file.name, None, "other_form", str(error)) for file, error in others)


def _lines(file: DataFile, bad: list[BadRow], *, labelled: bool) -> _Read:
    already = len(bad)
    table = read_table(file, bad)
    unread = len(bad) - already
    table.columns = [str(name).strip().casefold() for name in table.columns]
    table = table.loc[:, ~table.columns.duplicated()]
    measures = table.columns.str.startswith(_MEASURE)
    measures &= ~table.columns.str.fullmatch(_OTHER_VIEWS)
    if measures.any() and "date" in table and _first(table, _CATEGORIES) is None:
        return _Read(
            file, "measures", _melted(file, table, measures, labelled), len(table) + unread
        )
    date = _first(table, (*_DATES, WEEK))
    category = _first(table, _CATEGORIES)
    amount = _first(table, (*_AMOUNTS, TARGET))
    if date is None or category is None or (labelled and amount is None):
        raise _unknown(file, table, labelled)
    found = {
        "date": _dates(table[date]),
        CATEGORY: _names(table[category]),
    }
    if labelled:
        found["amount"] = _numbers(table[amount])
    lines = _without_bad(file, table, found, bad)
    return _Read(file, "whole weeks" if date == WEEK else "lines", lines, len(table) + unread)


def _first(table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _unknown(file: DataFile, table: "pd.DataFrame", labelled: bool) -> _OtherForm:
    found = ", ".join(repr(str(column)[:40]) for column in table.columns[:12]) or "none"
    needed = "date, category" + (", amount" if labelled else "")
    return _OtherForm(
        f"{file.name[:200]!r}: no spending in a form that is known; found columns {found}; needs "
        f"{needed}" + (", or date and spend_CATEGORY." if labelled else ".")
    )


def _without_bad(
    file: DataFile, table: "pd.DataFrame", found: dict[str, Any], bad: list[BadRow]
) -> "pd.DataFrame":
    import pandas as pd

    lines = pd.DataFrame(found, index=table.index)
    reasons = pd.Series("", index=lines.index, dtype=object)
    if set(table.columns) >= _KEYS and "amount" in lines:
        reasons[table.duplicated().to_numpy()] = "duplicate"
    for name in reversed(lines.columns):
        reasons[lines[name].isna()] = f"no_{name}"
    wrong = reasons[reasons != ""]
    bad.extend(
        BadRow(file.name, int(number), reason, _WHY[reason]) for number, reason in wrong.items()
    )
    return lines[reasons == ""]


_WHY = {
    "no_date": f"no date of ISO 8601 from {_ERA[0]} on and before {_ERA[1]}",
    "no_category": f"the category is missing, or longer than {_MAX_NAME} characters",
    "no_amount": "the amount is missing or no finite number",
    "duplicate": "the same line came before",
}


def _dates(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Days on the clock of the place where they were written; missing where there is none."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype):  # 20170131 or seconds: not to be guessed
        return pd.Series(pd.NaT, index=values.index, dtype="datetime64[us]")
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        # Who buys at midnight buys on that day, wherever that is.
        texts = values.map(str, na_action="ignore").str.replace(_ZONE, r"\1", regex=True)
        values = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    days = values.dt.tz_localize(None).dt.as_unit("us").dt.normalize()
    return days.where((days >= _ERA[0]) & (days < _ERA[1]))


def _names(values: "pd.Series[Any]") -> "pd.Series[Any]":
    texts = values.map(str, na_action="ignore").astype("str")
    texts = texts.str.replace(r"[\s\x00-\x1f\x7f]+", " ", regex=True).str.strip().str.lower()
    return texts.mask(~texts.str.len().between(1, _MAX_NAME))


def _numbers(values: "pd.Series[Any]") -> "pd.Series[Any]":
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers))


def _melted(file: DataFile, table: "pd.DataFrame", measures: Any, labelled: bool) -> "pd.DataFrame":
    """Daily measures as lines. A day that is told twice counts once, the last time."""
    if not labelled:
        raise UnusableData(
            f"{file.name[:200]!r}: rows to be predicted need the columns date and category."
        )
    if "freq" in table and set(table["freq"].dropna()) - {"d"}:
        raise _OtherForm(
            f"{file.name[:200]!r}: measures must be daily (freq d); those of weeks and months are "
            "not read."
        )
    days = table.loc[:, measures].apply(_numbers).assign(date=_dates(table["date"]))
    days = days.dropna(subset="date").drop_duplicates("date", keep="last")
    lines = days.melt("date", var_name=CATEGORY, value_name="amount").dropna()
    codes = lines[CATEGORY].str.removeprefix(_MEASURE)
    lines[CATEGORY] = codes.map(lambda code: _NAMES.get(code, code.replace("_", " ")))
    return lines


def _monday(days: "pd.Series[Any]") -> "pd.Series[Any]":
    import pandas as pd

    return days - pd.to_timedelta(days.dt.day_of_week, unit="D")


def _measured(lines: "pd.DataFrame") -> "pd.DataFrame":
    """Means of whole weeks, of the categories that have enough of them."""
    lines = lines.drop_duplicates(["date", CATEGORY], keep="last")
    lines = lines.assign(week=_monday(lines["date"]))
    weekly = lines.groupby([CATEGORY, WEEK])["amount"].agg(["mean", "size"])
    weekly = weekly.loc[weekly["size"] == _DAYS, "mean"].rename(TARGET).reset_index()
    return weekly[weekly[CATEGORY].isin(_often(weekly))]


def _summed(lines: "pd.DataFrame", kind: str) -> "pd.DataFrame":
    """Sums of whole weeks, with zeros where a category has no lines in a week that others have."""
    import pandas as pd

    lines = lines.assign(week=_monday(lines["date"]))
    if kind == "lines":
        lines = _whole_weeks(lines)
    own = _largest(lines, _often(lines))
    lines[CATEGORY] = lines[CATEGORY].where(lines[CATEGORY].isin(own), OTHER)
    lines = lines[lines[CATEGORY].isin(_often(lines))]
    table = lines.pivot_table(index=WEEK, columns=CATEGORY, values="amount", aggfunc="sum")
    begun = table.notna().cummax()
    weekly = table.fillna(0.0).where(begun).melt(ignore_index=False, value_name=TARGET)
    weekly = weekly.dropna().reset_index()
    return weekly if len(weekly) else pd.DataFrame({CATEGORY: [], WEEK: lines[WEEK], TARGET: []})


def _whole_weeks(lines: "pd.DataFrame") -> "pd.DataFrame":
    """Without the first and the last week where lines begin or end in the middle of it."""
    if not len(lines):
        return lines
    days = lines[["date", WEEK]].drop_duplicates()
    weekday = days["date"].dt.day_of_week
    weeks = days[WEEK].nunique()
    counts = weekday.value_counts()
    usual = counts[counts * 2 >= weeks].index
    if weeks < _FEW_WEEKS or not len(usual):
        usual = list(range(_DAYS))
    first, last = days["date"].min(), days["date"].max()
    partly = set()
    if first.day_of_week > min(usual):
        partly.add(days[WEEK].min())
    if last.day_of_week < max(usual):
        partly.add(days[WEEK].max())
    return lines[~lines[WEEK].isin(partly)]


def _often(lines: "pd.DataFrame") -> set[str]:
    """The categories that are told often enough to stand for themselves."""
    weeks = sorted(lines[WEEK].unique())[-YEAR:]
    seen = lines[lines[WEEK].isin(weeks)].groupby(CATEGORY)[WEEK].nunique()
    return set(seen.index[seen >= LEAST_SHARE * len(weeks)])


def _largest(lines: "pd.DataFrame", names: set[str]) -> set[str]:
    """Of these categories those with the most money."""
    if len(names) <= MAX_CATEGORIES:
        return names
    money = lines["amount"].abs().groupby(lines[CATEGORY]).sum()
    return set(money[money.index.isin(names)].nlargest(MAX_CATEGORIES).index)


def _rows(found: "pd.DataFrame", more: list[str]) -> "pd.DataFrame":
    weeks = found[WEEK].dt.strftime("%Y-%m-%d").astype(object)
    found = found.assign(**{UNIT: found[CATEGORY].astype(object) + "|" + weeks, GROUP: weeks})
    found[CATEGORY] = found[CATEGORY].astype(object)
    return found[[UNIT, GROUP, *more, CATEGORY, WEEK]]
