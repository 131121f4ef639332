"""The parts of an index version: its chunker and its encoders, from the settings."""

from typing import TYPE_CHECKING

from rag_platform.settings_indexes import ChunkerSettings, IndexSettings

if TYPE_CHECKING:
    from rag_platform.encoders.base import Embedder
    from rag_platform.indexing.chunking.chunker import Chunker
    from rag_platform.indexing.version import IndexVersion
    from rag_platform.platform_llm import LlmParts


def index_version(name: str, index: IndexSettings, embedder: "Embedder") -> "IndexVersion":
    """An index version with its encoders loaded."""
    from rag_platform.encoders.bm25 import sparse_encoder
    from rag_platform.indexing.version import IndexVersion

    return IndexVersion(
        name, _chunker(index.chunker), embedder, sparse_encoder(index.sparse.language)
    )


def cost_microusd(index: IndexSettings, llm: "LlmParts", tokens: int) -> int:
    """What embedding some tokens costs at list price."""
    embedder = index.embedder
    if embedder.is_local:
        return 0
    prices = llm.prices(str(embedder.base_url or llm.settings.base_url))
    return prices.microusd(embedder.model, input_tokens=tokens)


def _chunker(rules: ChunkerSettings) -> "Chunker":
    from rag_platform.indexing.chunking.chunker import Chunker

    strategies = {rules.strategy, *(rule.strategy for rule in rules.rules)}
    return Chunker(
        rules.strategy,
        rules.max_tokens,
        overlap=rules.overlap,
        # Sentences are compared locally, whatever embeds the chunks.
        embedder=_wordllama() if "semantic" in strategies else None,
        rules=[(rule.match, rule.strategy) for rule in rules.rules],
    )


def open_embedder(name: str, index: IndexSettings, llm: "LlmParts") -> "Embedder":
    """What makes the vectors of an index version."""
    if index.embedder.model == "wordllama":
        return _wordllama()
    if index.embedder.model == "minilm":
        from rag_platform.encoders.minilm import MiniLmEmbedder

        return MiniLmEmbedder()
    if index.embedder.transformer is not None:
        from rag_platform.encoders.transformer import Rules, TransformerEmbedder

        rules = Rules(**index.embedder.transformer.model_dump())
        return TransformerEmbedder(rules, batch_size=index.embedder.batch_size)
    from rag_platform.encoders.openai import OpenAIEmbedder

    base_url = str(index.embedder.base_url or llm.base_url)
    return OpenAIEmbedder(
        index.embedder.model,
        index.embedder.dimensions,
        connection=llm.connection(base_url),
        admission=llm.admission,
        prices=llm.prices(base_url),
        run_id=llm.run_id,
        purpose=f"{name}/embeddings",
        **({"batch_size": index.embedder.batch_size} if index.embedder.batch_size else {}),
    )


def _wordllama() -> "Embedder":
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()
