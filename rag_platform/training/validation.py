"""Whether rows may be trained on: checks that are always all reported, each with why."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.leakage import MAX_SHARED, shared, telling
from rag_platform.training.rows import BadRow, Rows
from rag_platform.training.snapshots import plain
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import GROUP, RESERVED, TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

CHECKS = ("usable", "schema", "ranges", "enough_rows", "no_leakage", "freshness")

# How reason codes of rows begin that break the schema or a range.
_SCHEMA, _RANGE = "schema", "range"
_DAY_S = 86_400.0
# A clock may be a little ahead; data of next week is a mistake.
_AHEAD_DAYS = 1.0
_MAX_UNIT = 1_000
_MAX_SHOWN = 60
_MAX_CLASSES = 200
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One question that was asked of the data, and the answer in words."""

    name: str
    passed: bool
    told: str


@dataclass(frozen=True, slots=True)
class Validated:
    """The rows that are left, those that cannot be used, the checks, and figures for people.

    The frame counts from 0; units are unique in it. Figures are JSON: `rows`, `records`, `bad`,
    `bad_share`, `reasons`, `duplicates` (the same row again), `replaced` (another row of the unit
    came later), `contradictions` (rows with the features of another, but not its target),
    `groups`, `held_back`, `classes`, `missing` (share by column), `modified`, `age_days`.
    """

    frame: "pd.DataFrame"
    bad: list[BadRow]
    checks: list[Check]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all checks did."""
        return all(check.passed for check in self.checks)


def validate(
    spec: ModelSpec,
    rows: Rows,
    *,
    modified: float | None,
    now: float,
    max_age_days: int,
    max_bad_share: float,
) -> Validated:
    """Check labelled rows.

    `modified` is when the newest of the data was written, `now` the time, both in UTC seconds
    since 1970; a `modified` of None stands for data that does not age. Rows that break the schema
    or a range are unusable and left out; together with those that could not be read they may be
    `max_bad_share` of the records. Nothing is raised for data, however bad.
    """
    frame = rows.frame.reset_index(drop=True)
    fresh = _freshness(modified, now, max_age_days)
    if problem := _misfit(frame):
        checks = [Check("schema", False, problem), fresh, *_untold(spec)]
        return Validated(frame.iloc[:0], rows.bad, _ordered(spec, checks), _records(rows))
    frame = _as_numbers(frame, spec)
    reasons = _problems(frame, spec)
    bad = [*rows.bad, *_letters(rows.frame, reasons)]
    kept, figures = _without_copies(frame.drop(index=list(reasons)))
    figures |= _figures(kept, spec) | _records(rows, bad)
    figures |= {"modified": modified, "age_days": _age_days(modified, now)}
    checks = [
        _share("usable", figures, lambda _: True, max_bad_share),
        _share("schema", figures, lambda reason: reason.startswith(_SCHEMA), max_bad_share),
        _share("ranges", figures, lambda reason: reason.startswith(_RANGE), max_bad_share),
        _enough_rows(spec, figures),
        _no_leakage(spec, kept),
        fresh,
        *_of_task(spec, kept),
    ]
    return Validated(kept, bad, _ordered(spec, checks), figures)


def _ordered(spec: ModelSpec, checks: list[Check]) -> list[Check]:
    names = [*CHECKS, *(name for name in spec.task.checks if name not in CHECKS)]
    return sorted(checks, key=lambda check: names.index(check.name))


def _untold(spec: ModelSpec) -> list[Check]:
    names = {*CHECKS, *spec.task.checks} - {"schema", "freshness"}
    return [Check(name, False, "not told: the schema does not fit") for name in names]


def _misfit(frame: "pd.DataFrame") -> str | None:
    """What is wrong with the columns, so that no row can be looked at."""
    import pandas as pd

    lacking = [name for name in RESERVED if name not in frame]
    if lacking:
        found = ", ".join(map(_shown, frame.columns[:20]))
        return f"no column {', '.join(lacking)}; there are: {found or 'none'}"
    if not frame.columns.is_unique or not all(isinstance(name, str) for name in frame):
        return "names of columns must be texts, and none may stand twice"
    for name in (UNIT, GROUP):
        if not pd.api.types.is_object_dtype(frame[name]) and not isinstance(
            frame[name].dtype, pd.StringDtype
        ):
            return f"{name} holds {frame[name].dtype}, not text"
    return None


def _as_numbers(frame: "pd.DataFrame", spec: ModelSpec) -> "pd.DataFrame":
    """With infinity, which no range allows, for what is no number in a column with a range."""
    import pandas as pd

    for name in (name for name in spec.ranges if name in frame):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            numbers = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
            frame[name] = numbers.mask(frame[name].notna() & numbers.isna(), np.inf)
    return frame


def _problems(frame: "pd.DataFrame", spec: ModelSpec) -> dict[int, tuple[str, str]]:
    """Reason code and detail of each row that breaks the schema or a range, by its position.

    Of several the first counts.
    """
    from pandera.errors import SchemaErrors

    try:
        _schema(frame, spec).validate(frame, lazy=True)
    except SchemaErrors as errors:
        found: dict[int, tuple[str, str]] = {}
        for case in errors.failure_cases.itertuples(index=False):
            found.setdefault(int(case.index), _reason(case, spec))
        return found
    return {}


def _schema(frame: "pd.DataFrame", spec: ModelSpec) -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    is_text = pa.Check(_is_text, name="text")
    columns = {name: pa.Column(None, is_text, nullable=False) for name in (UNIT, GROUP)}
    for name in frame.columns.difference([UNIT, GROUP]):
        is_number = frame[name].dtype.kind in "iuf"
        check = pa.Check(np.isfinite, name="finite") if is_number else None
        if is_number and name in spec.ranges:
            check = pa.Check.in_range(*spec.ranges[name])
        columns[name] = pa.Column(None, check, nullable=name != TARGET)
    return pa.DataFrameSchema(columns)


def _is_text(column: "pd.Series[Any]") -> "pd.Series[bool]":
    return column.map(lambda value: isinstance(value, str) and 0 < len(value) <= _MAX_UNIT)


def _reason(case: Any, spec: ModelSpec) -> tuple[str, str]:
    column = str(case.column)
    if case.check == "not_nullable":
        return f"{_SCHEMA}_missing_{column}", f"{_shown(column)} is missing"
    if case.check == "text":
        told = f"no text of 1 to {_MAX_UNIT:,} characters"
        return f"{_SCHEMA}_{column}", f"{_shown(column)} is {told}"
    value = float(case.failure_case)
    if not np.isfinite(value):
        return f"{_SCHEMA}_number_{column}", f"{_shown(column)} is no finite number"
    low, high = spec.ranges[column]
    return f"{_RANGE}_{column}", f"{_shown(column)} is {value:.6g}, not from {low:g} to {high:g}"


def _letters(frame: "pd.DataFrame", reasons: dict[int, tuple[str, str]]) -> Iterator[BadRow]:
    """Rows are told by their unit; where they stood in which file is no longer known."""
    for at, (reason, detail) in sorted(reasons.items()):
        label = frame.index[at]
        number = int(label) if isinstance(label, int | np.integer) else None
        yield BadRow(str(frame[UNIT].iloc[at])[:_MAX_UNIT], number, reason, detail)


def _without_copies(frame: "pd.DataFrame") -> "tuple[pd.DataFrame, dict[str, Any]]":
    """Rows without those that came again; of several rows of a unit the last one stays."""
    known = _hashes(frame, list(frame.columns))
    once = frame[~known.duplicated().to_numpy()]
    last = once[~once[UNIT].duplicated(keep="last").to_numpy()].reset_index(drop=True)
    features = _hashes(once, _features(once))
    told = _hashes(once, [TARGET]).groupby(features).transform("nunique")
    figures = {
        "duplicates": len(frame) - len(once),
        "replaced": len(once) - len(last),
        "contradictions": int((told > 1).sum()),
    }
    return last, figures


def _features(frame: "pd.DataFrame") -> list[str]:
    return [name for name in frame if name not in RESERVED]


def _hashes(frame: "pd.DataFrame", columns: list[str]) -> "pd.Series[Any]":
    """A hash of each row's content; of equal rows it is equal."""
    import pandas as pd

    # A column that is always there: rows without a feature have equal features.
    rows = plain(frame[columns])[0].assign(**{UNIT: 0} if UNIT not in columns else {})
    return pd.util.hash_pandas_object(rows, index=False)


