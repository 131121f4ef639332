"""How one column differs from before, in figures and in words."""

from dataclasses import dataclass

# A p value, adjusted for the number of tests, below which a difference is no accident.
MAX_P = 0.01
VALUES, MISSING = "values", "missing"
_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How one column differs from before, in its `values` or in how many are `missing`.

    `effect` is how many times the bound it is, from 1 on large. `p` is adjusted for the number of
    tests. `before` and `now` are shares of the bins (of a text, along its axis `along`).
    """

    part: str
    column: str
    kind: str | None
    aspect: str
    test: str
    rows_before: int
    rows_now: int
    effect: float
    p: float
    psi: float | None = None
    distance: float | None = None
    along: str | None = None
    bins: tuple[str, ...] = ()
    before: tuple[float, ...] = ()
    now: tuple[float, ...] = ()

    @property
    def drifted(self) -> bool:
        """By much, and not by accident."""
        return self.effect >= 1 and self.p < MAX_P

    @property
    def told(self) -> str:
        """In a few words."""
        name = f"{self.column[:_MAX_NAME]!r}" + (" of the scores" if self.part == "scores" else "")
        if self.aspect == MISSING:
            return f"{name} missing {self.before[0]:.1%} → {self.now[0]:.1%} (p {self.p:.2g})"
        distance = "" if self.distance is None else f", distance {self.distance:.2f}"
        along = f" along {self.along}" if self.along else ""
        return f"{name}{along} PSI {self.psi or 0.0:.2f}{distance} (p {self.p:.2g})"
