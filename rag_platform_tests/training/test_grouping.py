"""Names of groups."""

import numpy as np
import pandas as pd

from rag_platform.training.grouping import groups, interval_names


def test_numbers_are_grouped_by_the_edges_they_lie_between() -> None:
    ages = pd.Series([18, 25, 25.5, 35, 36, 99, None, "41", "old"], dtype=object, index=range(9))
    assert groups(ages, (25, 35)).tolist() == [
        *("up to 25", "up to 25", "over 25 to 35", "over 25 to 35"),
        *("over 35", "over 35", "unknown", "over 35", "unknown"),
    ]
    assert interval_names((25, 35)) == ["up to 25", "over 25 to 35", "over 35"]


def test_without_edges_each_value_is_a_group() -> None:
    assert groups(pd.Series(["m", None, "f"])).tolist() == ["m", "unknown", "f"]
    assert groups(pd.Series([1.0, np.nan])).tolist() == ["1.0", "unknown"]