def _records(rows: Rows, bad: list[BadRow] | None = None) -> dict[str, Any]:
    bad = rows.bad if bad is None else bad
    records = max(rows.records, len(rows.frame) + len(rows.bad))
    reasons = Counter(row.reason for row in bad)
    return {
        "records": records,
        "bad": len(bad),
        "bad_share": len(bad) / records if records else 0.0,
        "reasons": dict(reasons.most_common()),
    }


def _figures(frame: "pd.DataFrame", spec: ModelSpec) -> dict[str, Any]:
    missing = frame.isna().mean()
    classes = frame[TARGET].map(str).value_counts() if len(frame) else frame[TARGET]
    is_few = len(classes) <= _MAX_CLASSES and classes.index.astype(str).str.len().max() <= 100
    return {
        "rows": len(frame),
        "groups": int(frame[GROUP].nunique()),
        "held_back": int(spec.task.holdout(frame).sum()) if len(frame) else 0,
        "classes": {str(name): int(count) for name, count in classes.items()} if is_few else {},
        "missing": {str(n): round(float(s), 6) for n, s in missing[missing > 0].items()},
    }


def _age_days(modified: float | None, now: float) -> float | None:
    return None if modified is None else round((now - modified) / _DAY_S, 3)


def _freshness(modified: float | None, now: float, max_age_days: int) -> Check:
    age = _age_days(modified, now)
    if age is None:
        return Check("freshness", True, "data that comes with the platform does not age")
    told = f"{age:.1f} days old, at most {max_age_days}"
    if age < -_AHEAD_DAYS:
        told = f"written {-age:.1f} days ahead of now; check the clocks"
    return Check("freshness", -_AHEAD_DAYS <= age <= max_age_days, told)


