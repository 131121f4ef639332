"""Which rides are plausible: a pandera schema over a chunk, and a reason for each that is not."""

import functools
from typing import TYPE_CHECKING, Any

from rag_platform.rides.adapters import TEXTS, Frame

if TYPE_CHECKING:
    import pandera.pandas as pa

# Least and most of each figure, both included, and whether it may be missing.
RANGES: dict[str, tuple[float, float, bool]] = {
    "distance_km": (0, 1_000, False),
    "duration_s": (1, 86_400, False),
    "speed_kmh": (0, 300, False),
    "pickup_lon": (-180, 180, True),
    "pickup_lat": (-90, 90, True),
    "dropoff_lon": (-180, 180, True),
    "dropoff_lat": (-90, 90, True),
    "fare": (0, 100_000, True),
}


def problems(frame: Frame) -> dict[int, tuple[str, str]]:
    """Reason code and detail of each ride that is not plausible, by its label in the index.

    Reasons: `missing_COLUMN`, `range_COLUMN` and `bad_bytes` (text that was no UTF-8). The first
    that applies counts.
    """
    from pandera.errors import SchemaErrors

    try:
        _schema().validate(frame, lazy=True)
    except SchemaErrors as errors:
        found: dict[int, tuple[str, str]] = {}
        for case in errors.failure_cases.itertuples(index=False):
            found.setdefault(int(case.index), _reason(case))
        return found
    return {}


@functools.cache
def _schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    figures = {
        name: pa.Column(float, pa.Check.in_range(low, high), nullable=nullable)
        for name, (low, high, nullable) in RANGES.items()
    }
    readable = pa.Check(lambda text: ~text.str.contains("\ufffd", regex=False), name="bad_bytes")
    return pa.DataFrameSchema(
        {
            "started_at": pa.Column("datetime64[us, UTC]"),
            **figures,
            **{name: pa.Column("string", readable, nullable=name != "ride_id") for name in TEXTS},
        }
    )


def _reason(case: Any) -> tuple[str, str]:
    column = str(case.column)
    if str(case.check).startswith("in_range"):
        low, high, _ = RANGES[column]
        value = f"{float(case.failure_case):.6g}"
        return f"range_{column}", f"{column} is {value}, not from {low:,} to {high:,}"
    if case.check == "not_nullable":
        return f"missing_{column}", f"{column} is missing or cannot be read"
    return "bad_bytes", f"{column} is no UTF-8 text"
