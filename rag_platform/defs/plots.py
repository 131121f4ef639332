"""Plots as metadata: drawn by matplotlib, shown by Dagster's UI without a file beside it."""

import base64
import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metadata is stored with every materialization and sent to the browser with the page.
_DOTS_PER_INCH = 100
_RC_LOCK = threading.Lock()  # matplotlib's rc settings belong to the process


def png(
    draw: "Callable[[Figure], None]", *, width: float = 8.0, height: float = 3.5
) -> dg.MarkdownMetadataValue:
    """What `draw` puts on an empty figure of `width` by `height` inches, as a Markdown image.

    Texts are shown as they are: a name from outside with dollar signs in it is no formula.
    """
    # Without pyplot: it keeps every figure, and is not made for threads.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = io.BytesIO()
    with _RC_LOCK, mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        _plain_powers(figure)
        figure.savefig(written, format="png")
    image = base64.b64encode(written.getvalue()).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{image})")


def _plain_powers(figure: "Figure") -> None:
    """The labels of a logarithmic axis are formulas by default; here they are numbers."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
