"""What a person looks at to judge alerts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.task import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scores(parts: Mapping[str, NDArray[np.float64]], least_alert: float | None) -> Draw:
    """The distribution of the score in each part, and from where on there are alerts."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        bins = np.histogram_bin_edges(np.concatenate(list(parts.values())), bins=40).tolist()
        for name, values in parts.items():
            axes.hist(values, bins=bins, density=True, alpha=0.6, label=f"{name} ({len(values)})")
        if least_alert is not None:
            axes.axvline(least_alert, color="#d62728", linestyle="--", label="alert from here")
        axes.set(xlabel="score", ylabel="density", title="Scores")
        axes.legend()

    return draw
