"""The parts of the settings about documents: how they are read, what they may say, who may see
them, and how the indexes made of them are searched, measured and replaced."""

from typing import Annotated, Any, Literal

from pydantic import Field

from rag_platform.settings_values import (
    Count,
    Glob,
    Location,
    Name,
    Seconds,
    Section,
    Share,
    Text,
)

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

    to: Text = Field(description="Language to translate to, as a code such as `en`.")
    languages: tuple[Text, ...] = Field(
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
    page_seconds: Seconds = Field(default=30.0, description="Seconds that one page may take.")
    min_confidence: Share = Field(
        default=0.3, description="Mean confidence below which a page counts as empty."
    )


class ChunkRule(Section):
    """How some documents of a source are cut otherwise than the rest."""

    match: Glob = Field(description="Pattern of keys, as in .gitignore.")
    strategy: Literal["fixed", "recursive", "semantic", "document", "clause"] = Field(
        description="As in `chunker.strategy`; `clause` cuts at numbered clauses and articles."
    )


class SparseSettings(Section):
    """How words become sparse vectors for keyword search."""

    language: Text = Field(
        default="auto",
        description="`auto` for each document's own language, or one for all such as `english`.",
    )


class GoldenSettings(Section):
    """Queries whose answers are known, to measure an index by."""

    url: Location = Field(
        description="Folder or s3:// prefix with queries.jsonl (`_id`, `text`, optional `slice`) "
        "and qrels.tsv (`query-id`, `corpus-id`, `score`); a corpus id is a document's key."
    )
    source: Name | None = Field(
        default=None, description="Source of the documents; may be left out where there is one."
    )


class PromotionSettings(Section):
    """When an index version may take the place of the live one."""

    metric: Literal["ndcg@10", "recall@10", "recall@100", "mrr@10"] = Field(
        default="ndcg@10", description="Metric that is compared."
    )
    margin: Share = Field(
        default=0.01,
        description="How much worse than the live one it may be: the lower end of the interval of "
        "the paired difference must be above minus this.",
    )
    keep_days: Annotated[float, Field(strict=True, ge=0)] = Field(
        default=7.0, description="Days that a replaced version is kept for a way back."
    )
    require_evaluation: Annotated[bool, Field(strict=True)] = Field(
        default=True,
        description="Whether an index without an evaluation is refused, where `golden` has sets.",
    )


class ExperimentSettings(Section):
    """Two index versions compared on the queries of every day."""

    challenger: Text = Field(description="Index version that some queries go to.")
    share: Annotated[int, Field(strict=True, ge=1, le=50)] = Field(
        default=10, description="Percent of units (whoever asks) whose queries it answers."
    )


class AskSettings(Section):
    """Answers to questions from what the live index holds."""

    passages: Annotated[int, Field(strict=True, ge=1, le=20)] = Field(
        default=6, description="Passages that an answer is made from."
    )
    min_score: Share = Field(
        default=0.3,
        description="Likeness of the best passage below which no answer is given.",
    )


class SearchSettings(Section):
    """How the live index is searched."""

    weights: dict[Text, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Share of the dense leg in the fusion, by language code; the built-in ones "
        "for what is not named.",
    )
    experiment: ExperimentSettings | None = Field(
        default=None, description="A comparison of two versions; null for none."
    )
    ask: AskSettings = Field(default=AskSettings(), description="How questions are answered.")


def by_language(value: Any) -> Any:
    """`sparse: english` for `sparse: {language: english}`."""
    return {"language": value} if isinstance(value, str) else value
