"""The one form of a table of rides: its columns, their units, and what clustering adds.

A table of rides is a `pyarrow.Table`, a row for each ride:

- `ride_id`: the ride's own key, unique in its file;
- `started_at`: when it began, in UTC;
- `distance_km`, `duration_s`, `speed_kmh`: how far, how long, how fast on average;
- `pickup_lon`, `pickup_lat`, `dropoff_lon`, `dropoff_lat`: degrees (WGS 84);
- `pickup_zone`, `dropoff_zone`: names of the places;
- `fare`: what was paid, in the city's currency;
- `weather`, `traffic`, `news`: what it met on its way.

Only `ride_id`, `distance_km` and `duration_s` are always there; any other may be null.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("ride_id", "distance_km", "duration_s")


def ride_schema() -> "pa.Schema":
    """The columns of a table of rides, in order."""
    import pyarrow as pa

    return pa.schema(
        [
            ("ride_id", pa.string()),
            ("started_at", pa.timestamp("us", tz="UTC")),
            ("distance_km", pa.float64()),
            ("duration_s", pa.float64()),
            ("speed_kmh", pa.float64()),
            ("pickup_lon", pa.float64()),
            ("pickup_lat", pa.float64()),
            ("dropoff_lon", pa.float64()),
            ("dropoff_lat", pa.float64()),
            ("pickup_zone", pa.string()),
            ("dropoff_zone", pa.string()),
            ("fare", pa.float64()),
            ("weather", pa.string()),
            ("traffic", pa.string()),
            ("news", pa.string()),
        ]
    )


def clustered_schema() -> "pa.Schema":
    """The columns of a ride, and what clustering found out about it.

    - `cluster`: 0 is the largest; -1 belongs to none;
    - `is_anomaly`: belongs to no cluster;
    - `score`: 0 to 1, how far from what is usual; anomalous above 0.5;
    - `why`: for an anomalous ride, labels of `rag_platform.rides.labels`, the strongest first;
    - `reason`: the same in a sentence; null for other rides.
    """
    import pyarrow as pa

    found = [
        ("cluster", pa.int32()),
        ("is_anomaly", pa.bool_()),
        ("score", pa.float64()),
        ("why", pa.list_(pa.string())),
        ("reason", pa.string()),
    ]
    return pa.schema([*ride_schema(), *(pa.field(name, kind) for name, kind in found)])


def conform(table: "pa.Table") -> "pa.Table":
    """`table` in the columns of `ride_schema`, with the speed worked out where it is null.

    Columns that are absent are null, columns of other names are left out. Raises
    `pyarrow.ArrowInvalid` where a value does not fit its column, and `KeyError` without one of
    `REQUIRED`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = set(table.column_names)
    if missing := [name for name in REQUIRED if name not in names]:
        raise KeyError(f"no column {', '.join(missing)}")
    columns = {
        field.name: table[field.name].cast(field.type)
        if field.name in names
        else pa.nulls(table.num_rows, field.type)
        for field in ride_schema()
    }
    hours = pc.divide(columns["duration_s"], 3600.0)
    moving = pc.if_else(pc.greater(hours, 0.0), hours, None)
    columns["speed_kmh"] = pc.coalesce(
        columns["speed_kmh"], pc.divide(columns["distance_km"], moving)
    )
    return pa.table(columns, schema=ride_schema())
