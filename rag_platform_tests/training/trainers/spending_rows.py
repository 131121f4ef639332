"""Rows of spending from lists of amounts, and of the weeks to be forecast."""

import pandas as pd
import pytest

from rag_platform.training.trainer import Services

START = "2022-01-03"
SERVICES = Services(gateway=lambda purpose: pytest.fail("forecasts ask nobody"))


def rows(categories: dict[str, list[float | None]]) -> pd.DataFrame:
    """A row for each amount; None is a week that is not known."""
    table = [
        {"category": name, "week": week, "target": amount}
        for name, amounts in categories.items()
        for week, amount in zip(
            pd.date_range(START, periods=len(amounts), freq="7D"), amounts, strict=True
        )
        if amount is not None
    ]
    frame = pd.DataFrame(table)
    group = frame["week"].dt.strftime("%Y-%m-%d")
    return frame.assign(unit=frame["category"] + "|" + group, group=group)


def weeks(category: str, first: int, last: int) -> pd.DataFrame:
    """Rows without a target, of the weeks at these places."""
    days = pd.date_range(START, periods=last + 1, freq="7D")[first:]
    return pd.DataFrame({"category": category, "week": days})
