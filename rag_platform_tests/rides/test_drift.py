"""Drift: large differences that are no accident, and nothing else."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rag_platform.rides import drift
from rag_platform.rides.drift import Shift, like_days, psi, sample, shifts
from rag_platform.rides.schema import conform


def day(seed: int, *, rides: int = 3_000, faster: float = 1.0, zone: str = "A") -> Any:
    random = np.random.default_rng(seed)
    distance = np.exp(random.normal(1, 0.6, rides))
    table = pa.table(
        {
            "ride_id": [str(n) for n in range(rides)],
            "started_at": pa.array(
                [datetime(2026, 6, 10, tzinfo=UTC)] * rides, pa.timestamp("us", tz="UTC")
            ),
            "distance_km": distance,
            "duration_s": distance / (20 * faster) * 3_600,
            "pickup_zone": random.choice([zone, "B", "C"], rides).tolist(),
        }
    )
    return sample(conform(table), "UTC")


def drifted(found: list[Shift]) -> set[str]:
    return {shift.figure for shift in found if shift.drifted}


def test_days_alike_have_not_drifted() -> None:
    found = shifts(day(1), [day(2), day(3)])
    assert {shift.figure for shift in found} == {
        "hour",
        "distance_km",
        "duration_s",
        "speed_kmh",
        "pickup_zone",
    }
    assert drifted(found) == set()


def test_slower_traffic_and_other_zones_have() -> None:
    assert drifted(shifts(day(1, faster=0.6), [day(2)])) == {"duration_s", "speed_kmh"}
    assert drifted(shifts(day(1, zone="Z"), [day(2)])) == {"pickup_zone"}


def test_a_small_difference_is_none_however_certain() -> None:
    found = shifts(day(1, rides=20_000, faster=0.9), [day(2, rides=20_000)])
    [speed] = [shift for shift in found if shift.figure == "duration_s"]
    assert speed.p < 0.01
    assert not speed.drifted


def test_few_rides_are_not_compared() -> None:
    assert shifts(day(1, rides=99), [day(2)]) == []
    assert shifts(day(1), []) == []


def test_psi_by_hand() -> None:
    # Half rides added: (30.5, 70.5)/101 against (50.5, 50.5)/101.
    found = psi(np.array([30, 70]), np.array([50, 50]))
    expected = (30.5 - 50.5) / 101 * np.log(30.5 / 50.5) + (70.5 - 50.5) / 101 * np.log(70.5 / 50.5)
    assert found == pytest.approx(expected)


COUNTS = hnp.arrays(np.int64, 6, elements=st.integers(0, 10_000))


@given(COUNTS, COUNTS)
def test_psi_is_symmetric_and_never_negative(one: Any, other: Any) -> None:
    assert psi(one, other) >= -1e-12
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0


def test_hours_are_those_of_the_zone() -> None:
    table = pa.table(
        {
            "ride_id": ["1"],
            "started_at": pa.array(
                [datetime(2026, 6, 10, 22, 30, tzinfo=UTC)], pa.timestamp("us", tz="UTC")
            ),
            "distance_km": [1.0],
            "duration_s": [60.0],
        }
    )
    assert sample(conform(table), "Europe/Berlin")["hour"].tolist() == [0.5]


def test_a_large_day_is_thinned_evenly() -> None:
    found = day(1, rides=drift.SAMPLE + 5)
    assert len(found["distance_km"]) == drift.SAMPLE


def test_days_are_compared_with_those_of_the_same_part_of_the_week() -> None:
    wednesday = date(2026, 6, 10)
    known = [wednesday - timedelta(days=back) for back in range(-3, 40)]
    alike = like_days(wednesday, known)
    assert len(alike) == 7
    assert alike[:4] == [date(2026, 6, 9), date(2026, 6, 8), date(2026, 6, 5), date(2026, 6, 4)]
    saturday = like_days(date(2026, 6, 13), known)
    assert saturday[:3] == [date(2026, 6, 7), date(2026, 6, 6), date(2026, 5, 31)]
    assert min(saturday) >= date(2026, 6, 13) - timedelta(days=28)
