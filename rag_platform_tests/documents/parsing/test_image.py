"""Pictures as documents: their forms, their frames, and pictures that are traps."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from rag_platform.documents.parsing.image import parse_image
from rag_platform.documents.parsing.result import (
    Kind,
    OcrRules,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform_tests.documents.parsing.samples import encoded, needs_tesseract, picture

LIMITS = ParseLimits()
WORDS = "Account statement of July"


def refusal(data: bytes, kind: Kind, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_image(data, kind, limits)
    return refused.value.failure.reason


def transparent() -> Image.Image:
    """Dark writing on nothing; where nothing is, the colour is black too."""
    ink = picture(WORDS).point(lambda level: 255 - level)
    layered = Image.new("RGBA", ink.size, (0, 0, 0, 0))
    layered.putalpha(ink)
    return layered


def deep() -> Image.Image:
    return Image.fromarray(np.asarray(picture(WORDS)).astype(np.uint16) * 17)


@needs_tesseract
@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (picture(WORDS), Kind.PNG, {}),
        (picture(WORDS).convert("P"), Kind.PNG, {}),
        (transparent(), Kind.PNG, {}),
        (deep(), Kind.PNG, {}),
        (picture(WORDS).convert("CMYK"), Kind.JPEG, {}),
        (picture(WORDS).rotate(90, expand=True), Kind.JPEG, {"exif": {0x0112: 6}}),
        (picture(WORDS, size=(400, 130), letters=17), Kind.JPEG, {"dpi": (100, 100)}),
        (picture(WORDS).convert("1"), Kind.TIFF, {"compression": "group4"}),
    ],
    ids=["png", "palette", "transparent", "deep", "cmyk", "turned", "small", "fax"],
)
def test_writing_in_any_form(image: Image.Image, kind: Kind, options: dict[str, object]) -> None:
    if "exif" in options:
        exif = Image.Exif()
        exif.update(options["exif"])  # type: ignore[call-overload]
        options = {"exif": exif}
    parsed = parse_image(encoded(image, kind.name, **options), kind, LIMITS)
    assert parsed.text == WORDS
    assert parsed.media_type == kind
    assert parsed.metadata["ocr_pages"] == "1"


@needs_tesseract
def test_the_frames_of_a_tiff_are_pages() -> None:
    pages = [picture(word) for word in ("First", "Second", "Third")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    seen: list[tuple[int, int]] = []
    parsed = parse_image(data, Kind.TIFF, LIMITS, lambda page, all_: seen.append((page, all_)))
    assert parsed.text == "First\n\nSecond\n\nThird"
    assert parsed.page_starts == (0, 7, 15)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert parsed.metadata["pages"] == "3"
    assert refusal(data, Kind.TIFF, ParseLimits(max_pages=2)) == Reason.TOO_MANY_PAGES


def png_of(width: int, height: int) -> bytes:
    """A header that promises much, and next to nothing behind it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    assert refusal(png_of(50_000, 50_000), Kind.PNG) == Reason.INFLATES


@needs_tesseract
def test_a_large_picture_is_read_smaller() -> None:
    rules = OcrRules(max_pixels=200_000)
    large = encoded(picture(WORDS, size=(1600, 520), letters=68), "PNG")
    parsed = parse_image(large, Kind.PNG, ParseLimits(ocr=rules))
    assert parsed.text == WORDS


@needs_tesseract
def test_a_resolution_that_is_no_number_says_nothing() -> None:
    nothing = TiffImagePlugin.IFDRational(0, 0)
    data = encoded(picture(WORDS), "TIFF", dpi=(nothing, nothing))
    assert parse_image(data, Kind.TIFF, LIMITS).text == WORDS


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", [Kind.PNG, Kind.JPEG, Kind.TIFF])
def test_what_is_broken_or_something_else_is_corrupt(kind: Kind) -> None:
    whole = encoded(picture(WORDS), kind.name)
    assert refusal(whole[:20], kind) == Reason.CORRUPT
    other = Kind.PNG if kind is Kind.JPEG else Kind.JPEG
    assert refusal(encoded(picture(WORDS), other.name), kind) == Reason.CORRUPT


def test_without_an_engine_a_picture_waits() -> None:
    limits = ParseLimits(ocr=OcrRules(engine="off"))
    assert refusal(encoded(picture(WORDS), "PNG"), Kind.PNG, limits) == Reason.NEEDS_OCR


@needs_tesseract
def test_a_picture_without_writing_is_an_empty_document() -> None:
    blank = io.BytesIO()
    Image.new("RGB", (300, 200), (90, 140, 200)).save(blank, "PNG")
    parsed = parse_image(blank.getvalue(), Kind.PNG, LIMITS)
    assert parsed.text == ""
    assert parsed.page_starts == ()
