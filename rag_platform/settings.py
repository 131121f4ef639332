"""The settings of a platform: platform.yaml and environment variables -> one frozen typed tree.

Secrets are no part of it: OPENAI_API_KEY, AWS_* and QDRANT_API_KEY stay in the environment. Only
the catalog's URL may hold a password, and never shows it.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from rag_platform.errors import PlatformError
from rag_platform.settings_documents import (
    AclSettings,
    OcrSettings,
    SafetySettings,
    TranslationSettings,
)
from rag_platform.settings_indexes import (
    GoldenSettings,
    IndexSettings,
    PromotionSettings,
    SearchSettings,
)
from rag_platform.settings_llm import LlmSettings, MlflowSettings
from rag_platform.settings_operations import ComputeSettings, ConsoleSettings
from rag_platform.settings_pipelines import EnrichmentSettings, RidesSettings
from rag_platform.settings_source import explain, override, read_yaml
from rag_platform.settings_training import ModelSettings, NotificationSettings
from rag_platform.settings_values import (
    DEFAULT_TENANT,
    Catalog,
    CatalogUrl,
    Count,
    Cron,
    Glob,
    HttpUrl,
    IndexName,
    Location,
    ModelName,
    Moment,
    Name,
    Seconds,
    Section,
    Share,
    SourceName,
    SourceUrl,
    TenantName,
    Text,
    VectorStore,
    absolute,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class SettingsError(PlatformError):
    """What is wrong with the settings, one problem a line; `problems` holds the lines."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class S3Settings(Section):
    """How to reach S3 or what speaks like it; keys come from the environment (AWS_*)."""

    endpoint_url: HttpUrl | None = Field(
        default=None, description="Address of an S3-compatible server; null for Amazon's own."
    )
    region: Text = Field(default="us-east-1", description="Region of the buckets.")
    profile: Text | None = Field(
        default=None, description="Profile in the AWS configuration files; null for none."
    )


class SourceSettings(Section):
    """A place that documents come from, seen through windows of a day or an hour."""

    url: SourceUrl = Field(
        description="Folder (path from the settings file's folder, from $RAG_PLATFORM_HOME or ~, "
        "or file:///...), s3://bucket/prefix, or the address of another kind of source."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="What the kind of source needs besides its address."
    )
    cadence: Literal["daily", "hourly"] = Field(
        default="daily", description="Length of a window, in UTC."
    )
    start: Moment = Field(
        description="Start of the first window: a date or a time, taken as UTC where no zone is "
        "given and moved back to the start of its day or hour."
    )
    dated_by: Literal["seen", "modified", "path"] = Field(
        default="seen",
        description="Which window a document belongs to: the one in which the change was `seen`, "
        "the time the store says it was `modified`, or a date in its `path`.",
    )
    include: tuple[Glob, ...] = Field(
        default=("**",), min_length=1, description="Globs below `url` of the documents to take."
    )
    exclude: tuple[Glob, ...] = Field(
        default=(".*",),
        description="Globs below `url`, as in .gitignore, of the documents to leave, `include` or "
        "not; by default hidden files and folders.",
    )
    max_deletion_share: Share = Field(
        default=0.5,
        description="A listing without more than this share of the known documents is refused "
        "and deletes nothing.",
    )
    max_dead_letter_share: Share = Field(
        default=0.2,
        description="A page with more than this share of dead letters fails its check.",
    )
    schedule: Cron | None = Field(
        default=None,
        description="Cron line (UTC) of the source's schedule; null for one run per window.",
    )
    tenant: TenantName = Field(
        default=DEFAULT_TENANT,
        description="Whose documents these are; what belongs to different tenants never meets.",
    )
    acl: AclSettings | None = Field(
        default=None, description="Who may read the documents; null for everybody."
    )
    safety: SafetySettings = Field(
        default=SafetySettings(), description="Secrets, personal data, and text made for models."
    )
    near_duplicates: Annotated[float, Field(strict=True, ge=0.5, le=1)] | None = Field(
        default=0.9,
        description="Likeness (Jaccard of word shingles) from which two documents count as near "
        "duplicates; null to leave them alone.",
    )
    translate: TranslationSettings | None = Field(
        default=None, description="Translation before indexing; null for none."
    )

    @field_validator("start")
    @classmethod
    def _aligned(cls, start: datetime, info: ValidationInfo) -> datetime:
        hour = start.hour if info.data.get("cadence") == "hourly" else 0
        return start.replace(hour=hour, minute=0, second=0, microsecond=0)


