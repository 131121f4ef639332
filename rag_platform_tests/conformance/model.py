"""What must be searchable, worked out from the files and the chunker without the pipeline."""

import functools
import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from rag_platform.encoders.base import Embedder
from rag_platform.encoders.languages import detect
from rag_platform.encoders.wordllama import WordLlamaEmbedder
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.embedders import HashEmbedder

Point = tuple[dict[str, Any], bytes]
Recipe = dict[str, Any]
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "rag_platform")


@functools.cache
def embedder(name: str) -> Embedder:
    """The embedder of a recipe: wordllama, or hash-N."""
    if name == "wordllama":
        return WordLlamaEmbedder()
    return HashEmbedder(int(name.removeprefix("hash-")))


@functools.cache
def chunker(strategy: str, max_tokens: int, overlap: int) -> Chunker:
    """The chunker of a recipe."""
    return Chunker(strategy, max_tokens, overlap=overlap)  # type: ignore[arg-type]


@functools.cache
def vector_of(name: str, text: str) -> bytes:
    """The vector of a passage as the pipeline should have stored it."""
    return bytes(embedder(name).embed_passages([text])[0].tobytes())


def text_of(key: str, content: bytes) -> str | None:
    """The clean text of a document of the test corpus; None for one that cannot be read."""
    if content.startswith(b"%PDF"):
        return None
    text = content.decode()
    if key.endswith(".html"):
        text = re.sub(r".*<main>|</main>.*", "", text, flags=re.DOTALL)
        text = text.replace("<h1>", "# ").replace("<h2>", "## ").replace("<p>", "")
        text = re.sub(r"</(h1|h2|p)>", "\n\n", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip()


def title_of(key: str, text: str) -> str:
    """The first heading of the highest level there is, or the file name."""
    found = (re.search(rf"^{'#' * level} (.+)$", text, re.MULTILINE) for level in (1, 2))
    heading = next(filter(None, found), None)
    return heading[1] if heading else key.rpartition("/")[2]


@functools.cache
def points_of(
    source: str, key: str, content: bytes, modified: int, *, root: str, recipe: tuple[Any, ...]
) -> dict[str, Point]:
    """The points of one document in an index of a recipe (strategy, size, overlap, model)."""
    text = text_of(key, content)
    if text is None:
        return {}
    doc_id = uuid.uuid5(_NAMESPACE, f"{len(source)}:{source}{key}")
    seen: dict[str, int] = {}
    points = {}
    for chunk in chunker(*recipe[:3]).chunk(text):
        text_hash = hashlib.sha256(chunk.text.encode()).hexdigest()[:32]
        occurrence = seen.get(text_hash, 0)
        seen[text_hash] = occurrence + 1
        point_id = str(uuid.uuid5(doc_id, f"{text_hash}:{occurrence}"))
        payload = {
            "source": source,
            "doc_id": str(doc_id),
            "text_hash": text_hash,
            "text": chunk.text,
            "start": chunk.start,
            "end": chunk.end,
            "page": None,
            "heading": chunk.heading,
            "key": key,
            "uri": f"{root}/{key}",
            "title": title_of(key, text),
            "language": detect(text, "en" if key.endswith(".html") else ""),
            "modified": datetime.fromtimestamp(modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tenant": "default",
            "acl": ["*"],
        }
        points[point_id] = (payload, vector_of(recipe[3], chunk.text))
    return points


class Snapshot:
    """The documents of a source as its last listing showed them.

    A document keeps the time of its last change of bytes, whatever touched it since.
    """

    def __init__(self, source: str, folder: Folder) -> None:
        self._source = source
        self._folder = folder
        self.documents: dict[str, tuple[bytes, int]] = {}

    def take(self) -> None:
        """The source has been listed."""
        found = {}
        for key, content, modified in self._folder.files():
            before = self.documents.get(key)
            same = before is not None and before[0] == content
            found[key] = before if before and same else (content, modified)
        self.documents = found

    def expected(self, recipe: tuple[Any, ...]) -> dict[str, Point]:
        """The whole content of an index: point id to payload and vector."""
        root = self._folder.root.as_uri()
        points: dict[str, Point] = {}
        for key, (content, modified) in self.documents.items():
            points |= points_of(self._source, key, content, modified, root=root, recipe=recipe)
        return points

    def texts(self, recipe: tuple[Any, ...]) -> set[str]:
        """The different chunk texts of an index."""
        return {payload["text"] for payload, _ in self.expected(recipe).values()}
