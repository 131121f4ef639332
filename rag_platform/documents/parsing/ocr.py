"""Pages that are pictures, read inside the parser process.

Tesseract is called as a library (tesserocr): its program would need processes and files, and a
parser may have neither. A page is read as it is; where that goes badly it is straightened,
smoothed and turned, each only as long as it helps.
"""

import importlib.util
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rag_platform.documents.parsing.result import OcrRules, ParseRefused, Reason
from rag_platform.documents.parsing.text import normalise

if TYPE_CHECKING:
    from PIL.Image import Image

OCR_VERSION: Final = 1
OFF: Final = "off"
TESSERACT: Final = "tesseract"
# Where distributions keep Tesseract's language data; TESSDATA_PREFIX alone counts where it is set.
TESSDATA: Final = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/share/tesseract/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)
# Mean confidence from which a reading is left as it is, and below which it may be upside down.
SURE: Final = 0.9
DOUBTFUL: Final = 0.75
# Tesseract copes with a tilt of some three degrees; pages on a scanner lie within these.
MAX_TILT: Final = 15
MIN_TILT: Final = 2
TILT_POINTS: Final = 600
DIVIDED: Final = re.compile(r"(?<=[^\W\d_])-\n([^\W\d_])")


@dataclass(frozen=True)
class Reading:
    """What an engine read: text, mean confidence (0 to 1), and whether the time sufficed."""

    text: str
    confidence: float
    finished: bool = True

    @property
    def worth(self) -> float:
        """How much was read how well, to compare readings of one page."""
        return self.confidence * math.sqrt(sum(map(str.isalnum, self.text)))


class Engine(Protocol):
    """An OCR engine behind one face."""

    def recognise(self, picture: "Image", dpi: int, seconds: float) -> Reading:
        """Read a greyscale picture of one page, in about `seconds` at most."""


class Tesseract:
    """Tesseract with the data of some languages loaded."""

    def __init__(self, rules: OcrRules) -> None:
        import tesserocr

        self._api = tesserocr.PyTessBaseAPI(
            path=str(tessdata(rules.languages)),
            lang="+".join(rules.languages),
            psm=tesserocr.PSM.AUTO,
        )

    def recognise(self, picture: "Image", dpi: int, seconds: float) -> Reading:
        width, height = picture.size
        self._api.SetImageBytes(picture.tobytes(), width, height, 1, width)
        self._api.SetSourceResolution(dpi)
        try:
            if not self._api.Recognize(max(1, int(seconds * 1000))):
                return Reading("", 0.0, finished=False)
            return Reading(self._api.GetUTF8Text(), self._api.MeanTextConf() / 100)
        finally:
            self._api.Clear()


class Rapid:
    """RapidOCR; its models lie in its package and fit Chinese, English and most Latin writing.

    It knows no time limit: the pool's clock ends a page that takes too long.
    """

    def __init__(self, _rules: OcrRules) -> None:
        from rapidocr import RapidOCR

        # Its own turning of lines leaves them in the wrong order on a page that is upside down.
        self._read = RapidOCR(params={"Global.log_level": "critical", "Global.use_cls": False})

    def recognise(self, picture: "Image", dpi: int, seconds: float) -> Reading:
        from PIL.Image import Transpose

        found = self._found(picture)
        if found.txts and _mostly_tall(found.boxes):
            found = self._found(picture.transpose(Transpose.ROTATE_90))
        if not found.txts:
            return Reading("", 0.0)
        sizes = [len(text) for text in found.txts]
        sure = sum(float(score) * size for score, size in zip(found.scores, sizes, strict=True))
        return Reading(_rows(found.boxes, found.txts), sure / sum(sizes))

    def _found(self, picture: "Image") -> Any:
        import numpy as np

        return self._read(np.asarray(picture.convert("RGB")))


def _mostly_tall(boxes: Any) -> bool:
    """Whether lines of writing run up or down; each box has four corners (x, y)."""
    sides = boxes.max(axis=1) - boxes.min(axis=1)
    return bool((sides[:, 1] > sides[:, 0]).mean() > 0.5)


ENGINES: Final[dict[str, Callable[[OcrRules], Engine]]] = {
    TESSERACT: Tesseract,
    "rapidocr": Rapid,
}


