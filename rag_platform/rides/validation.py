"""Which rides are plausible: a pandera schema over a chunk, and a reason for each that is not."""

import functools
from typing import TYPE_CHECKING, Any

from rag_platform.rides.adapters import TEXTS, Frame

if TYPE_CHECKING:
    import pandera.pandas as pa
    import pyarrow as arrow

# Least and most of each figure, both included, and whether it may be missing. They bound what can
# be a ride at all: one that is impossibly fast or long is an anomaly, and for clustering to find.
RANGES: dict[str, tuple[float, float, bool]] = {
    "distance_km": (0, 1_000, False),
    "duration_s": (1, 172_800, False),
    "speed_kmh": (0, 2_000, False),
    "pickup_lon": (-180, 180, True),
    "pickup_lat": (-90, 90, True),
    "dropoff_lon": (-180, 180, True),
    "dropoff_lat": (-90, 90, True),
    "fare": (0, 100_000, True),
}

# Of the median ride, on foot to on the motorway; and of speeds told to those that follow.
_USUAL_SPEED = (2.0, 150.0)
_USUAL_RATIO = (0.7, 1.4)


def problems(frame: Frame, *, timeless: bool = False) -> dict[int, tuple[str, str]]:
    """Reason code and detail of each ride that is not plausible, by its label in the index.

    `timeless`: no ride says when it began, and none has to. Reasons: `missing_COLUMN`,
    `range_COLUMN` and `bad_bytes` (text that was no UTF-8). The first that applies counts.
    """
    from pandera.errors import SchemaErrors

    try:
        _schema(timeless).validate(frame, lazy=True)
    except SchemaErrors as errors:
        found: dict[int, tuple[str, str]] = {}
        for case in errors.failure_cases.itertuples(index=False):
            found.setdefault(int(case.index), _reason(case))
        return found
    return {}


@functools.cache
def _schema(timeless: bool) -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    figures = {
        name: pa.Column(float, pa.Check.in_range(low, high), nullable=nullable)
        for name, (low, high, nullable) in RANGES.items()
    }
    readable = pa.Check(lambda text: ~text.str.contains("\ufffd", regex=False), name="bad_bytes")
    return pa.DataFrameSchema(
        {
            "started_at": pa.Column("datetime64[us, UTC]", nullable=timeless),
            **figures,
            **{name: pa.Column("string", readable, nullable=name != "ride_id") for name in TEXTS},
        }
    )


def doubtful_units(rides: "arrow.Table") -> str | None:
    """What is to be said of rides whose speeds no city has, None of others.

    A duration in minutes that is taken for seconds changes no cluster, but every figure.
    """
    import pyarrow.compute as pc

    moving = rides.filter(pc.greater(rides["distance_km"], 0.0))
    if not moving.num_rows:
        return None
    driven = pc.divide(moving["distance_km"], pc.divide(moving["duration_s"], 3_600.0))
    speed = pc.approximate_median(driven).as_py()
    told = pc.approximate_median(pc.divide(moving["speed_kmh"], driven)).as_py()
    if not _USUAL_SPEED[0] <= speed <= _USUAL_SPEED[1]:
        found = (
            f"half of the rides are {'faster' if speed > 100 else 'slower'} than {speed:,.4g} km/h"
        )
    elif not _USUAL_RATIO[0] <= told <= _USUAL_RATIO[1]:
        found = f"the speeds told are {told:.2g} times distance by duration"
    else:
        return None
    return f"{found}: are the units those of the columns' names (see duration_min, distance_miles)?"


def _reason(case: Any) -> tuple[str, str]:
    column = str(case.column)
    if str(case.check).startswith("in_range"):
        low, high, _ = RANGES[column]
        value = f"{float(case.failure_case):.6g}"
        return f"range_{column}", f"{column} is {value}, not from {low:,} to {high:,}"
    if case.check == "not_nullable":
        return f"missing_{column}", f"{column} is missing or cannot be read"
    return "bad_bytes", f"{column} is no UTF-8 text"
