"""Text of a PDF page that nobody sees: found, counted and left out.

Hidden is what lies off the page, what is too small to read, and what leaves no ink: invisible
render mode, transparent, or in the colour of its ground. Ink is looked for in a small drawing of
the page, which is made only where an object is suspicious. The invisible text that scanners put
over their picture stays: there is ink under it, and the ink is a picture's.
"""

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

# Levels of grey (of 255) between the darkest and the lightest point of what can be read.
MIN_CONTRAST: Final = 24
LIGHT: Final = 200
FAINT: Final = 128
TINY_POINTS: Final = 1.0
MAX_DRAWN: Final = 4_000_000
MAX_DEPTH: Final = 12


class Box(NamedTuple):
    """Left, bottom, right, top in points of the unrotated page."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def holds_centre_of(self, other: "Box") -> bool:
        across, up = (other.left + other.right) / 2, (other.bottom + other.top) / 2
        return self.left <= across <= self.right and self.bottom <= up <= self.top

    def area_within(self, page: "Box") -> float:
        width = min(self.right, page.right) - max(self.left, page.left)
        height = min(self.top, page.top) - max(self.bottom, page.bottom)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A text object that may be hidden, and the form it lies in (None: the page itself)."""

    handle: Any
    form: Any
    box: Box
    invisible: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies on a page: its box, pictures, whether anything at all, and suspicious text.

    `gone` is text that is hidden whatever is drawn: off the page, or too small.
    """

    page: Box
    objects: int
    pictures: list[Box]
    suspects: list[Suspect]
    gone: list[Suspect]

    @property
    def picture_share(self) -> float:
        """Share of the page that pictures cover; those over each other count twice."""
        area = (self.page.right - self.page.left) * (self.page.top - self.page.bottom)
        return sum(box.area_within(self.page) for box in self.pictures) / area if area > 0 else 0.0


def survey(page: Any) -> Survey:
    """Look at every object of a page (pypdfium2's `PdfPage`), also inside forms."""
    from pypdfium2 import raw

    objects = int(raw.FPDFPage_CountObjects(page.raw))
    found = Survey(Box(*page.get_bbox()), objects, [], [], [])
    look = _Look(found)
    for handle, form, matrix in _objects(page):
        look.at(handle, form, matrix)
    return found


def remove_hidden(page: Any, found: Survey) -> bool:
    """Take the hidden text out of a page in memory; whether there was any."""
    hidden = [*found.gone, *_without_ink(page, found)]
    return sum(_remove(page, suspect) for suspect in hidden) > 0


def _objects(page: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(object, form or None, matrix to the page or None) of texts and pictures."""
    from pypdfium2 import raw

    for index in range(raw.FPDFPage_CountObjects(page.raw)):
        handle = raw.FPDFPage_GetObject(page.raw, index)
        if raw.FPDFPageObj_GetType(handle) == raw.FPDF_PAGEOBJ_FORM:
            yield from _form_objects(handle, None, 1)
        else:
            yield handle, None, None


def _form_objects(form: Any, outer: Any, depth: int) -> Iterator[tuple[Any, Any, Any]]:
    import pypdfium2
    from pypdfium2 import raw

    if depth > MAX_DEPTH:
        return
    own = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(form, own):
        return
    matrix = pypdfium2.PdfMatrix.from_raw(own)
    if outer is not None:
        matrix = matrix.multiply(outer)
    for index in range(raw.FPDFFormObj_CountObjects(form)):
        handle = raw.FPDFFormObj_GetObject(form, index)
        if raw.FPDFPageObj_GetType(handle) == raw.FPDF_PAGEOBJ_FORM:
            yield from _form_objects(handle, matrix, depth + 1)
        else:
            yield handle, form, matrix


class _Look:
    """Sorts the objects of a page; its buffers serve for all, a page may have many thousands."""

    def __init__(self, found: Survey) -> None:
        from pypdfium2 import raw

        self._raw = raw
        self._found = found
        self._sides = [ctypes.c_float() for _ in range(4)]
        self._colour = [ctypes.c_uint() for _ in range(4)]
        self._side_pointers = [ctypes.byref(side) for side in self._sides]
        self._colour_pointers = [ctypes.byref(part) for part in self._colour]

    def at(self, handle: Any, form: Any, matrix: Any) -> None:
        raw, found = self._raw, self._found
        kind = raw.FPDFPageObj_GetType(handle)
        if kind not in (raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_IMAGE):
            return
        box = self._box(handle, matrix)
        if box is None:
            return
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            found.pictures.append(box)
            return
        mode = raw.FPDFTextObj_GetTextRenderMode(handle)
        invisible = mode == raw.FPDF_TEXTRENDERMODE_INVISIBLE
        if not box.meets(found.page) or self._tiny(handle, box, matrix):
            found.gone.append(Suspect(handle, form, box, invisible))
        elif mode != raw.FPDF_TEXTRENDERMODE_FILL or self._light(handle):
            found.suspects.append(Suspect(handle, form, box, invisible))

    def _box(self, handle: Any, matrix: Any) -> Box | None:
        if not self._raw.FPDFPageObj_GetBounds(handle, *self._side_pointers):
            return None
        left, bottom, right, top = self._sides
        box = Box(left.value, bottom.value, right.value, top.value)
        return box if matrix is None else Box(*matrix.on_rect(*box))

    def _light(self, handle: Any) -> bool:
        if not self._raw.FPDFPageObj_GetFillColor(handle, *self._colour_pointers):
            return True  # a pattern: its ink decides
        red, green, blue, opacity = self._colour
        return min(red.value, green.value, blue.value) > LIGHT or opacity.value < FAINT

    def _tiny(self, handle: Any, box: Box, matrix: Any) -> bool:
        """Whether the letters, not only their ink (as of a dash), are too small to read."""
        if min(box.right - box.left, box.top - box.bottom) >= TINY_POINTS:
            return False
        size, own = ctypes.c_float(), self._raw.FS_MATRIX()
        if not self._raw.FPDFTextObj_GetFontSize(handle, ctypes.byref(size)):
            return False
        if not self._raw.FPDFPageObj_GetMatrix(handle, own):
            return False
        scale = math.hypot(own.c, own.d)
        if matrix is not None:
            scale *= math.hypot(matrix.c, matrix.d)
        return 0 < abs(size.value) * scale < TINY_POINTS


def _without_ink(page: Any, found: Survey) -> list[Suspect]:
    """Suspicious text that cannot be seen in a drawing of the page."""
    if not found.suspects:
        return []
    drawing, scale = _drawing(page, found.page)
    hidden = []
    for suspect in found.suspects:
        behind = not suspect.invisible or any(
            picture.holds_centre_of(suspect.box) for picture in found.pictures
        )
        if not behind or _contrast(drawing, scale, found.page, suspect.box) < MIN_CONTRAST:
            hidden.append(suspect)
    return hidden


def _drawing(page: Any, box: Box) -> tuple[Any, float]:
    """The page in greys, unrotated, at most one point per dot; and its scale."""
    area = (box.right - box.left) * (box.top - box.bottom)
    scale = min(1.0, math.sqrt(MAX_DRAWN / area))
    rotation = page.get_rotation()
    page.set_rotation(0)
    try:
        bitmap = page.render(scale=scale, grayscale=True)
        drawing = bitmap.to_numpy().copy()
        bitmap.close()
    finally:
        page.set_rotation(rotation)
    return drawing.reshape(drawing.shape[:2]), scale


def _contrast(drawing: Any, scale: float, page: Box, box: Box) -> int:
    """Difference of grey between the lightest and the darkest dot under a box."""
    left, right = (box.left - page.left) * scale, (box.right - page.left) * scale
    top, bottom = (page.top - box.top) * scale, (page.top - box.bottom) * scale
    margin_x, margin_y = (1 if size < 3 else 0 for size in (right - left, bottom - top))
    dots = drawing[
        max(0, math.floor(top) - margin_y) : max(0, math.ceil(bottom) + margin_y),
        max(0, math.floor(left) - margin_x) : max(0, math.ceil(right) + margin_x),
    ]
    return int(dots.max()) - int(dots.min()) if dots.size else 0


def _remove(page: Any, suspect: Suspect) -> bool:
    from pypdfium2 import raw

    if suspect.form is None:
        removed = raw.FPDFPage_RemoveObject(page.raw, suspect.handle)
    else:
        removed = raw.FPDFFormObj_RemoveObject(suspect.form, suspect.handle)
    if removed:
        raw.FPDFPageObj_Destroy(suspect.handle)
    return bool(removed)
