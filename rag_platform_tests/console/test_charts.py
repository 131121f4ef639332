"""Shapes of charts, held against lengths that were worked out by hand."""

import pytest

from rag_platform.console.charts import HEIGHT, WIDTH, Value, interval, lines, stacked
from rag_platform.console.web import TEMPLATES

# The drawing leaves 64 to the left, 8 to the right, 12 above and 28 below.
ROOM = WIDTH - 64 - 8
FLOOR, CEILING = HEIGHT - 28, 12


def test_bars_stand_on_each_other() -> None:
    values = {"a": {"small": 1.0, "large": 3.0}, "b": {"large": 2.0}}
    chart = stacked("cost", ["a", "b"], values, unit="$")
    assert chart.names == ["large", "small"]
    one, two, three = chart.bars
    full = FLOOR - CEILING  # 4 dollars
    assert (one.told, two.told, three.told) == ("a, large: $3", "a, small: $1", "b, large: $2")
    assert (one.y + one.height, one.height) == pytest.approx((FLOOR, full * 3 / 4))
    assert (two.y, two.height) == pytest.approx((CEILING, full / 4))
    assert (one.colour, two.colour, three.colour) == (0, 1, 0)
    assert one.x == pytest.approx(64 + ROOM / 20)
    assert three.x - one.x == pytest.approx(ROOM / 2)
    assert [tick.text for tick in chart.up] == ["$0", "$1", "$2", "$3", "$4"]


def test_a_rule_is_left_out_where_it_would_press_the_bars_down() -> None:
    values = {"a": {"m": 1.0}}
    near = stacked("cost", ["a"], values, rule=2.0)
    assert near.rule is not None
    assert near.rule.at == pytest.approx(CEILING)
    assert near.bars[0].height == pytest.approx((FLOOR - CEILING) / 2)
    assert stacked("cost", ["a"], values, rule=100.0).rule is None


def test_more_series_than_colours_are_one() -> None:
    values = {"a": {f"m{n}": float(20 - n) for n in range(10)}}
    chart = stacked("cost", ["a"], values)
    assert chart.names == [*(f"m{n}" for n in range(7)), "others"]
    assert chart.bars[-1].told == "a, others: 36"  # 13 + 12 + 11


def test_a_line_with_intervals_and_its_bound() -> None:
    values = [Value("2026-06-08", 0.9, 0.8, 1.0), Value("2026-06-01", 0.6)]
    chart = lines("f1", {"f1": values}, rule=0.7)
    [line] = chart.lines
    first, last = line.points
    assert (first.told, first.low) == ("2026-06-01, f1: 0.6", None)
    assert (first.x, last.x) == pytest.approx((64 + ROOM / 4, 64 + ROOM * 3 / 4))
    assert first.y == pytest.approx(FLOOR)
    assert last.high == pytest.approx(CEILING)
    assert last.y == pytest.approx(FLOOR - (FLOOR - CEILING) * 3 / 4)
    assert chart.rule is not None
    assert chart.rule.at == pytest.approx(FLOOR - (FLOOR - CEILING) / 4, abs=0.01)
    assert [tick.text for tick in chart.up] == ["0.6", "0.7", "0.8", "0.9", "1"]
    assert [tick.text for tick in chart.across] == ["2026-06-01", "2026-06-08"]


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e-6, 123_456.0])
def test_a_single_value_has_an_axis(value: float) -> None:
    chart = lines("n", {"n": [Value("a", value)]})
    assert CEILING <= chart.lines[0].points[0].y <= FLOOR
    assert len(chart.up) >= 2
    assert stacked("n", ["a"], {"a": {"m": max(value, 0.0)}}).up


def test_an_interval_lies_between_the_ends_of_its_line() -> None:
    found = interval(0.5, 0.4, 0.6, 0.8)
    assert found is not None
    assert (found.low, found.value, found.high, found.bound) == (6, 28, 50, 94)
    assert interval(None, None, None, 0.8) is None
    alone = interval(0.5, None, None, None)
    assert alone is not None
    assert (alone.low, alone.value, alone.high, alone.bound) == (6, 6, 6, None)


def test_names_from_outside_are_text_in_a_drawing() -> None:
    hostile = "</svg><script>alert(1)</script>"
    chart = stacked(hostile, [hostile], {hostile: {hostile: 1.0}})
    drawn = TEMPLATES.get_template("charts.html").module.chart(chart)  # type: ignore[attr-defined]
    assert "<script" not in drawn
    assert drawn.count("&lt;script&gt;") >= 4
