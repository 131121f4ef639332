"""Settings of indexes: their recipes, and how they are measured, replaced and searched."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from rag_platform.settings_values import (
    Count,
    Folder,
    Glob,
    HttpUrl,
    Location,
    Name,
    Section,
    Share,
    Text,
)


class ChunkRule(Section):
    """How some documents of a source are cut otherwise than the rest."""

    match: Glob = Field(description="Pattern of keys, as in .gitignore.")
    strategy: Literal["fixed", "recursive", "semantic", "document", "clause"] = Field(
        description="As in `chunker.strategy`; `clause` cuts at numbered clauses and articles."
    )


class ChunkerSettings(Section):
    """How a clean document is cut into chunks; sizes are in tokens."""

    strategy: Literal["fixed", "recursive", "semantic", "document", "clause"] = Field(
        default="recursive",
        description="Cut at a `fixed` size, at the largest break that fits (`recursive`), where "
        "the meaning turns (`semantic`), at the headings of the `document`, or at these and at "
        "every numbered `clause`.",
    )
    max_tokens: Annotated[int, Field(strict=True, ge=32)] = Field(
        default=400, description="Most tokens in a chunk, 32 or more."
    )
    overlap: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=40,
        validate_default=True,
        description="Tokens that a chunk repeats of the one before; under half of `max_tokens`.",
    )

    rules: tuple[ChunkRule, ...] = Field(
        default=(), description="Documents that are cut otherwise; the first rule that fits counts."
    )

    @field_validator("overlap")
    @classmethod
    def _under_half(cls, overlap: int, info: ValidationInfo) -> int:
        size = info.data.get("max_tokens")
        if size is not None and 2 * overlap >= size:
            raise ValueError(f"{overlap} is not under half of max_tokens, {size}")
        return overlap


# Embedders in this process, which cost nothing, and the numbers in their vectors; None where the
# model's files say it.
_LOCAL: dict[str, int | None] = {"wordllama": 256, "minilm": 384, "transformer": None}


class TransformerSettings(Section):
    """A model in Hugging Face's format, run here by PyTorch (an extra), on a GPU where one is."""

    path: Folder = Field(
        description="Folder with config.json, tokenizer.json and model.safetensors."
    )
    pooling: Literal["mean", "cls", "last"] = Field(
        default="mean", description="Which of a text's token vectors stands for it."
    )
    passage_prefix: str = Field(default="", description="What the model wants before a passage.")
    query_prefix: str = Field(default="", description="What the model wants before a query.")
    max_tokens: Count = Field(default=512, description="Tokens of a text that are read.")
    batch_tokens: Count = Field(
        default=16_384, description="Tokens, padding included, that are on the device at a time."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="`auto`: bfloat16 on a GPU, float32 elsewhere."
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="`auto`: a GPU where there is one."
    )


class EmbedderSettings(Section):
    """What turns chunks and queries into vectors; written as a name or as a mapping."""

    model: Text = Field(
        default="wordllama",
        description="`wordllama`, `minilm` or `transformer` (extras; all in process, free) or a "
        "model of an OpenAI-compatible service.",
    )
    transformer: TransformerSettings | None = Field(
        default=None, validate_default=True, description="The model of `transformer`."
    )
    dimensions: Count | None = Field(
        default=None, description="Numbers in a vector; null for the model's own."
    )
    base_url: HttpUrl | None = Field(
        default=None, description="Address of the service; null for `llm.base_url`."
    )
    batch_size: Count | None = Field(
        default=None, description="Texts sent and stored at a time; null for the embedder's own."
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if isinstance(value, str) and (value not in _LOCAL or value == "transformer"):
            raise ValueError(
                "must be 'wordllama', 'minilm', {model: transformer, transformer: {path: ...}} or "
                "{model: ...} of an OpenAI-compatible service"
            )
        return {"model": value} if isinstance(value, str) else value

    @field_validator("transformer")
    @classmethod
    def _where_it_is_the_model(
        cls, transformer: TransformerSettings | None, info: ValidationInfo
    ) -> TransformerSettings | None:
        is_wanted = info.data.get("model") == "transformer"
        if is_wanted != (transformer is not None):
            needed = "say its `path`" if is_wanted else "leave it out, or set model: transformer"
            raise ValueError(needed)
        return transformer

    @field_validator("base_url")
    @classmethod
    def _of_a_service(cls, base_url: str | None, info: ValidationInfo) -> str | None:
        model = info.data.get("model")
        if base_url and model in _LOCAL:
            raise ValueError(f"{model} runs in process; leave base_url out")
        return base_url

    @field_validator("dimensions")
    @classmethod
    def _of_the_model(cls, dimensions: int | None, info: ValidationInfo) -> int | None:
        model = info.data.get("model")
        own = _LOCAL.get(str(model)) or dimensions
        if dimensions not in (None, own):
            raise ValueError(f"{model}'s vectors have {own} dimensions; leave this out")
        return dimensions

    @property
    def is_local(self) -> bool:
        """Whether it runs in this process, at no cost."""
        return self.model in _LOCAL


class SparseSettings(Section):
    """How words become sparse vectors for keyword search."""

    language: Text = Field(
        default="auto",
        description="`auto` for each document's own language, or one for all such as `english`.",
    )


def _by_language(value: Any) -> Any:
    """`sparse: english` for `sparse: {language: english}`."""
    return {"language": value} if isinstance(value, str) else value


class IndexSettings(Section):
    """The recipe of an index version: another recipe is another version beside it."""

    chunker: ChunkerSettings = Field(
        default=ChunkerSettings(), description="How documents are cut."
    )
    sparse: Annotated[SparseSettings, BeforeValidator(_by_language)] = Field(
        default=SparseSettings(), description="How words are weighed for keyword search."
    )
    embedder: EmbedderSettings = Field(
        default=EmbedderSettings(), description="What makes the vectors."
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
        default=0.4,
        description="How likely the passages found must hold the answer, 0 to 1, for an answer to "
        "be given.",
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