def _rows(boxes: Any, texts: tuple[str, ...]) -> str:
    """Boxes that stand beside each other as one line; boxes come from top to bottom."""
    rows: list[list[tuple[float, str]]] = []
    bottom = -math.inf
    for box, text in zip(boxes, texts, strict=True):
        top, low = float(box[:, 1].min()), float(box[:, 1].max())
        if rows and (top + low) / 2 < bottom:
            rows[-1].append((float(box[:, 0].min()), text))
        else:
            rows.append([(float(box[:, 0].min()), text)])
            bottom = low
    return "\n".join(" ".join(text for _, text in sorted(row)) for row in rows)


@cache
def engine(rules: OcrRules) -> Engine:
    """The engine, kept for the documents that follow: loading takes longer than a page."""
    return ENGINES[rules.engine](rules)


def _started(rules: OcrRules) -> Engine:
    try:
        return engine(rules)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ParseRefused(
            Reason.NEEDS_OCR, f"OCR by {rules.engine} does not start: {reason}"
        ) from error


def tessdata(languages: tuple[str, ...]) -> Path | None:
    """The folder with the data of all languages."""
    prefix = os.environ.get("TESSDATA_PREFIX")
    for place in (prefix,) if prefix else TESSDATA:
        folder = Path(place)
        if all((folder / f"{language}.traineddata").is_file() for language in languages):
            return folder
    return None


def missing(rules: OcrRules) -> str:
    """What must be installed or set before pictures can be read, for a person; "" for nothing."""
    if rules.engine == OFF:
        return "OCR is off; set ocr.engine"
    if rules.engine != TESSERACT:
        return _lacking(rules.engine, "onnxruntime")
    if lack := _lacking("tesserocr"):
        return lack
    if tessdata(rules.languages) is not None:
        return ""
    lacking = [name for name in rules.languages if tessdata((name,)) is None] or rules.languages
    packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in lacking)
    return (
        f"OCR needs Tesseract's data for {', '.join(lacking)}: install {packages} (Debian, Ubuntu),"
        f" tesseract-langpack-{lacking[0]} (Fedora), tesseract-ocr-data-{lacking[0]} (Alpine),"
        f" tesseract-data-{lacking[0]} (Arch) or tesseract-lang (Homebrew), or set TESSDATA_PREFIX"
    )


def _lacking(*packages: str) -> str:
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"OCR needs the Python package {' and '.join(lacking)}" if lacking else ""


def text_rules(rules: OcrRules) -> str:
    """What of the rules the text depends on, for a fingerprint; the same on every machine."""
    if rules.engine == OFF:
        return OFF
    return (
        f"ocr/{OCR_VERSION} {rules.engine} {'+'.join(rules.languages)} dpi={rules.dpi}"
        f" pixels={rules.max_pixels} confidence={rules.min_confidence:g}"
    )


def engine_state(rules: OcrRules) -> str:
    """The engine and the language data of this machine: what an attempt depends on besides."""
    if lack := missing(rules):
        return lack
    if rules.engine != TESSERACT:
        return f"{rules.engine}={version(rules.engine)}"
    folder = tessdata(rules.languages)
    assert folder is not None, "nothing is missing"
    sizes = [f"{name}={_size(folder, name)}" for name in rules.languages]
    return " ".join([f"tesserocr={version('tesserocr')}", *sizes])


def _size(folder: Path, language: str) -> int:
    return (folder / f"{language}.traineddata").stat().st_size


@dataclass
class PageReader:
    """Reads the pictures of one document, page by page, and remembers how that went."""

    rules: OcrRules
    read: dict[int, float] = field(default_factory=dict)
    letters: dict[int, int] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)
    lack: str | None = None

    def text(self, number: int, draw: Callable[[], "Image"]) -> str:
        """The text of a page that is a picture; "" where there is none, or none can be had.

        `draw` gives the page in greys at the rules' resolution; it is called only where an
        engine is there.
        """
        if self.lack is None:
            self.lack = missing(self.rules)
        if self.lack:
            self.unread.append(number)
            return ""
        reading = best_reading(_started(self.rules), draw(), self.rules)
        if not reading.finished:
            self.slow.append(number)
            return ""
        text = tidy(reading.text)
        if reading.confidence < self.rules.min_confidence:
            text = ""
        self.read[number] = reading.confidence
        self.letters[number] = len(text)
        return text

    def refuse_unread(self) -> None:
        """For a document that has no text: say why, where pictures could not be read."""
        if self.unread:
            raise ParseRefused(Reason.NEEDS_OCR, f"no text layer. {self.lack}")
        if self.slow:
            raise ParseRefused(
                Reason.TIMEOUT,
                f"reading page {self.slow[0]} took over {self.rules.page_seconds:g} s"
                " (ocr.page_seconds)",
            )

    def metadata(self) -> dict[str, str]:
        """`ocr_pages` and their mean `ocr_confidence` by characters; `needs_ocr`: pages that are
        pictures and wait for an engine; `ocr_timeouts`: pages that took too long, and how long."""
        slow = f"{over_time(self.rules)}{page_ranges(self.slow)}" if self.slow else ""
        found = {
            "ocr_pages": page_ranges(sorted(self.read)),
            "needs_ocr": page_ranges(self.unread),
            "ocr_timeouts": slow,
        }
        if letters := sum(self.letters.values()):
            mean = sum(self.read[page] * count for page, count in self.letters.items()) / letters
            found["ocr_confidence"] = f"{mean:.2f}"
        return {name: value for name, value in found.items() if value}


