"""Dates in text, in the forms that documents use."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.enrichment.nlp.dates import find_dates

MONTHS = [f"{date(2000, month, 1):%B}" for month in range(1, 13)]


def values(text: str) -> list[str]:
    return [each.value for each in find_dates(text)]


@pytest.mark.parametrize(
    "written",
    [
        "2024-03-05",
        "2024-03-05T10:00:00Z",
        "2024/3/5",
        "5 March 2024",
        "5th of March, 2024",
        "5. March 2024",
        "5-Mar-2024",
        "March 5, 2024",
        "Mar. 5th 2024",
        "MARCH 5, 2024",
        "05.03.2024",
        "2024年3月5日",
        "2024년 3월 5일",
    ],
)
def test_a_day_in_any_form_is_one_iso_date(written: str) -> None:
    assert values(f"It was on {written} that it began.") == ["2024-03-05"]


def test_a_date_with_two_readings_stays_as_written() -> None:
    (found,) = find_dates("on 3/5/2024.")
    assert (found.value, found.readings) == ("3/5/2024", ("2024-05-03", "2024-03-05"))
    assert values("on 25/12/2023 and 12/25/2023") == ["2023-12-25", "2023-12-25"]
    assert values("7/7/2024") == ["2024-07-07"]


def test_less_than_a_day_or_without_a_year() -> None:
    (found,) = find_dates("due 5 March, as ever")
    assert (found.value, found.readings) == ("5 March", ("--03-05",))
    assert values("In September 2023 and in May 2024") == ["2023-09", "2024-05"]
    (leap,) = find_dates("born on February 29")
    assert leap.readings == ("--02-29",)


@pytest.mark.parametrize(
    "text",
    [
        "v1.2.2024",
        "10.12.2.2024",
        "12345-01-01",
        "2024-13-01",
        "2024-02-30",
        "32/13/2024",
        "we may 5 times",
        "they march 2024 steps",
        "dismay 5",
        "0000-01-01",
        "https://x.org/2024-03-05x",
        "3/5",
    ],
)
def test_what_is_no_date(text: str) -> None:
    assert values(text) == []


def test_dates_come_in_order_and_the_longest_reading_counts() -> None:
    text = "From Dec 31, 1999 to 5 March 2024; then March 6, then 2024-03-07."
    assert values(text) == ["1999-12-31", "2024-03-05", "March 6", "2024-03-07"]
    assert [text[each.start : each.end] for each in find_dates(text)] == [
        each.written for each in find_dates(text)
    ]


@given(st.dates(date(1000, 1, 1), date(2999, 12, 31)))
def test_every_day_is_read_back(day: date) -> None:
    month = MONTHS[day.month - 1]
    for written in (f"{month} {day.day}, {day.year}", f"{day.day} {month[:3]} {day.year}"):
        assert values(f"({written})") == [day.isoformat()]
    assert find_dates(f"{day.day} {month}")[0].readings == (f"--{day:%m-%d}",)


@given(st.text(alphabet="0123456789-/., MarchJune年月日", max_size=60))
def test_readings_are_days_that_exist(text: str) -> None:
    for found in find_dates(text):
        for reading in found.readings:
            whole = reading.replace("--", "2000-", 1) if reading.startswith("--") else reading
            day = date.fromisoformat(f"{whole}-01" if len(whole) == 7 else whole)
            assert day + timedelta(0) == day
        assert text[found.start : found.end].startswith(found.written)
