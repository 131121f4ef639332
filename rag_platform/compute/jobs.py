"""What can be worked out on many machines: the stages that remember what they paid for."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rag_platform.documents.parsed import ParseFigures
from rag_platform.enrichment.asking import AskFigures
from rag_platform.errors import PlatformError
from rag_platform.indexing.embeddings import EmbedFigures
from rag_platform.platform import Platform
from rag_platform.settings import Settings
from rag_platform.storage.memo import Claim
from rag_platform.storage.pages import Stretch

Stage = Literal["parsed_docs", "embeddings", "entities", "summary", "classification"]


class ComputeError(PlatformError):
    """The cluster cannot be used as the settings say."""


class WorkersLost(PlatformError):
    """The cluster gave up in the middle; what was done is remembered."""

    transient = True


class Fillable(Protocol):
    """A stage whose results are remembered, so that others may work them out before it runs.

    `fingerprint` names all that a result depends on besides its input; `lock` is held in the
    catalog while a stage or its helpers work.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def lock(self) -> str: ...

    def stretches(self, windows: Sequence[str], rows: int) -> Iterator[Stretch]:
        """What is to be looked through for some windows."""

    def fill(self, stretch: Stretch, claim: Claim) -> Any:
        """Work out what a stretch needs and nobody remembers; returns figures, a dataclass."""


@dataclass(frozen=True, slots=True)
class Job:
    """A stage of a source, `embeddings` of an index version."""

    stage: Stage
    source: str
    index: str | None = None

    def open(self, parts: Platform) -> Fillable:
        """The stage itself. Raises `UnknownName`."""
        if self.stage == "parsed_docs":
            return parts.parsed(self.source)
        if self.stage == "embeddings":
            assert self.index is not None
            return parts.embeddings(self.source, self.index)
        step: Fillable = getattr(parts.enrichment(self.source), self.stage)
        return step

    def figures(self, counts: Mapping[str, int]) -> Any:
        """What was done, as the stage itself says it."""
        kinds = {"parsed_docs": ParseFigures, "embeddings": EmbedFigures}
        return kinds.get(self.stage, AskFigures)(**counts)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.source, self.index, self.stage)))


def problem(settings: Settings) -> str | None:
    """Why the settings cannot work with Ray; None where they can, or where nobody asks for it."""
    compute = settings.compute
    if compute.engine != "ray" or compute.address == "local":
        return None
    if compute.address.startswith("ray://"):
        return (
            f"compute.address {compute.address}: Ray Data does not work by Ray's client. Let this "
            "machine join the cluster (`ray start --address HOST:PORT`) and set `auto`."
        )
    local = []
    if settings.catalog_url.startswith("sqlite:"):
        local.append("catalog (set it to PostgreSQL)")
    if settings.storage.startswith("file:"):
        local.append("storage (set it to s3://bucket/prefix)")
    if not local:
        return None
    return (
        f"compute.address {compute.address}: workers on other machines cannot reach "
        f"{' and '.join(local)}. Or set compute.address to `local`."
    )


# Of no account to a worker, or another on each machine.
_OWN = ("home", "compute", "console", "vector_store", "automation", "show_content")


def digests(settings: Settings) -> dict[str, str]:
    """A digest of each part of the settings that driver and workers must share.

    Secrets are no part of it: a database's password is left out.
    """
    tree = settings.model_dump(mode="json", exclude=set(_OWN))
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
        for name, part in tree.items()
    }
