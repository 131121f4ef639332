"""Clusters of rides, and the rides that belong to none: DBSCAN with a radius found from the data.

DBSCAN's radius (`eps`) means a density, rides per area, so that one that fits ten thousand rides is
far too wide for a million. Here everything is learned on a sample of fixed size, or of all rides
where they are fewer, with `min_samples` a fixed share of it: the densities agree whatever the
number of rides. In three steps:

1. Features (`features.Usual`) are learned twice, the second time without the rides that lie out of
   range by the first. The sample is then trimmed to rides within the usual range of every feature
   (`robust.usual_range`), so that odd rides cannot vouch for each other.
2. `eps` is the distance within which nearly all of these have `min_samples` others; those that do
   are core rides; core rides within `eps` of each other are one cluster; clusters with less than
   `SMALL_SHARE` of the sample are none, unless all are that small.
3. Each ride of the table belongs to the cluster of the nearest core ride if that is within `eps`
   (DBSCAN's rule for a new ride), and is an anomaly otherwise. Its score is r / (1 + r), where r is
   that distance in `eps`.

The sample is drawn by a hash of the rides themselves: neither their order nor another run of the
same table changes anything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.rides.features import Readings, Usual, in_range, readings
from rag_platform.rides.robust import SMALL_SHARE

if TYPE_CHECKING:
    import pyarrow as pa

    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

SAMPLE = 20_000
NOISE = -1
# min_samples, as a share of the sample: 20 of 20,000 rides, and not less than five.
_CORE_SHARE = 0.001
_LEAST_SAMPLES = 5
# The share of the trimmed sample that has min_samples others within eps.
_DENSE_SHARE = 0.999
# Rides that differ by less than a tenth of the usual spread are alike, however dense they lie.
_LEAST_EPS = 0.1


@dataclass(frozen=True)
class Clustering:
    """What was found; arrays hold a value for each ride, in the order of the table.

    `places` are the features, (rides, 3); `sample` the rows that all was learned from; `eps` is
    infinite where the rides are too few for any pattern.
    """

    cluster: "Integers"
    score: "Floats"
    places: Any
    sample: "Integers"
    readings: Readings
    usual: Usual
    eps: float
    min_samples: int
    clusters: int

    @property
    def is_anomaly(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Rides that belong to no cluster."""
        return np.asarray(self.cluster == NOISE)


def find_clusters(rides: "pa.Table") -> Clustering:
    """The clusters of a table of rides (see `rag_platform.rides.schema`), the largest first."""
    values = readings(rides)
    rows = np.argsort(values.key, kind="stable")[:SAMPLE]
    usual = _learn(values.take(rows))
    places = usual.features(values)
    cores, members, eps, min_samples = _fit(places[rows])
    places = np.nan_to_num(places, copy=False)
    nearest, away = _nearest(cores, places)
    found = np.where(away <= eps, members[nearest], NOISE) if len(cores) else nearest
    ratio = away / eps
    cluster = _by_size(found, places)
    return Clustering(
        cluster=cluster,
        score=ratio / (1.0 + ratio),
        places=places,
        sample=rows,
        readings=values,
        usual=usual,
        eps=eps,
        min_samples=min_samples,
        clusters=int(cluster.max(initial=NOISE)) + 1,
    )


def _learn(sample: Readings) -> Usual:
    """What is usual, learned anew without what is out of range by what was learned first."""
    first = Usual.of(sample)
    return Usual.of(sample.take(np.flatnonzero(in_range(first.features(sample)))))


def _fit(sample: Any) -> "tuple[Any, Integers, float, int]":
    """Core rides of the clusters, the cluster of each, `eps` and `min_samples`."""
    from scipy.spatial import cKDTree

    bulk = np.nan_to_num(sample[in_range(sample)])
    min_samples = max(_LEAST_SAMPLES, round(_CORE_SHARE * len(bulk)))
    if len(bulk) <= 2 * min_samples:  # too few for any pattern: all are one cluster
        return bulk, np.zeros(len(bulk), dtype=np.int64), float("inf"), min_samples
    # The first neighbour of a ride is the ride itself, which counts, as in DBSCAN.
    reach = cKDTree(bulk).query(bulk, k=[min_samples])[0][:, 0]
    eps = max(float(np.quantile(reach, _DENSE_SHARE)), _LEAST_EPS)
    cores = bulk[reach <= eps]
    members = components(cores, eps)
    large = np.bincount(members) >= SMALL_SHARE * len(bulk)
    if not large.any():  # many small patterns: none is the odd one
        large[:] = True
    return cores[large[members]], members[large[members]], eps, min_samples


def components(points: Any, eps: float) -> "Integers":
    """The number of the group of each point, where points within `eps` of each other are one."""
    from scipy.spatial import cKDTree

    found = np.full(len(points), -1, dtype=np.int64)
    left = np.arange(len(points))
    number = 0
    while left.size:
        reached, left = left[:1], left[1:]
        found[reached] = number
        while reached.size and left.size:
            tree = cKDTree(points[reached])
            away = tree.query(points[left], distance_upper_bound=np.nextafter(eps, np.inf))[0]
            reached, left = left[away <= eps], left[away > eps]
            found[reached] = number
        number += 1
    return found


def _nearest(cores: Any, places: Any) -> "tuple[Integers, Floats]":
    """The nearest core ride of each place, and how far it is; infinitely far without any."""
    from scipy.spatial import cKDTree

    if not len(cores):
        return np.full(len(places), NOISE), np.full(len(places), np.inf)
    away, nearest = cKDTree(cores).query(places, workers=-1)
    return nearest, away


def _by_size(found: "Integers", places: Any) -> "Integers":
    """Clusters numbered anew: the largest is 0; those of the same size by their centre."""
    numbers = np.unique(found[found != NOISE])
    sizes = [np.count_nonzero(found == number) for number in numbers]
    centres = [tuple(np.median(places[found == number], axis=0)) for number in numbers]
    order = sorted(range(len(numbers)), key=lambda at: (-sizes[at], centres[at]))
    renamed = np.full(int(numbers.max(initial=0)) + 2, NOISE)
    renamed[numbers[order]] = np.arange(len(order))
    return np.where(found == NOISE, NOISE, renamed[found])
