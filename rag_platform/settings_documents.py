"""Settings of documents: how they are read, what they may say, and who may see them."""

from typing import Annotated, Literal

from pydantic import Field

from rag_platform.settings_values import (
    Count,
    Seconds,
    Section,
    Share,
    Text,
)

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Action = Literal["off", "count", "mask", "quarantine"]


class AclSettings(Section):
    """Who may read the documents of a source; without this section everybody may."""

    groups: tuple[Text, ...] = Field(
        default=(), description="Tags of the readers of every document that `file` says nothing of."
    )
    file: Text | None = Field(
        default=None,
        description="Key of a YAML file in the source that maps patterns to lists of tags; the "
        "last pattern that takes a document counts. Null for none.",
    )


class SafetySettings(Section):
    """What happens to documents that hold what nobody should search, log or send to a model."""

    secrets: Action = Field(
        default="mask",
        description="Keys, tokens and passwords: `mask` them in the text, `quarantine` the "
        "document, only `count` them, or `off`.",
    )
    pii: Action = Field(
        default="count",
        description="Personal data (addresses, phone, card and account numbers): as `secrets`.",
    )
    max_injection: Share = Field(
        default=0.5,
        description="Score from which text that speaks to a model sends the document to review "
        "and lowers its confidence.",
    )


class TranslationSettings(Section):
    """Translation of documents by the models of `llm`, before they are cut and embedded."""

    to: LanguageCode = Field(description="Language to translate to, as a code such as `en`.")
    languages: tuple[LanguageCode, ...] = Field(
        default=(), description="Codes of the languages that are translated; none for all others."
    )


class OcrSettings(Section):
    """How pages without text are read: by Tesseract, whose language data must be installed."""

    engine: Literal["tesseract", "rapidocr", "off"] = Field(
        default="tesseract",
        description="`tesseract`, `rapidocr` (an extra) or `off`: such pages have no text.",
    )
    languages: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]{3,20}$")], ...] = Field(
        default=("eng",), min_length=1, description="Tesseract's names of the languages expected."
    )
    dpi: Annotated[int, Field(strict=True, ge=70, le=600)] = Field(
        default=200, description="Resolution at which a page is drawn."
    )
    max_pixels: Count = Field(
        default=40_000_000, description="Most pixels of a page; a larger one is drawn smaller."
    )
    page_seconds: Seconds = Field(
        default=30.0,
        description="Seconds that one page may take; a page over it stays unread, and is read "
        "again when this is raised.",
    )
    min_confidence: Share = Field(
        default=0.3, description="Mean confidence below which a page counts as empty."
    )