def over_time(rules: OcrRules) -> str:
    """The beginning of `ocr_timeouts`: the time that did not suffice."""
    return f"over {rules.page_seconds:g} s: "


def can_read_more(metadata: Mapping[str, str], rules: OcrRules) -> bool:
    """Whether pages that stayed unread may be read now that an engine is there, or in the time
    that they have now. Ask only where nothing is `missing`."""
    slow = metadata.get("ocr_timeouts", "")
    return "needs_ocr" in metadata or bool(slow and not slow.startswith(over_time(rules)))


def best_reading(engine: Engine, picture: "Image", rules: OcrRules) -> Reading:
    """The page as it is, then with what may help; the page's seconds are for all of it.

    A page that shows no writing at all is only straightened: photographs are many.
    """
    end = time.monotonic() + rules.page_seconds
    best = engine.recognise(picture, rules.dpi, rules.page_seconds)
    for change, enough in ((straightened, DOUBTFUL), (smoothed, SURE), (upside_down, DOUBTFUL)):
        left = end - time.monotonic()
        if not best.finished or left <= 0:
            break
        empty = not best.text.strip()
        if (empty and change is not straightened) or (best.confidence >= enough and not empty):
            continue
        changed = change(picture)
        if changed is None:
            continue
        other = engine.recognise(changed, rules.dpi, left)
        if other.finished and other.worth > best.worth:
            best, picture = other, changed
    return best


def straightened(picture: "Image") -> "Image | None":
    """The page turned by its tilt; None where it lies nearly straight."""
    from PIL.Image import Resampling

    angle = tilt(picture)
    if abs(angle) < MIN_TILT:
        return None
    return picture.rotate(-angle, Resampling.BICUBIC, expand=True, fillcolor=255)


def tilt(picture: "Image") -> int:
    """Whole degrees, counter-clockwise, by which lines of writing rise: the angle at which the rows
    of a small copy, turned back, change most sharply from dark to light (projection profiles)."""
    import numpy as np
    from PIL import Image, ImageOps

    small = ImageOps.invert(picture)
    small.thumbnail((TILT_POINTS, TILT_POINTS), Image.Resampling.BOX)

    def sharpness(angle: float) -> float:
        turned = np.asarray(small.rotate(-angle, Image.Resampling.BILINEAR), dtype=np.float32)
        return max(float((np.diff(turned.sum(axis)) ** 2).sum()) for axis in (0, 1))

    angles = sorted(range(-MAX_TILT, MAX_TILT + 1), key=abs)
    return max(angles, key=sharpness)  # of equals the smallest


def smoothed(picture: "Image") -> "Image":
    """Without specks: a median over 3 x 3 points."""
    from PIL import ImageFilter

    return picture.filter(ImageFilter.MedianFilter(3))


def upside_down(picture: "Image") -> "Image":
    """Turned by 180 degrees; quarter turns are seen by the engines themselves."""
    from PIL.Image import Transpose

    return picture.transpose(Transpose.ROTATE_180)


def tidy(text: str) -> str:
    """Words divided at the end of a line joined, no trailing blanks, one empty line between
    paragraphs."""
    lines = [line.rstrip() for line in normalise(text).split("\n")]
    joined = DIVIDED.sub(
        lambda found: found[1] if found[1].islower() else found[0], "\n".join(lines)
    )
    return re.sub(r"\n{3,}", "\n\n", joined).strip()


def page_ranges(numbers: Sequence[int]) -> str:
    """`1-3, 7` for ascending page numbers."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
