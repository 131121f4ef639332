"""Exact match and F1 on cases worked out by hand from TAT-QA's published definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.training.tasks.answers import SCALES
from rag_platform.training.tasks.tatqa import exact_match_and_f1

EXACT, WRONG = (1.0, 1.0), (0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "scale", "right", "right_scale", "kind", "expected"),
    [
        # Numbers count by their value, with currency, thousands and scale.
        (["$1,496.5"], "million", ["1496.5"], "million", "span", EXACT),
        (["1,496.5"], "", ["1496.5"], "million", "span", WRONG),
        (["1.4965"], "billion", ["1496.5"], "million", "span", (0.0, 0.0)),
        (["2"], "billion", ["2000"], "million", "arithmetic", EXACT),
        (["-12.60"], "million", ["-12.6"], "million", "arithmetic", EXACT),
        (["12.6"], "million", ["-12.6"], "million", "arithmetic", WRONG),
        # Two decimals count.
        (["22.2249"], "percent", ["22.22"], "percent", "arithmetic", EXACT),
        (["22.3"], "percent", ["22.22"], "percent", "arithmetic", WRONG),
        # A percentage: 22.22 percent, 22.22 %, and the bare share are the same.
        (["22.22%"], "", ["22.22"], "percent", "arithmetic", EXACT),
        (["0.2222"], "", ["22.22"], "percent", "arithmetic", EXACT),
        (["22.22"], "", ["22.22"], "percent", "arithmetic", WRONG),
        (["(134)"], "", ["-134"], "", "span", EXACT),
        # Of words, the set counts: 3 of 4 said, 3 of 3 wanted, F1 = 6/7.
        (["the fixed price type contract"], "", ["fixed price type"], "", "span", (0.0, 0.86)),
        (["Fixed-price type."], "", ["fixedprice type"], "", "span", EXACT),
        (["dividends"], "", ["interest"], "", "span", WRONG),
        # Several spans: any order, and each missing one costs recall: P 1, R 1/2, F1 2/3.
        (["2018", "2019"], "", ["2019", "2018"], "", "multi-span", EXACT),
        (["2018"], "", ["2019", "2018"], "", "multi-span", (0.0, 0.67)),
        # A word has its scale behind it: P 1, R 1/2.
        (["none"], "", ["none"], "million", "span", (0.0, 0.67)),
        # Calculated and counted: all or nothing.
        (["4"], "", ["4"], "", "count", EXACT),
        (["4 items"], "", ["4"], "", "count", WRONG),
        ([], "", ["4"], "", "count", WRONG),
    ],
)
def test_worked_cases(
    said: list[str],
    scale: str,
    right: list[str],
    right_scale: str,
    kind: str,
    expected: tuple[float, float],
) -> None:
    assert exact_match_and_f1(said, scale, right, right_scale, kind) == expected


_SPANS = st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=3)


@given(_SPANS, st.sampled_from(SCALES), st.sampled_from(["span", "arithmetic"]))
def test_what_is_right_matches_itself(spans: list[str], scale: str, kind: str) -> None:
    assert exact_match_and_f1(spans, scale, spans, scale, kind)[0] == 1
    assert exact_match_and_f1(spans[::-1], scale, spans, scale, kind)[0] == 1


@given(_SPANS, st.sampled_from(SCALES), _SPANS, st.sampled_from(SCALES))
def test_both_are_shares_and_exact_is_the_stricter(
    said: list[str], scale: str, right: list[str], right_scale: str
) -> None:
    exact, f1 = exact_match_and_f1(said, scale, right, right_scale, "span")
    assert exact in (0, 1)
    assert exact <= f1 <= 1
