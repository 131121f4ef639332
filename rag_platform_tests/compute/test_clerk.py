"""Who holds which key, and what was done."""

from hypothesis import given
from hypothesis import strategies as st

from rag_platform.compute.clerk import GIVE_UP, Clerk


def test_a_key_is_one_units_until_it_is_done() -> None:
    clerk = Clerk()
    assert clerk.refused(1, [b"a", b"b"]) == []
    assert clerk.refused(2, [b"b", b"c"]) == [b"b"]
    assert clerk.refused(1, [b"a", b"b"]) == []  # tried again by another worker
    clerk.done(1, "monday", {"parsed": 2})
    assert clerk.refused(2, [b"b"]) == []
    clerk.failed(2)
    assert clerk.refused(3, [b"a", b"b", b"c"]) == []


def test_what_is_done_is_not_begun_again_and_after_the_end_nothing_is() -> None:
    """A worker that is lost with many units of a block gives all of them to another."""
    clerk = Clerk()
    assert [clerk.begin(1), clerk.begin(1), clerk.begin(2)] == [1, 2, 1]
    clerk.done(1, "monday", {"parsed": 2})
    assert [clerk.begin(1), clerk.begin(2)] == [0, 2]
    clerk.failed(2)
    assert clerk.begin(2) == 3
    clerk.end()
    assert [clerk.begin(2), clerk.begin(3)] == [0, 0]


def test_after_so_many_failures_all_is_over() -> None:
    clerk = Clerk()
    for unit in range(GIVE_UP):
        assert clerk.begin(unit) == 1
        clerk.failed(unit)
    assert clerk.begin(GIVE_UP) == 0


def test_figures_add_up_by_window() -> None:
    clerk = Clerk()
    clerk.done(1, "monday", {"parsed": 2, "failed": 1})
    clerk.done(2, "monday", {"parsed": 3, "failed": 0})
    clerk.done(3, "tuesday", {"parsed": 5, "failed": 0})
    assert clerk.figures() == {
        "monday": {"parsed": 5, "failed": 1},
        "tuesday": {"parsed": 5, "failed": 0},
    }


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3), st.one_of(st.none(), st.sets(st.sampled_from(b"abcdef"), max_size=4))
    ),
    max_size=30,
)


@given(STEPS)
def test_no_two_units_hold_a_key(steps: list[tuple[int, set[int] | None]]) -> None:
    """Against a plain table of holders; None for the keys: the unit ends."""
    clerk = Clerk()
    holder: dict[bytes, int] = {}
    for unit, numbers in steps:
        if numbers is None:
            clerk.failed(unit)
            holder = {key: other for key, other in holder.items() if other != unit}
            continue
        keys = [bytes([number]) for number in sorted(numbers)]
        refused = clerk.refused(unit, keys)
        assert refused == [key for key in keys if holder.get(key, unit) != unit]
        holder |= {key: unit for key in keys if key not in refused}
