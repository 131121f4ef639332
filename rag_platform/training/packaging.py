"""A model as a folder of files that can be moved, checked and loaded without running its code.

    manifest.json   what it is, and the SHA-256 of every other file
    model/          fitted on all rows: it serves
    twin/           fitted on the rows that are not held back: it is compared
    profile.json    what the rows and the predictions looked like

The manifest names a trainer of the model's `ModelSpec`, never a class to import. Its own SHA-256
stands for the whole package: in MLflow's tags and in the ledger of promotions.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import TrainingError
from rag_platform.training.spec import ModelSpec
from rag_platform.training.trainer import Model, Services

if TYPE_CHECKING:
    from rag_platform.training.drift.profile import Profile

MANIFEST, MODEL, TWIN, PROFILE = "manifest.json", "model", "twin", "profile.json"
_FORMAT = 1
_LARGEST_MANIFEST = 4_000_000

# Pickles begin with their protocol and end with a full stop; older ones are known by name only.
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_PICKLE_NAMES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth")
_ZIP = b"PK\x03\x04"
# Containers that their libraries read without running what is in them.
_SAFE_ZIPS = (".skops", ".npz")


class UnusablePackage(TrainingError):
    """A package is not what was registered, or holds what is never loaded."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a package is. `fingerprint` is of everything that decides the model.

    `files` are the SHA-256 of all other files by their path; `pack` fills them in.
    """

    model: str
    trainer: str
    fingerprint: str
    data_sha256: str
    rows: int
    week: str
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = _FORMAT


@dataclass
class Packaged:
    """A package that was checked; its parts are loaded when they are asked for."""

    folder: Path
    manifest: Manifest
    spec: ModelSpec
    services: Services

    @cached_property
    def model(self) -> Model:
        """Fitted on all rows. Raises `UnusableData` as the trainer does."""
        return self._load(MODEL)

    @cached_property
    def twin(self) -> Model:
        """Fitted on the rows that are not held back."""
        return self._load(TWIN)

    @cached_property
    def profile(self) -> "Profile":
        """What the rows looked like that it was fitted on."""
        from rag_platform.training.drift.profile import Profile

        return Profile.from_json(json.loads((self.folder / PROFILE).read_text("utf-8")))

    def _load(self, part: str) -> Model:
        trainer = self.spec.trainers[self.manifest.trainer]
        return trainer.load(self.folder / part, services=self.services)


def pack(
    folder: Path, *, manifest: Manifest, model: Model, twin: Model, profile: "Profile"
) -> Manifest:
    """Write a package into a new folder; returns the manifest with its files.

    Raises `UnusablePackage` when a model saved what is never loaded.
    """
    for part, saved in ((MODEL, model), (TWIN, twin)):
        (folder / part).mkdir(parents=True)
        saved.save(folder / part)
    _write_json(folder / PROFILE, profile.to_json())
    with _about(manifest.model):
        files = {name: _checked_sha256(folder, name) for name in _names(folder)}
    whole = replace(manifest, files=files)
    _write_json(folder / MANIFEST, asdict(whole))
    return whole


def unpack(folder: Path, spec: ModelSpec, services: Services) -> Packaged:
    """Check a package of `spec` and open it. Raises `UnusablePackage`."""
    manifest = verify(folder, about=spec.name)
    with _about(spec.name):
        if manifest.model != spec.name:
            raise UnusablePackage(f"is a package of {manifest.model!r}.")
        if manifest.trainer not in spec.trainers:
            raise UnusablePackage(
                f"was made by the trainer {manifest.trainer!r}, which is none of its own: "
                f"{', '.join(spec.trainers)}. Use the code that made it, or train again."
            )
    return Packaged(folder, manifest, spec, services)


def verify(folder: Path, sha256: str | None = None, *, about: str = "") -> Manifest:
    """The manifest of a folder that holds exactly the files it names, unchanged.

    With `sha256` the manifest itself must be the one with this hash. Raises `UnusablePackage`,
    which says what it is `about`, by default the folder.
    """
    with _about(about or str(folder)):
        if not folder.is_dir() or not (folder / MANIFEST).is_file():
            raise UnusablePackage(f"there is no {MANIFEST}.")
        if sha256 is not None and manifest_sha256(folder) != sha256:
            raise UnusablePackage(
                f"{MANIFEST} is not the one that was registered: it was changed. Train again, or "
                "roll back."
            )
        manifest = _read_manifest(folder / MANIFEST)
        names = set(_names(folder))
        if names != set(manifest.files):
            odd = min(names ^ set(manifest.files))
            what = "is missing" if odd in manifest.files else "is not in the manifest"
            raise UnusablePackage(f"{odd!r} {what}: it was changed. Train again, or roll back.")
        for name, expected in manifest.files.items():
            if _checked_sha256(folder, name) != expected:
                raise UnusablePackage(
                    f"{name!r} is not what was packed: it was changed. Train again, or roll back."
                )
        return manifest


def manifest_sha256(folder: Path) -> str:
    """The hash that stands for a package."""
    return _sha256(folder / MANIFEST)


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Name in an error what the package is of."""
    try:
        yield
    except UnusablePackage as error:
        raise UnusablePackage(f"{what}: the package is refused: {error}") from error


def _read_manifest(path: Path) -> Manifest:
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise UnusablePackage(f"{MANIFEST} is too large for one.")
    try:
        manifest = Manifest(**json.loads(path.read_text("utf-8")))
        _check_types(manifest)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnusablePackage(f"{MANIFEST} is none ({error}).") from error
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts:
            raise UnusablePackage(f"{name!r} leaves its folder.")
    if manifest.format != _FORMAT:
        raise UnusablePackage(
            f"it is of form {manifest.format}, not {_FORMAT}. Use the code that wrote it, or train "
            "again."
        )
    return manifest


def _check_types(manifest: Manifest) -> None:
    texts = [manifest.model, manifest.trainer, manifest.fingerprint]
    texts += [manifest.data_sha256, manifest.week, *manifest.files, *manifest.files.values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is of another type")
    if not (isinstance(manifest.rows, int) and isinstance(manifest.format, int)):
        raise TypeError("a number is of another type")


def _names(folder: Path) -> Iterator[str]:
    """The paths of all files but the manifest; links and the like are refused."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UnusablePackage(f"{name!r} is neither a file nor a folder.")
        if path.is_file() and name != MANIFEST:
            yield name


def _checked_sha256(folder: Path, name: str) -> str:
    """The hash of a file that is neither a pickle nor an archive."""
    path = folder / name
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(0, path.stat().st_size - 1))
        last = file.read(1)
    if path.suffix.lower() in _PICKLE_NAMES or (head[:2] in _PICKLES and last == b"."):
        raise UnusablePackage(f"{name!r} is a pickle, which is never loaded.")
    if head == _ZIP and path.suffix.lower() not in _SAFE_ZIPS:
        raise UnusablePackage(f"{name!r} is an archive, which is never opened.")
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True), "utf-8")
