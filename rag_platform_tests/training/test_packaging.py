"""Packages: what is packed comes back, and nothing else is ever loaded."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.packaging import (
    UnusablePackage,
    manifest_sha256,
    unpack,
    verify,
)
from rag_platform_tests.training.put import packed
from rag_platform_tests.training.tiny import SERVICES, SPEC, TinyModel


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return packed(tmp_path / "package", 0.25)


def rewrite(package: Path, **changed: Any) -> None:
    """Change the manifest as somebody would who can count hashes."""
    path = package / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changed), "utf-8")


def add(package: Path, name: str, content: bytes) -> None:
    """Put a file into the package, and its right hash into the manifest."""
    (package / name).write_bytes(content)
    files = json.loads((package / "manifest.json").read_text("utf-8"))["files"]
    rewrite(package, files=files | {name: hashlib.sha256(content).hexdigest()})


def test_what_was_packed_comes_back(package: Path) -> None:
    found = unpack(package, SPEC, SERVICES)
    assert (found.model, found.twin) == (TinyModel(0.25), TinyModel(1.25))
    assert found.manifest == verify(package, manifest_sha256(package))
    model = (package / "model" / "tiny.json").read_bytes()
    assert found.manifest.files["model/tiny.json"] == hashlib.sha256(model).hexdigest()
    assert set(found.manifest.files) == {"model/tiny.json", "twin/tiny.json", "profile.json"}


def test_the_same_models_make_the_same_bytes(package: Path, tmp_path: Path) -> None:
    again = packed(tmp_path / "again", 0.25)
    assert manifest_sha256(package) == manifest_sha256(again)


def change_file(package: Path) -> None:
    (package / "model" / "tiny.json").write_text('{"threshold": 9.0}', "utf-8")


def add_unnamed(package: Path) -> None:
    (package / "twin" / "more.json").write_text("{}", "utf-8")


def remove(package: Path) -> None:
    (package / "twin" / "tiny.json").unlink()


def link(package: Path) -> None:
    file = package / "profile.json"
    (package.parent / "outside.json").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(package.parent / "outside.json")


def escape(package: Path) -> None:
    (package.parent / "outside.json").write_text("{}", "utf-8")
    rewrite(package, files={"../outside.json": hashlib.sha256(b"{}").hexdigest()})


def absolute(package: Path) -> None:
    rewrite(package, files={"/etc/passwd": "0" * 64})


def pickled(package: Path) -> None:
    add(package, "model/weights.bin", pickle.dumps({"a": 1}, protocol=4))


def pickled_by_name(package: Path) -> None:
    add(package, "model/weights.pkl", pickle.dumps({"a": 1}, protocol=0))


def zipped(package: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.json", "{}")
    add(package, "model/weights.bin", buffer.getvalue())


def other_model(package: Path) -> None:
    rewrite(package, model="other_model")


def other_trainer(package: Path) -> None:
    rewrite(package, trainer="os.system")


def other_form(package: Path) -> None:
    rewrite(package, format=2)


def no_json(package: Path) -> None:
    (package / "manifest.json").write_text("[", "utf-8")


def list_for_object(package: Path) -> None:
    (package / "manifest.json").write_text("[1]", "utf-8")


def other_type(package: Path) -> None:
    rewrite(package, trainer=["default"])


def unknown_field(package: Path) -> None:
    rewrite(package, code="import os")


def no_manifest(package: Path) -> None:
    (package / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change_file, "'model/tiny.json' is not what was packed"),
        (add_unnamed, "'twin/more.json' is not in the manifest"),
        (remove, "'twin/tiny.json' is missing"),
        (link, "'profile.json' is neither a file nor a folder"),
        (escape, r"'\.\./outside\.json' leaves its folder"),
        (absolute, "'/etc/passwd' leaves its folder"),
        (pickled, "'model/weights.bin' is a pickle"),
        (pickled_by_name, "'model/weights.pkl' is a pickle"),
        (zipped, "'model/weights.bin' is an archive"),
        (other_model, "tiny_model: the package is refused: is a package of 'other_model'"),
        (other_trainer, r"trainer 'os\.system', which is none of its own: default, shifted"),
        (other_form, "of form 2, not 1"),
        (no_json, "manifest.json is none"),
        (list_for_object, "manifest.json is none"),
        (other_type, "manifest.json is none"),
        (unknown_field, "manifest.json is none"),
        (no_manifest, r"there is no manifest\.json"),
    ],
)
def test_what_was_changed_is_refused(
    package: Path, tamper: Callable[[Path], None], said: str
) -> None:
    tamper(package)
    with pytest.raises(UnusablePackage, match=said) as caught:
        unpack(package, SPEC, SERVICES)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_fits_its_files_is_still_not_the_registered_one(package: Path) -> None:
    registered = manifest_sha256(package)
    add(package, "model/tiny.json", b'{"threshold": 9.0}')
    verify(package)
    with pytest.raises(UnusablePackage, match="is not the one that was registered"):
        verify(package, registered)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(b"PK\x03\x04")
    with pytest.raises(UnusablePackage, match=r"there is no manifest\.json"):
        unpack(tmp_path / "package", SPEC, SERVICES)


def test_a_model_that_saves_a_pickle_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: TinyModel, folder: Path) -> None:
        (folder / "model").write_bytes(pickle.dumps(self.threshold))

    monkeypatch.setattr(TinyModel, "save", save)
    with pytest.raises(UnusablePackage, match=r"tiny_model: .*'model/model' is a pickle"):
        packed(tmp_path / "package")


def test_a_folder_of_another_kind_is_told_by_its_trainer(package: Path) -> None:
    add(package, "model/tiny.json", b"{}")
    with pytest.raises(UnusableData, match="holds no tiny model"):
        _ = unpack(package, SPEC, SERVICES).model
