"""Plots as PNG: drawn by matplotlib, without a display and without a file."""

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 100
_RC_LOCK = threading.Lock()  # matplotlib's rc settings belong to the process


def png_bytes(
    draw: "Callable[[Figure], None]", *, width: float = 8.0, height: float = 3.5
) -> bytes:
    """What `draw` puts on an empty figure of `width` by `height` inches.

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
    return written.getvalue()


def _plain_powers(figure: "Figure") -> None:
    """The labels of a logarithmic axis are formulas by default; here they are numbers."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
