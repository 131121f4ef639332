"""PNG, JPEG and TIFF pictures of pages, read by OCR; a TIFF may hold many pages."""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rag_platform.documents.parsing.blocks import join_pages
from rag_platform.documents.parsing.ocr import PageReader
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Progress,
    Reason,
    bounded_metadata,
    no_progress,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# Dots per inch where a picture does not say, or says what no scanner does.
SCREEN_DPI: Final = 96
PLAUSIBLE_DPI: Final = range(70, 2_401)
PAGE_INCHES: Final = 11.7
WHITE: Final = 255


def parse_image(
    data: bytes, kind: Kind, limits: ParseLimits, progress: Progress = no_progress
) -> Parsed:
    """The writing in a picture; `page_starts` for a TIFF. Metadata: what `PageReader` says.

    Refuses: `corrupt`, `inflates` (a frame that would take more bytes than allowed, before it is
    decoded), `too_many_pages`, `needs_ocr`, `timeout`.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the limits of this document count
    reader = PageReader(limits.ocr)
    try:
        with Image.open(io.BytesIO(data), formats=[kind.name]) as picture:
            text, starts = join_pages(_texts(picture, reader, limits, progress), limits)
    except UnidentifiedImageError as error:  # what it says names a place in memory
        raise ParseRefused(Reason.CORRUPT, f"not readable as {kind.name}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParseRefused(Reason.CORRUPT, f"not readable as {kind.name}: {reason}") from error
    if not text:
        reader.refuse_unread()
    metadata = reader.metadata() | ({"pages": str(len(starts))} if kind is Kind.TIFF else {})
    return Parsed(text, "", kind, starts if kind is Kind.TIFF else (), bounded_metadata(metadata))


def _texts(
    picture: "Image", reader: PageReader, limits: ParseLimits, progress: Progress
) -> Iterator[str]:
    frames = int(getattr(picture, "n_frames", 1))
    if frames > limits.max_pages:
        raise ParseRefused(
            Reason.TOO_MANY_PAGES, f"{frames:,} pages; the limit is {limits.max_pages:,}"
        )
    for frame in range(frames):
        if frame:
            picture.seek(frame)
        _refuse_bomb(picture, limits)
        yield reader.text(frame + 1, lambda: _grey(picture, reader.rules.dpi, limits))
        progress(frame + 1, frames)


def _refuse_bomb(picture: "Image", limits: ParseLimits) -> None:
    """Nothing is decoded before its size is known."""
    width, height = picture.size
    size = width * height * max(1, len(picture.getbands()))
    if size > limits.max_inflated_bytes:
        raise ParseRefused(
            Reason.INFLATES,
            f"{width:,} x {height:,} points inflate to over"
            f" {limits.max_inflated_bytes:,} bytes; refused",
        )


def _grey(picture: "Image", dpi: int, limits: ParseLimits) -> "Image":
    """A frame as it is seen, in greys, about as large as a page drawn at `dpi`."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        upright = _stretched(upright)
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        ground = Image.new("RGBA", coloured.size, (WHITE, WHITE, WHITE, WHITE))
        upright = Image.alpha_composite(ground, coloured)
    grey = upright.convert("L")
    scale = _scale(grey.size, picture.info.get("dpi"), dpi, limits.ocr.max_pixels)
    if scale == 1:
        return grey
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    return grey.resize(size, Image.Resampling.BICUBIC)


def _stretched(picture: "Image") -> "Image":
    """Samples of more than 8 bits, from their darkest to their lightest, in 8."""
    import numpy as np
    from PIL import Image

    samples = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    low, high = float(samples.min()), float(samples.max())
    levels = (samples - low) * (WHITE / max(high - low, 1e-9))
    return Image.fromarray(levels.astype(np.uint8))


def _scale(size: tuple[int, int], stated: object, dpi: int, max_pixels: int) -> float:
    """Up to `dpi`, but not beyond a page's size; down to the most points that are read."""
    width, height = size
    own = SCREEN_DPI
    if isinstance(stated, tuple) and PLAUSIBLE_DPI.start <= stated[0] < PLAUSIBLE_DPI.stop:
        own = int(stated[0])  # not where it is 0/0, which is no number
    page = PAGE_INCHES * dpi / max(width, height)
    scale = max(1.0, min(dpi / own, page))
    return min(scale, math.sqrt(max_pixels / (width * height)))
