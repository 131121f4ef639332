"""Reading pictures: what is tried, what is said where an engine is missing, and Tesseract."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rag_platform.documents.parsing.ocr import (
    PageReader,
    Reading,
    best_reading,
    engine_state,
    missing,
    page_ranges,
    text_rules,
    tidy,
    tilt,
)
from rag_platform.documents.parsing.result import OcrRules, ParseRefused, Reason
from rag_platform_tests.documents.parsing.samples import needs_tesseract, picture

RULES = OcrRules()
LINES = ("Loan agreement number 4711", "Harbour Savings Bank of Bristol", "signed in March")


class Scripted:
    """An engine that gives readings in order and remembers what it saw."""

    def __init__(self, *readings: Reading) -> None:
        self.readings = list(readings)
        self.seen: list[Image.Image] = []

    def recognise(self, picture: Image.Image, dpi: int, seconds: float) -> Reading:
        assert dpi == RULES.dpi
        assert 0 < seconds <= RULES.page_seconds
        self.seen.append(picture)
        return self.readings.pop(0)


def test_a_sure_reading_is_left_as_it_is() -> None:
    engine = Scripted(Reading("plain words", 0.95))
    assert best_reading(engine, picture(*LINES), RULES).text == "plain words"
    assert len(engine.seen) == 1


def test_a_poor_reading_is_smoothed_and_turned_and_the_best_stays() -> None:
    engine = Scripted(Reading("gibberish", 0.4), Reading("gibberlsh", 0.3), Reading("words", 0.9))
    page = picture(*LINES)
    assert best_reading(engine, page, RULES).text == "words"
    plain, smooth, turned = engine.seen
    assert plain == page
    assert smooth != page
    assert turned == page.rotate(180)  # of the better one, and that was the plain one
    engine = Scripted(Reading("the words", 0.7), Reading("x", 0.9), Reading("spjom 9yf", 0.2))
    assert best_reading(engine, page, RULES).text == "the words"


def test_a_middling_reading_is_smoothed_only() -> None:
    engine = Scripted(Reading("w0rds of it", 0.8), Reading("words of it", 0.85))
    assert best_reading(engine, picture(*LINES), RULES).text == "words of it"
    assert len(engine.seen) == 2


def test_a_picture_without_writing_costs_one_attempt() -> None:
    engine = Scripted(Reading("", 0.0))
    assert best_reading(engine, Image.new("L", (300, 300), 255), RULES) == Reading("", 0.0)


def test_no_time_no_reading() -> None:
    engine = Scripted(Reading("", 0.0, finished=False))
    assert not best_reading(engine, picture(*LINES), RULES).finished
    engine = Scripted(Reading("poor", 0.5), Reading("", 0.0, finished=False), Reading("up", 0.4))
    assert best_reading(engine, picture(*LINES), RULES).text == "poor"


@pytest.mark.parametrize("angle", [-12, -4, 0, 3, 9])
def test_tilt_is_found(angle: int) -> None:
    page = picture(*LINES, *LINES, size=(900, 900))
    turned = page.rotate(angle, expand=True, fillcolor=255)
    assert tilt(turned) == angle


def test_tidy_joins_divided_words_but_not_names() -> None:
    read = "A con-\ntract with Baden-\nBaden \n\n\n\nand 4-\n5 more\n\x0c"
    assert tidy(read) == "A contract with Baden-\nBaden\n\nand 4-\n5 more"


def test_page_ranges() -> None:
    assert page_ranges([]) == ""
    assert page_ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


@given(st.sets(st.integers(1, 60)))
def test_page_ranges_name_each_page_once(numbers: set[int]) -> None:
    named: list[int] = []
    for part in page_ranges(sorted(numbers)).split(", ") if numbers else []:
        first, _, last = part.partition("-")
        named.extend(range(int(first), int(last or first) + 1))
    assert named == sorted(numbers)


def test_missing_data_is_named_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    (tmp_path / "eng.traineddata").write_bytes(b"12345")
    lack = missing(OcrRules(languages=("eng", "chi_sim")))
    assert "data for chi_sim: install tesseract-ocr-chi-sim (Debian" in lack
    assert "tesseract-langpack-chi_sim (Fedora)" in lack
    assert "\n" not in lack
    assert missing(RULES) == ""
    assert engine_state(RULES).endswith(" eng=5")
    before = engine_state(OcrRules(languages=("eng", "chi_sim")))
    (tmp_path / "chi_sim.traineddata").write_bytes(b"1")
    assert engine_state(OcrRules(languages=("eng", "chi_sim"))) != before


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert missing(RULES) == "OCR needs the Python package tesserocr"
    lack = missing(OcrRules(engine="rapidocr"))
    assert lack == "OCR needs the Python package rapidocr and onnxruntime"


def test_nothing_is_drawn_where_ocr_is_off() -> None:
    assert missing(OcrRules(engine="off")) == "OCR is off; set ocr.engine"
    reader = PageReader(OcrRules(engine="off"))
    assert reader.text(3, lambda: pytest.fail("nothing is drawn")) == ""
    assert reader.metadata() == {"needs_ocr": "3"}
    with pytest.raises(ParseRefused) as refused:
        reader.refuse_unread()
    assert refused.value.failure.reason == Reason.NEEDS_OCR


def test_data_that_is_no_data_needs_ocr_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    (tmp_path / "xyz.traineddata").write_bytes(b"broken")
    reader = PageReader(OcrRules(languages=("xyz",)))
    with pytest.raises(ParseRefused) as refused:
        reader.text(1, lambda: picture("words"))
    assert refused.value.failure.reason == Reason.NEEDS_OCR
    assert "does not start" in refused.value.failure.detail


def test_the_text_depends_on_the_rules_but_not_on_the_clock() -> None:
    assert text_rules(RULES) == text_rules(OcrRules(page_seconds=1))
    assert text_rules(RULES) != text_rules(OcrRules(languages=("deu",)))
    assert text_rules(RULES) != text_rules(OcrRules(min_confidence=0.5))


def words_of(page: Image.Image, rules: OcrRules = RULES) -> tuple[str, dict[str, str]]:
    reader = PageReader(rules)
    return " ".join(reader.text(1, lambda: page).split()), reader.metadata()


@needs_tesseract
@pytest.mark.parametrize("angle", [0, 90, 180, 270, 9])
def test_pages_are_read_however_they_lie(angle: int) -> None:
    page = picture(*LINES).rotate(angle, expand=True, fillcolor=255)
    text, metadata = words_of(page)
    assert text == " ".join(LINES)
    assert metadata["ocr_pages"] == "1"
    assert float(metadata["ocr_confidence"]) > 0.8


@needs_tesseract
def test_what_is_below_the_confidence_is_empty() -> None:
    text, metadata = words_of(picture(*LINES), OcrRules(min_confidence=1.0))
    assert text == ""
    assert metadata == {"ocr_pages": "1"}


@needs_tesseract
def test_a_page_that_takes_too_long_is_left_out_and_named() -> None:
    reader = PageReader(OcrRules(page_seconds=0.001))
    assert reader.text(2, lambda: picture(*LINES * 6, size=(900, 1400))) == ""
    assert reader.metadata() == {"ocr_timeouts": "over 0.001 s: 2"}
    with pytest.raises(ParseRefused) as refused:
        reader.refuse_unread()
    assert refused.value.failure.reason == Reason.TIMEOUT
