"""What the report draws: functions that put a chart on an empty matplotlib figure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]

# Usual rides that are drawn; the anomalous ones are drawn all, up to as many.
MAX_POINTS = 1_500
MAX_BARS = 12
# A legend that covers nothing.
_ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "ncols": 2,
    "frameon": False,
}
# Square points.
_DOT, _LARGEST_DOT = 4, 400
_USUAL, _ODD = "#8a9bb0", "#c8342b"
# A degree of latitude is longer than one of longitude by this much; the poles are left out.
_LEAST_COSINE = 0.1


def scatter(rides: Any) -> Draw:
    """Distance against duration of a day's clustered rides, anomalous ones marked."""
    usual, odd = _sides(rides, "distance_km", "duration_s")

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.scatter(usual[0], usual[1] / 60, s=_DOT, c=_USUAL, label="usual", linewidths=0)
        axes.scatter(odd[0], odd[1] / 60, s=22, c=_ODD, marker="x", label="anomalous")
        axes.set(xlabel="distance in km", ylabel="duration in minutes")
        # Rides of no distance are shown, too, which a logarithm does not.
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(**_ABOVE)

    return draw


def places(rides: Any) -> Draw | None:
    """Where rides begin: a map of points, or bars by zone; None where neither is known."""
    located = rides["pickup_lon"].null_count < rides.num_rows / 2
    if located and rides["pickup_lat"].null_count < rides.num_rows / 2:
        return _map(rides)
    return _bars(rides) if rides["pickup_zone"].null_count < rides.num_rows else None


def _map(rides: Any) -> Draw:
    usual, odd = _sides(rides, "pickup_lon", "pickup_lat")
    # Some cities tell the middle of the zone only: many rides are at one place.
    spots, counts = np.unique(usual, axis=1, return_counts=True)
    sizes = np.minimum(_DOT * counts, _LARGEST_DOT)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.scatter(spots[0], spots[1], s=sizes, c=_USUAL, linewidths=0)
        axes.scatter([], [], s=_DOT, c=_USUAL, label="usual, larger where more rides begin")
        axes.scatter(odd[0], odd[1], s=22, c=_ODD, marker="x", label="anomalous")
        axes.set(xlabel="longitude of the pickup", ylabel="latitude")
        middle = np.median(np.concatenate([usual[1], odd[1]]))
        axes.set_aspect(1 / max(float(np.cos(np.radians(middle))), _LEAST_COSINE), "datalim")
        axes.legend(**_ABOVE)

    return draw


def _bars(rides: Any) -> Draw:
    rows = zones(rides)[:MAX_BARS][::-1]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        names = [name[:40] for name, _, _ in rows]
        at = range(len(rows))
        axes.barh(at, [count for _, count, _ in rows], color=_USUAL, label="rides")
        axes.barh(at, [odd for _, _, odd in rows], color=_ODD, label="anomalous")
        axes.set_yticks(at, names)
        axes.set_xlabel("rides by zone of the pickup")
        axes.legend(**_ABOVE)

    return draw


def zones(rides: Any) -> list[tuple[str, int, int]]:
    """Zones of pickup with their rides and how many are anomalous, the busiest first."""
    counted = rides.group_by("pickup_zone").aggregate([([], "count_all"), ("is_anomaly", "sum")])
    found = [
        (row["pickup_zone"], row["count_all"], row["is_anomaly_sum"] or 0)
        for row in counted.to_pylist()
        if row["pickup_zone"]
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))


def _sides(rides: Any, x: str, y: str) -> tuple[Any, Any]:
    """Two arrays of shape (2, points): usual and anomalous rides, evenly thinned."""
    known = rides.select([x, y, "is_anomaly"]).drop_null()
    values = np.array([known[x].to_numpy(), known[y].to_numpy()]).reshape(2, -1)
    odd = known["is_anomaly"].to_numpy().astype(bool)
    return _thinned(values[:, ~odd]), _thinned(values[:, odd])


def _thinned(values: Any) -> Any:
    count = values.shape[1]
    if count <= MAX_POINTS:
        return values
    return values[:, np.linspace(0, count - 1, MAX_POINTS).astype(np.int64)]
