"""`rag-platform doctor`: a line for each part, with what to do where it is not in order."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rag_platform.errors import PlatformError
from rag_platform.platform import Platform
from rag_platform.settings import Settings, SettingsError, load
from rag_platform.storage.objects import check_reachable, display_url
from rag_platform.storage.vectors.base import CollectionMissing

_LIBRARIES = ("dagster", "qdrant-client", "qdrant-edge-py", "pyarrow", "sqlalchemy", "wordllama")
_FREE_LEAST = 512 * 1024 * 1024
_FREE_GOOD = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One part and its state; where it is not ok, `detail` says what to do."""

    part: str
    state: Literal["ok", "warn", "fail"]
    detail: str

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def findings() -> list[Finding]:
    """A finding for each part; unreadable settings are the only one."""
    try:
        settings = load()
    except SettingsError as error:
        return [Finding("settings", "fail", problem) for problem in error.problems]
    return [*examine(settings), _home(settings), _webserver(settings)]


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at every part, without a paid call and without waiting long for a lock."""
    patience = min(settings.lock_timeout_s, 2.0)
    platform = Platform(settings.model_copy(update={"lock_timeout_s": patience}))
    yield _settings(settings)
    yield _versions()
    yield _attempt("state folder", _state_folder, settings.home)
    yield _attempt("catalog", _catalog, platform)
    yield _attempt("storage", _storage, platform)
    for source in settings.sources:
        yield _attempt(f"source {source}", _source, platform, source)
    yield _attempt("OCR", _ocr, platform)
    for index in settings.indexes:
        yield _attempt(f"embedder of {index}", _embedder, platform, index)
        yield _attempt(f"index {index}", _index, platform, index)
    if settings.enrichment.sources or settings.rides:
        yield _attempt("models", _models, platform)
        yield _attempt("prompts", _prompts, platform)
    for model in settings.enabled_models:
        yield _attempt(f"model {model}", _model, platform, model)
    if settings.compute.engine == "ray":
        yield _attempt("compute", _compute, settings)
    yield _attempt("notifications", _notifications, settings)
    platform.close()


def _attempt(part: str, look: Callable[..., Finding], *what: Any) -> Finding:
    """What looking found; an error is a finding too."""
    try:
        return look(*what)
    except (PlatformError, OSError) as error:
        return Finding(part, "fail", " ".join(str(error).split()))


def _settings(settings: Settings) -> Finding:
    names = f"sources: {', '.join(settings.sources) or 'none'}; indexes: "
    names += ", ".join(settings.indexes) + f"; live: {settings.live}"
    if settings.sources:
        return Finding("settings", "ok", names)
    return Finding("settings", "warn", f"{names}. Name a folder or bucket under `sources`")


def _catalog(platform: Platform) -> Finding:
    return Finding("catalog", "ok", platform.catalog.display)


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    found, missing = [f"Python {python}"], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("versions", "fail", f"not installed: {', '.join(missing)}. Run: make venv")
    return Finding("versions", "ok", ", ".join(found))


def _state_folder(home: Path) -> Finding:
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
        pass
    free = shutil.disk_usage(home).free
    shown = f"{home}: writable, {free / 1e9:,.1f} GB free"
    if free < _FREE_LEAST:
        return Finding("state folder", "fail", f"{shown}; free some space")
    if free < _FREE_GOOD:
        return Finding("state folder", "warn", f"{shown}; that is little, free some space")
    return Finding("state folder", "ok", shown)


def _storage(platform: Platform) -> Finding:
    url = platform.settings.storage
    check_reachable(platform.objects, url)
    return Finding("storage", "ok", display_url(url))


def _source(platform: Platform, name: str) -> Finding:
    """Only a first batch is listed, however large the source is; a feed is asked for news."""
    url = platform.source_settings(name).url
    raw = platform.raw(name)
    if not raw.source.complete:
        is_new = bool(raw.source.signal(raw.cursor()))
        return Finding(f"source {name}", "ok", f"{url}: {'something' if is_new else 'nothing'} new")
    found = next((len(batch) for batch in raw.source.look() if batch), 0)
    if not found:
        detail = f"{url}: can be listed, and is empty; put documents there, or correct its url"
        return Finding(f"source {name}", "warn", detail)
    return Finding(f"source {name}", "ok", f"{url}: {found:,} objects in the first batch")


def _ocr(platform: Platform) -> Finding:
    from rag_platform.documents.parsing.ocr import missing
    from rag_platform.documents.parsing.result import OcrRules

    rules = OcrRules(**platform.settings.ocr.model_dump())
    if rules.engine == "off":
        return Finding("OCR", "ok", "off: pages without text have none")
    if lack := missing(rules):
        return Finding("OCR", "warn", f"scans are dead letters until then: {lack}")
    return Finding("OCR", "ok", f"{rules.engine}: {', '.join(rules.languages)}")


def _embedder(platform: Platform, name: str) -> Finding:
    part = f"embedder of {name}"
    embedder = platform.index_settings(name).embedder
    model = embedder.model
    if embedder.is_local:
        dimension = platform.version(name).embedder.dimension
        return Finding(part, "ok", f"{model}, in process, {dimension} dimensions")
    price = platform.cost_microusd(name, 1_000_000) / 1_000_000
    if price and not os.environ.get("OPENAI_API_KEY"):
        return Finding(part, "fail", f"{model}: no key. Set OPENAI_API_KEY in the environment")
    return Finding(part, "ok", f"{model}, ${price:.2f} per million tokens; nothing was sent")


def _models(platform: Platform) -> Finding:
    """Who answers, and at what price; an unknown one is refused before anything is sent."""
    rules = platform.settings.llm
    base_url = str(rules.base_url)
    if not platform.llm.connection(base_url).api_key:
        detail = "no key in OPENAI_API_KEY: extractive methods stand in, no model is asked"
        return Finding("models", "ok", detail)
    prices = platform.llm.prices(base_url)
    shown = []
    for tier, model in rules.tiers.items():
        read = prices.microusd(model, input_tokens=1_000_000)
        written = prices.microusd(model, input_tokens=0, output_tokens=1_000_000)
        shown.append(f"{tier} {model} (${read / 1e6:,.2f} read, ${written / 1e6:,.2f} written)")
    per_million = f"{', '.join(shown)} per million tokens; nothing was sent"
    return Finding("models", "ok", f"{display_url(base_url)}: {per_million}")


def _prompts(platform: Platform) -> Finding:
    library = platform.llm.prompts
    labels = [library.get(name).label for name in library.names()]
    return Finding("prompts", "ok", ", ".join(labels))


def _model(platform: Platform, name: str) -> Finding:
    """Its data is there and young enough, and MLflow answers."""
    part, training = f"model {name}", platform.models.training(name)
    stale = training.stale(time.time())
    champion = platform.models.registry.version(name, "champion")
    serves = f"version {champion.number} serves" if champion else "nothing serves yet"
    if stale:
        return Finding(part, "warn", f"{serves}; {stale}")
    if champion is None:
        return Finding(part, "warn", f"{serves}. Run: rag-platform train {name}")
    return Finding(part, "ok", serves)


def _compute(settings: Settings) -> Finding:
    """Whether Ray is installed and the settings fit; no cluster is started or asked."""
    from rag_platform.compute.jobs import problem

    if importlib.util.find_spec("ray") is None:
        missing = "Ray is not installed: pip install 'rag_platform[ray]', or set engine: local"
        return Finding("compute", "fail", missing)
    if wrong := problem(settings):
        return Finding("compute", "fail", wrong)
    return Finding("compute", "ok", f"Ray at {settings.compute.address}; no worker was asked")


def _notifications(settings: Settings) -> Finding:
    from rag_platform.operations.channels import channels_of, check_channels

    problems = check_channels(settings.notifications)
    if problems:
        return Finding("notifications", "warn", "; ".join(problems))
    names = ", ".join(channel.name for channel in channels_of(settings.notifications))
    return Finding("notifications", "ok", f"{names}; nothing was sent")


def _index(platform: Platform, name: str) -> Finding:
    version = platform.version(name)
    version.refuse_changed(platform.catalog)
    try:
        with platform.vectors.open_existing(name) as collection:
            version.refuse_other(collection)
            return Finding(f"index {name}", "ok", f"{collection.count():,} points")
    except CollectionMissing:
        detail = "not built yet. Run: rag-platform sync SOURCE (or replay, for what is recorded)"
        return Finding(f"index {name}", "warn", detail)


def _home(settings: Settings) -> Finding:
    named = os.environ.get("DAGSTER_HOME")
    home = named or str(settings.home / "dagster")
    if named and not os.path.isdir(named):
        detail = f"{named}: no such folder yet; the first run makes it, or correct DAGSTER_HOME"
        return Finding("DAGSTER_HOME", "warn", detail)
    return Finding("DAGSTER_HOME", "ok", home if named else f"{home} (not set, the default)")


def _webserver(settings: Settings) -> Finding:
    from rag_platform.defs.operations import launch

    keys = [
        key
        for source in settings.sources
        for key in launch.keys_of(
            source, list(settings.indexes), stages=launch.stages_of(settings, source)
        )
    ]
    url = launch.webserver_url()
    if launch.webserver_serves(keys):
        return Finding("webserver and daemon", "ok", url)
    detail = (
        f"{url}: no webserver that knows these assets and has a daemon; sync and replay run in "
        "process. Start both with: make dev"
    )
    return Finding("webserver and daemon", "warn", detail)
