"""Versions of the tiny model, put into a registry without training."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rag_platform.training.packaging import Manifest, pack
from rag_platform.training.registry import ModelRegistry, Version
from rag_platform_tests.training.tiny import NAME, SPEC, TinyModel, tiny_rows

if TYPE_CHECKING:
    from rag_platform.training.drift.profile import Profile


@dataclass(frozen=True)
class TinyProfile:
    """Stands for a profile where nobody asks for drift."""

    def to_json(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def manifest(name: str = "a", **given: Any) -> Manifest:
    """A manifest of the tiny model; another name, another fingerprint."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Manifest(
        **{
            "model": NAME,
            "trainer": "default",
            "fingerprint": digest,
            "data_sha256": digest,
            "rows": 200,
            "week": "2026-11-23",
            **given,
        }
    )


def packed(folder: Path, threshold: float = 0.5, **given: Any) -> Path:
    """A package of the tiny model in a new folder; its twin's threshold is higher by one."""
    pack(
        folder,
        manifest=manifest(f"{threshold}", **given),
        model=TinyModel(threshold),
        twin=TinyModel(threshold + 1.0),
        profile=cast("Profile", TinyProfile()),
    )
    return folder


def own(uri: str) -> str:
    """The address of an MLflow database for a forked process: with connections of its own."""
    return f"{uri}?timeout=60"


@dataclass(frozen=True)
class Put:
    """Puts versions of the tiny model into a registry."""

    registry: ModelRegistry

    def candidate(self, threshold: float = 0.5, tags: dict[str, str] | None = None) -> str:
        """A finished run."""
        rows, model = tiny_rows(3), TinyModel(threshold)
        with tempfile.TemporaryDirectory() as folder:
            return self.registry.log_candidate(
                SPEC,
                manifest(f"{threshold}"),
                packed(Path(folder) / "package", threshold),
                parameters=model.parameters(),
                tags=tags or {},
                example=rows,
                predictions=model.predict(rows),
            )

    def __call__(self, threshold: float = 0.5) -> Version:
        """A registered version."""
        run_id = self.candidate(threshold)
        return self.registry.register(NAME, run_id, description="A tiny one.", tags={})
