"""A code location on settings of its own, run in this process on an instance in memory."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from rag_platform.defs.documents.definitions import documents
from rag_platform.defs.operations.definitions import operations
from rag_platform.defs.operations.launch import INDEX_STAGES, STAGES, keys_of
from rag_platform.defs.resources import platform_resource
from rag_platform.platform import Platform
from rag_platform.settings import Settings, load
from rag_platform_tests.catalogs import new_catalog

SOURCE = "manuals"
INDEX = "docs_v1"
# A listing that loses everything but one document is accepted where a test is not about that.
FOLDER = {"cadence": "daily", "start": "2026-06-01", "max_deletion_share": 0.9}
SMALL_CHUNKS = {"chunker": {"max_tokens": 60, "overlap": 0}, "embedder": "wordllama"}


def definitions(settings: Settings) -> dg.Definitions:
    """What `rag_platform.definitions` makes of the settings it finds when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(
            documents(settings),
            operations(settings),
            dg.Definitions(
                resources={"platform": platform_resource(settings)}, executor=dg.in_process_executor
            ),
        )


class Outcome:
    """A run that has ended, by what a person sees of it."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.result = result
        self.success = result.success

    @property
    def stages(self) -> list[str]:
        """The stages that were materialized, in order, once each."""
        events = self.result.get_asset_materialization_events()
        return list(dict.fromkeys(event.asset_key.path[-1] for event in events))

    @property
    def checks(self) -> dict[str, tuple[bool, str]]:
        """Whether each check passed, and its last description."""
        found = [
            event.asset_check_evaluation_data
            for event in self.result.all_events
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        return {check.check_name: (check.passed, check.description or "") for check in found}

    def failed(self) -> dict[str, str]:
        """The checks that failed, with their descriptions."""
        return {name: text for name, (passed, text) in self.checks.items() if not passed}

    def metadata(self, stage: str, window: str, index: str | None = None) -> dict[str, Any]:
        """The metadata of the one materialization of a window of a stage."""
        path = [SOURCE, index, stage] if index else [SOURCE, stage]
        [event] = [
            event
            for event in self.result.get_asset_materialization_events()
            if list(event.asset_key.path) == path and event.partition == window
        ]
        return {name: value.value for name, value in event.materialization.metadata.items()}


class Location:
    """Settings, definitions and an instance, over a source folder that tests write into."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.folder = home / "source"
        self.folder.mkdir(parents=True)
        self._config = home / "platform.yaml"
        self.instance = dg.DagsterInstance.ephemeral()
        monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(self._config))
        monkeypatch.setenv("RAG_PLATFORM_HOME", str(home / "state"))
        new_catalog(home / "state" / "catalog.db")
        self.configure()

    def configure(self, *, source: dict[str, Any] | None = None, **more: Any) -> None:
        """Write platform.yaml anew and load the definitions from it.

        `source` changes the source's rules, `more` whole settings.
        """
        sources = {SOURCE: {"url": str(self.folder), **FOLDER, **(source or {})}}
        tree = {"sources": sources, "indexes": {INDEX: SMALL_CHUNKS}, "live": INDEX, **more}
        self._config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self.settings = load()
        self.defs = definitions(self.settings)

    def write(self, key: str, text: str) -> None:
        """Put a document into the source."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(
        self,
        *windows: str,
        stages: Sequence[str] = STAGES + INDEX_STAGES,
        indexes: Sequence[str] = (INDEX,),
        keys: Sequence[dg.AssetKey] | None = None,
        config: dict[str, Any] | None = None,
    ) -> Outcome:
        """Materialize stages, or those `keys`, of one window or of the range between two."""
        first, last = windows[0], windows[-1]
        ranges = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        job = self.defs.resolve_job_def(f"{SOURCE}_documents")
        return Outcome(
            job.execute_in_process(
                instance=self.instance,
                partition_key=first if len(windows) == 1 else None,
                tags=ranges if len(windows) > 1 else {},
                run_config={"ops": config} if config else None,
                asset_selection=keys or keys_of(SOURCE, indexes, stages=stages),
                raise_on_error=False,
            )
        )

    @contextlib.contextmanager
    def platform(self) -> Iterator[Platform]:
        """The platform itself, to look at what runs left, or to do harm to it."""
        platform = Platform(self.settings)
        try:
            yield platform
        finally:
            platform.close()

    def contents(self, index: str = INDEX) -> dict[str, dict[str, Any]]:
        """Every point of an index: id to payload."""
        with self.platform() as platform, platform.vectors.open_existing(index) as collection:
            documents = {doc_id for _, doc_id in collection.ids()}
            found = collection.present(sorted(documents))
        return {point: payload for points in found.values() for point, payload in points.items()}