def _share(name: str, figures: dict[str, Any], is_of: Callable[[str], bool], most: float) -> Check:
    """Whether the unusable records of some reasons are few enough."""
    reasons = {reason: count for reason, count in figures["reasons"].items() if is_of(reason)}
    bad, records = sum(reasons.values()), figures["records"]
    told = f"{bad:,} of {records:,} records unusable, at most {most:.1%}"
    if reasons:
        top = [f"{_shown(reason)} {count:,}" for reason, count in list(reasons.items())[:_NAMED]]
        told = f"{told}: {', '.join(top)}"
    if name == "usable":
        counted = ("duplicates", "replaced", "contradictions")
        told += "; " + ", ".join(f"{figures[key]:,} {key}" for key in counted)
    return Check(name, bad <= most * records, told)


def _enough_rows(spec: ModelSpec, figures: dict[str, Any]) -> Check:
    rows, held = figures["rows"], figures["held_back"]
    told = f"{rows:,} rows, {held:,} of them held back; at least {spec.min_rows:,} and some of each"
    return Check("enough_rows", rows >= spec.min_rows and 0 < held < rows, told)


def _no_leakage(spec: ModelSpec, frame: "pd.DataFrame") -> Check:
    if frame.empty:
        return Check("no_leakage", False, "not told: there are no rows")
    rows, _ = plain(frame)
    names = [name for name in _features(frame) if name not in spec.audited]
    found = [
        f"{_shown(name)} alone tells the target ({measure})"
        for name, measure in telling(rows[names], rows[TARGET])
    ]
    seen = shared(_hashes(frame, _features(frame)).to_numpy(), spec.task.holdout(frame))
    if seen > MAX_SHARED:
        found.append(f"{seen:.1%} of the held-back rows stand among the others too")
    told = f"no feature is the target; {seen:.1%} of the held-back rows stand among the others"
    return Check("no_leakage", not found, "; ".join(found[:_NAMED]) or told)


def _of_task(spec: ModelSpec, frame: "pd.DataFrame") -> Iterator[Check]:
    if frame.empty:
        yield from (Check(n, False, "not told: there are no rows") for n in spec.task.checks)
        return
    findings = spec.task.findings(frame)
    for name in spec.task.checks:
        told = [finding.told for finding in findings if finding.check == name]
        yield Check(name, not told, "; ".join(told) or "nothing was found")


def _shown(name: Any) -> str:
    text = str(name)
    return text if len(text) <= _MAX_SHOWN and text.isprintable() else repr(text[:_MAX_SHOWN])
