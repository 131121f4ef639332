"""Plots as metadata: shown by Dagster's UI without a file beside it."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from rag_platform.pictures import png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(
    draw: "Callable[[Figure], None]", *, width: float = 8.0, height: float = 3.5
) -> dg.MarkdownMetadataValue:
    """What `draw` puts on an empty figure of `width` by `height` inches, as a Markdown image.

    Metadata is stored with every materialization and sent to the browser with the page.
    """
    image = base64.b64encode(png_bytes(draw, width=width, height=height)).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{image})")
