"""The demo corpus: a documentation folder replayed day by day.

`demo/corpus/<day>/changes.json` names what a day added, modified, deleted and renamed;
`demo/corpus/<day>/files/` holds the new content. The first day is the base: all added.
"""

import os
import shutil
from datetime import UTC, date, datetime, time
from pathlib import Path, PurePosixPath
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rag_platform.errors import PlatformError

CORPUS = Path(__file__).resolve().parents[1] / "demo" / "corpus"


class DemoCorpusInvalid(PlatformError):
    """The corpus is missing or names a path it may not."""


def _path_below_target(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or set(path) & set("\\:\0"):
        raise ValueError(f"{path!r} is not a plain path below the folder")
    return path


Key = Annotated[str, AfterValidator(_path_below_target)]


class DayChanges(BaseModel):
    """What one day changed, by path below the folder; `renamed` maps old to new."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str = Field(description="the upstream commit at the end of the day")
    note: str = Field(description="what is staged that day, empty if nothing")
    added: tuple[Key, ...] = ()
    modified: tuple[Key, ...] = ()
    deleted: tuple[Key, ...] = ()
    renamed: dict[Key, Key] = {}


def days(corpus: Path = CORPUS) -> list[date]:
    """The days of the corpus, oldest first; the first is the base.

    Raises DemoCorpusInvalid when there is none.
    """
    found = sorted(path.parent.name for path in corpus.glob("????-??-??/changes.json"))
    if not found:
        raise DemoCorpusInvalid(f"{corpus}: no demo corpus here. Run the demo from a full checkout")
    return [date.fromisoformat(name) for name in found]


def read_day(corpus: Path, day: date) -> DayChanges:
    """The changes of one day, validated. Raises DemoCorpusInvalid."""
    manifest = corpus / day.isoformat() / "changes.json"
    if not manifest.is_file():
        raise DemoCorpusInvalid(f"{manifest}: not found. The corpus has no such day")
    try:
        return DayChanges.model_validate_json(manifest.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DemoCorpusInvalid(
            f"{manifest}: {where}: {first['msg']}. Restore demo/corpus from the repository"
        ) from error


class Question(BaseModel):
    """A question that the corpus answers from the day `since` on."""

    question: str
    documents: tuple[Key, ...]
    quote: str
    page: int | None = None
    since: date


def question(corpus: Path, last: date) -> Question | None:
    """One that is answered after the day `last`, by preference from the page of a PDF."""
    file = corpus.parent / "questions.yaml"
    try:
        written = yaml.safe_load(file.read_text(encoding="utf-8"))["questions"]
        known = [Question.model_validate(entry) for entry in written]
    except (OSError, KeyError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise DemoCorpusInvalid(
            f"{file}: cannot be read ({type(error).__name__}). Restore it from the repository"
        ) from error
    answered = [found for found in known if found.since <= last]
    return max(answered, key=lambda found: (found.page is not None, found.since), default=None)


def apply_day(corpus: Path, day: date, target: Path) -> DayChanges:
    """Brings `target` from the state of the day before to that of `day`.

    Every file appears whole or not at all, and carries noon UTC of the day as its modified time.
    Doing a day again, also after it was cut short, gives the same tree and rewrites nothing.
    Raises DemoCorpusInvalid before anything is written when the manifest is not valid.
    """
    changes = read_day(corpus, day)
    files = corpus / day.isoformat() / "files"
    target.mkdir(parents=True, exist_ok=True)
    for old, new in changes.renamed.items():
        if (target / old).exists():
            (target / new).parent.mkdir(parents=True, exist_ok=True)
            (target / old).replace(target / new)
            _remove_empty_folders(target, old)
    for key in (*changes.added, *changes.modified):
        _write(files / key, target / key, day=day, partial=target.with_name(f".{target.name}.part"))
    for key in changes.deleted:
        (target / key).unlink(missing_ok=True)
        _remove_empty_folders(target, key)
    return changes


def _write(source: Path, destination: Path, *, day: date, partial: Path) -> None:
    """Copies through `partial`, which lies beside the folder: no listing ever shows it."""
    if destination.is_file() and destination.read_bytes() == source.read_bytes():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, partial)
    noon = datetime.combine(day, time(12), tzinfo=UTC).timestamp()
    os.utime(partial, (noon, noon))
    partial.replace(destination)


def _remove_empty_folders(target: Path, key: str) -> None:
    for parent in list(PurePosixPath(key).parents)[:-1]:
        folder = target / parent
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
