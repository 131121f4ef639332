"""The kinds of value that settings are made of: each checks what was written and normalises it.

A relative path starts from the folder given as validation context, `{"folder": Path}`, which is the
folder of the settings file; without a context, from the working directory.
"""

import os
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    ValidationInfo,
)

from rag_platform.settings_source import masked

STAGES = (
    *("raw_docs", "parsed_docs", "clean_docs", "translated_docs"),
    *("chunks", "embeddings", "vector_index"),
)


# Whose documents are those of a source that says nothing of it.
DEFAULT_TENANT = "default"


class Section(BaseModel):
    """Base of every part of the settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class CatalogUrl(Secret[str]):
    """A database URL that shows itself without its password."""

    def _display(self) -> str:
        return masked(self.get_secret_value())


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError("a name is lower-case letters, digits and _, and begins with a letter")
    return name


def _index_name(name: str) -> str:
    if name in STAGES:
        raise ValueError(f"reserved: {', '.join(STAGES)} are names of stages; choose another")
    return _name(name)


def _prompt_version(version: str) -> str:
    if version != "latest" and not re.fullmatch(r"v[0-9]{3}", version):
        raise ValueError("must be `latest` or a version such as v001")
    return version


def _label(label: str) -> str:
    if not re.fullmatch(r"[^\W_][\w &/-]{0,39}", label) or label != label.strip():
        raise ValueError("a label is up to 40 letters, digits, spaces and _ - & /")
    return label


def _absolute_folder(path: Any, info: ValidationInfo) -> Path:
    if not isinstance(path, str | Path):
        raise ValueError("must be a path")
    return absolute(str(path), _folder(info))


def _folder(info: ValidationInfo) -> Path:
    return info.context["folder"] if info.context else Path.cwd()


def absolute(path: str, folder: Path) -> Path:
    """`path` from `folder`, with ~ and .. worked out; ValueError where that cannot be."""
    if not path or "\0" in path:
        raise ValueError("the path is empty or holds a NUL character")
    # abspath, not resolve(): a link to the current release stays the address of the release.
    try:
        return Path(os.path.abspath(folder / Path(path).expanduser()))
    except RuntimeError:
        raise ValueError("the path begins with ~ but no home folder is known for it") from None


def _location(url: str, info: ValidationInfo) -> str:
    """A folder (path or file:// URL) as an absolute file:// URL, or s3://bucket/prefix.

    A path may begin with $RAG_PLATFORM_HOME, the state folder: `home` of the context.
    """
    if info.context and "home" in info.context and url.startswith("$RAG_PLATFORM_HOME/"):
        return absolute(url.partition("/")[2], info.context["home"]).as_uri()
    scheme, separator, rest = url.partition("://")
    if not separator:
        return absolute(url, _folder(info)).as_uri()
    if scheme == "file" and re.match(r"/|\.\.?(/|$)|~", rest):
        return absolute(unquote(rest), _folder(info)).as_uri()
    if scheme == "s3" and re.match(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$)", rest):
        return url.rstrip("/")
    raise ValueError("must be a folder (./docs or file:///data/docs) or s3://bucket/prefix")


def _source_url(url: str, info: ValidationInfo) -> str:
    """A location, or the address of another kind of source: scheme://what, without a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("file", "s3"):
        return _location(url, info)
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not rest or re.search(r"\s", url):
        raise ValueError("must be a folder, s3://bucket/prefix, or scheme://what of a source kind")
    if "@" in rest.partition("/")[0]:
        raise ValueError("must not hold a user or password; they come from the environment")
    return url


def _http(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"\s", url):
        raise ValueError("must be a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; keys come from the environment")
    return url.rstrip("/")


def _vector_store(address: str) -> str:
    if address != "embedded" and "://" not in address:
        raise ValueError("must be 'embedded' or the URL of a Qdrant server, http(s)://host:6333")
    return address if address == "embedded" else _http(address)


def _catalog(secret: CatalogUrl, info: ValidationInfo) -> CatalogUrl:
    url = secret.get_secret_value()
    if re.match(r"postgresql\+psycopg://[^/]*/.", url):
        return secret
    path = url.removeprefix("sqlite:///")
    if path == url or path in ("", ":memory:") or "?" in path:
        raise ValueError("must be sqlite:///file.db or postgresql+psycopg://user:pw@host/database")
    return CatalogUrl(f"sqlite:///{absolute(path, _folder(info))}")


def _moment(value: Any) -> datetime:
    """A date, a datetime or either as ISO text, in UTC; no zone given means UTC."""
    if not isinstance(value, date | str):
        raise ValueError("must be a date (2026-06-30) or a time (2026-06-30T06:00:00Z)")
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no date or time; write 2026-06-30 or 2026-06-30T06:00:00Z") from None


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError("is no time zone; write UTC or one such as Europe/Berlin") from None
    return name


_CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _cron(line: str) -> str:
    fields = line.split()
    parts = [
        (part, low, high)
        for text, (low, high) in zip(fields, _CRON_RANGES, strict=False)
        for part in text.split(",")
    ]
    if len(fields) != len(_CRON_RANGES) or not all(_cron_part(*part) for part in parts):
        raise ValueError("must be a cron line of five fields in numbers, such as '0 6 * * 1-5'")
    return " ".join(fields)


def _cron_part(text: str, low: int, high: int) -> bool:
    match = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([1-9][0-9]?))?", text)
    if not match:
        return False
    first, last = int(match[1] or low), int(match[2] or match[1] or high)
    return low <= first <= last <= high


def _glob(pattern: str) -> str:
    if "!" in pattern or "\\" in pattern:  # only with those can one be malformed
        import pathspec

        try:
            pathspec.GitIgnoreSpec.from_lines([pattern], backend="simple")
        except ValueError as error:
            raise ValueError("is no pattern as in .gitignore") from error
    return pattern


Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, gt=0)]
Dollars = Annotated[Decimal, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
PromptVersion = Annotated[str, AfterValidator(_prompt_version)]
Label = Annotated[str, AfterValidator(_label)]
Folder = Annotated[Path, BeforeValidator(_absolute_folder)]
Glob = Annotated[str, Field(min_length=1), AfterValidator(_glob)]
Location = Annotated[str, AfterValidator(_location)]
SourceUrl = Annotated[str, AfterValidator(_source_url)]
HttpUrl = Annotated[str, AfterValidator(_http)]
VectorStore = Annotated[str, AfterValidator(_vector_store)]
Catalog = Annotated[CatalogUrl, AfterValidator(_catalog)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Cron = Annotated[str, AfterValidator(_cron)]
Timezone = Annotated[str, AfterValidator(_timezone)]
SourceName = Annotated[str, AfterValidator(_name)]
IndexName = Annotated[str, AfterValidator(_index_name)]
TenantName = Annotated[str, AfterValidator(_name)]
ModelName = Annotated[str, AfterValidator(_name)]