class Limits(Section):
    """What parsing one document may take; a document over a limit becomes a dead letter."""

    max_bytes: Count = Field(default=50_000_000, description="Bytes of a document as stored.")
    max_inflated_bytes: Count = Field(
        default=200_000_000, description="Bytes of a document once unpacked."
    )
    max_pages: Count = Field(default=2000, description="Pages of a document.")
    parse_seconds: Seconds = Field(
        default=60.0,
        description="Seconds that parsing may be silent; each page done ends the silence. In all "
        "it may take as long, and `ocr.page_seconds` for each page that was done.",
    )
    parse_memory_mb: Count = Field(default=1024, description="Memory of the parser in MB.")


class Settings(Section):
    """Everything a platform is told: what `load` reads. `home` comes from RAG_PLATFORM_HOME."""

    home: Path = Field(description="State folder, absolute.")
    storage: Location = Field(
        default_factory=lambda data: (data["home"] / "storage").as_uri(),
        description="Where pages and document bytes are kept: a folder or s3://bucket/prefix.",
    )
    catalog: Catalog = Field(
        default_factory=lambda data: CatalogUrl(f"sqlite:///{data['home'] / 'catalog.db'}"),
        description="Database: sqlite:///file.db or postgresql+psycopg://user:pw@host/database.",
    )
    vector_store: VectorStore = Field(
        default="embedded",
        description="`embedded` (in process, below the state folder) or the URL of a Qdrant "
        "server; its key is QDRANT_API_KEY.",
    )
    s3: S3Settings = Field(default=S3Settings(), description="How to reach S3.")
    llm: LlmSettings = Field(default=LlmSettings(), description="Models that are paid for.")
    mlflow: MlflowSettings = Field(
        default=MlflowSettings(), description="Where prompts and models are registered."
    )
    sources: dict[SourceName, SourceSettings] = Field(
        default_factory=dict, description="Sources of documents by name."
    )
    limits: Limits = Field(default=Limits(), description="Limits of parsing one document.")
    ocr: OcrSettings = Field(default=OcrSettings(), description="Pages that are pictures.")
    enrichment: EnrichmentSettings = Field(
        default=EnrichmentSettings(), description="What models add to documents."
    )
    rides: RidesSettings | None = Field(
        default=None, description="The morning report on taxi rides; null for none."
    )
    models: dict[ModelName, ModelSettings] = Field(
        default_factory=dict,
        description="Models that are trained here, by name; `{}` for one as it comes.",
    )
    notifications: NotificationSettings = Field(
        default=NotificationSettings(), description="Who is told what happened."
    )
    indexes: dict[IndexName, IndexSettings] = Field(
        default_factory=lambda: {"docs_v1": IndexSettings()},
        min_length=1,
        description="Index versions by name.",
    )
    live: str = Field(
        default=None,
        validate_default=True,
        description="The index that answers until another is promoted; may be left out where "
        "there is one only.",
    )
    golden: dict[Name, GoldenSettings] = Field(
        default_factory=dict, description="Queries with known answers, by name."
    )
    promotion: PromotionSettings = Field(
        default=PromotionSettings(), description="How an index version becomes the live one."
    )
    search: SearchSettings = Field(
        default=SearchSettings(), description="How the live index is searched and asked."
    )
    compute: ComputeSettings = Field(
        default=ComputeSettings(), description="Where bulk work is done."
    )
    console: ConsoleSettings = Field(
        default=ConsoleSettings(), description="The console in the browser, and links."
    )
    lock_timeout_s: Seconds = Field(
        default=60.0,
        description="Seconds to wait for what another process holds: the embedded vector engine, "
        "a source that is being asked, an index that is being written.",
    )
    show_content: Annotated[bool, Field(strict=True)] = Field(
        default=True,
        description="Whether tables in Dagster's UI show passages of documents and what models "
        "made of them; its event log keeps what they show.",
    )
    automation: Annotated[bool, Field(strict=True)] = Field(
        default=True, description="Whether schedules and sensors run from the start."
    )

    @field_validator("live", mode="before")
    @classmethod
    def _is_an_index(cls, live: Any, info: ValidationInfo) -> Any:
        names = list(info.data.get("indexes", ()))
        if live is None and len(names) == 1:
            return names[0]
        if names and live not in names:
            raise ValueError(f"must name one of the indexes: {', '.join(names)}")
        return live or ""

    @field_validator("enrichment")
    @classmethod
    def _of_sources(cls, enrichment: EnrichmentSettings, info: ValidationInfo) -> Any:
        sources = info.data.get("sources")
        for name in enrichment.sources:
            if sources is not None and name not in sources:
                known = ", ".join(sources) or "none"
                raise ValueError(f"sources: {name!r} is no source; there are: {known}")
        return enrichment

    @field_validator("rides")
    @classmethod
    def _own_name(cls, rides: RidesSettings | None, info: ValidationInfo) -> Any:
        if rides is not None and "rides" in info.data.get("sources", {}):
            raise ValueError("there is a source of this name; give the source another")
        return rides

    @field_validator("models")
    @classmethod
    def _own_names(cls, models: dict[str, ModelSettings], info: ValidationInfo) -> Any:
        taken = {*info.data.get("sources", ()), "rides"} & {*models}
        if taken:
            raise ValueError(f"{min(taken)}: there is a source of this name; give it another")
        return models

    @field_validator("golden")
    @classmethod
    def _about_sources(cls, golden: dict[str, GoldenSettings], info: ValidationInfo) -> Any:
        sources = list(info.data.get("sources", ()))
        for name, rules in golden.items():
            known = ", ".join(sources) or "none"
            if rules.source is None and len(sources) != 1:
                raise ValueError(f"{name}: say the `source` of the documents; there are: {known}")
            if rules.source is not None and rules.source not in sources:
                raise ValueError(f"{name}: {rules.source!r} is no source; there are: {known}")
        return golden

    @field_validator("search")
    @classmethod
    def _of_an_index(cls, search: SearchSettings, info: ValidationInfo) -> Any:
        names = list(info.data.get("indexes", ()))
        if search.experiment and names and search.experiment.challenger not in names:
            raise ValueError(
                f"experiment: challenger must name one of the indexes: {', '.join(names)}"
            )
        return search

    @property
    def enabled_models(self) -> dict[str, ModelSettings]:
        """The models that are trained and served."""
        return {name: model for name, model in self.models.items() if model.enabled}

    @property
    def catalog_url(self) -> str:
        """The catalog's URL with its password: for the connection, not for showing."""
        return self.catalog.get_secret_value()

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking and registry address."""
        return self.mlflow.tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def vectors_dir(self) -> Path:
        """Where the embedded vector engine keeps its files."""
        return self.home / "vectors"


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in the file `path`, overridden by RAG_PLATFORM__SECTION__KEY variables.

    Without `path`, the file is RAG_PLATFORM_CONFIG, else platform.yaml in the project root. State
    goes to RAG_PLATFORM_HOME, else .rag_platform in the project root. Raises SettingsError with
    every problem found.
    """
    file = _file(path, environ)
    tree = read_yaml(_text(file), _shown(file))
    if tree.value is None and not tree.problems:
        tree.value = {}
    if not isinstance(tree.value, dict):
        tree.report((), "settings must be a mapping (key: value)")
        raise SettingsError(str(tree.problems[0]))
    override(tree, environ)
    if "home" in tree.value:
        tree.report(("home",), "unknown setting; the state folder is set by RAG_PLATFORM_HOME")
    settings = None
    home = _home(environ)
    try:
        settings = Settings.model_validate(
            tree.value | {"home": home}, context={"folder": file.parent, "home": home}
        )
    except ValidationError as error:
        tree.problems += explain(error, Settings, tree)
    # Raised out of the except block: a traceback must not carry pydantic's error with its values.
    if settings is None or tree.problems:
        problems = sorted(tree.problems, key=lambda problem: problem.mark)
        raise SettingsError(*map(str, problems))
    return settings


def _file(path: Path | None, environ: Mapping[str, str]) -> Path:
    named = environ.get("RAG_PLATFORM_CONFIG")
    file = Path(path or named or PROJECT_ROOT / "platform.yaml").expanduser().absolute()
    if file.exists():
        return file
    if path:
        advice = "no such settings file; correct the path"
    elif named:
        advice = "no such settings file; RAG_PLATFORM_CONFIG names it: correct or unset it"
    else:
        advice = (
            "no settings file yet; write it (docs/settings.md lists what it may hold) "
            "or name yours in RAG_PLATFORM_CONFIG"
        )
    raise SettingsError(f"{_shown(file)}: {advice}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{_shown(file)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text at byte {error.start}; save it as UTF-8"
        raise SettingsError(f"{_shown(file)}: {message}") from None


def _shown(file: Path) -> str:
    """The file as a person would name it: from the working directory where it lies below."""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _home(environ: Mapping[str, str]) -> Path:
    try:
        home = absolute(
            environ.get("RAG_PLATFORM_HOME") or str(PROJECT_ROOT / ".rag_platform"), Path.cwd()
        )
    except ValueError as error:
        raise SettingsError(f"RAG_PLATFORM_HOME: {error}") from None
    # A database URL has no way to write a question mark in the file's name.
    if "?" in str(home):
        raise SettingsError(f"RAG_PLATFORM_HOME: {home} holds a '?'; choose another folder")
    return home
