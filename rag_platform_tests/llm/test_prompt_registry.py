import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from rag_platform.llm import prompt_registry
from rag_platform.llm.prompt_registry import (
    FILE_VERSION,
    SHA256,
    SOURCE,
    PromptRegistryError,
    sync,
)
from rag_platform.llm.prompts import BUILT_IN, PromptLibrary
from rag_platform.storage.catalog import Catalog
from rag_platform_tests.llm.test_prompts import write


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that was migrated once, to be copied: that takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}").search_prompts()
    return file


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prompts"


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def library(folder: Path, catalog: Catalog, **pins: str) -> PromptLibrary:
    return PromptLibrary([folder], pins, catalog, "none")


def test_versions_are_registered_once_each(folder: Path, catalog: Catalog, uri: str) -> None:
    write(folder, "greet", "v001", temperature=0.5)
    write(folder, "greet", "v002", system="Be kind.")
    write(folder, "other", "v001")
    rows = sync(library(folder, catalog, greet="v001"), uri, catalog)
    assert [
        (row.name, row.version, row.registry_version, row.is_new, row.is_current) for row in rows
    ] == [
        ("greet", "v001", 1, True, True),
        ("greet", "v002", 2, True, False),
        ("other", "v001", 1, True, True),
    ]
    first, second = (client(uri).get_prompt_version("greet", number) for number in (1, 2))
    assert first.template == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "About {{topic}}:\n{{text}}"},
    ]
    assert second.template[0]["content"] == "Be kind."
    assert (first.commit_message, first.model_config) == (
        "For tests.",
        {"temperature": 0.5, "max_tokens": 50},
    )
    assert {name: first.tags[name] for name in (SHA256, FILE_VERSION, SOURCE)} == {
        SHA256: rows[0].sha256,
        FILE_VERSION: "v001",
        SOURCE: "own",
    }
    assert client(uri).get_prompt_version_by_alias("greet", "current").version == 1

    again = sync(library(folder, catalog), uri, catalog)
    assert [(row.registry_version, row.is_new) for row in again] == [
        (1, False),
        (2, False),
        (1, False),
    ]
    assert client(uri).get_prompt_version_by_alias("greet", "current").version == 2
    assert len(client(uri).search_prompt_versions("greet")) == 2


def test_equal_content_is_one_version_and_changed_content_a_new_one(
    folder: Path, catalog: Catalog, uri: str
) -> None:
    write(folder, "greet", "v001")
    write(folder, "greet", "v002", description="The same again.")
    assert [row.registry_version for row in sync(library(folder, catalog), uri, catalog)] == [1, 1]
    write(folder, "greet", "v002", user="{{text}}")
    rows = sync(library(folder, catalog), uri, catalog)
    assert [(row.registry_version, row.is_new) for row in rows] == [(1, False), (2, True)]


def test_what_was_registered_before_a_failure_is_not_registered_again(
    folder: Path, catalog: Catalog, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("v001", "v002", "v003"):
        write(folder, "greet", version, system=version)
    register, left = prompt_registry._register, [2]

    def failing(*arguments: Any) -> int:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return register(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(prompt_registry, "_register", failing)
        with pytest.raises(KeyboardInterrupt):
            sync(library(folder, catalog), uri, catalog)
    rows = sync(library(folder, catalog), uri, catalog)
    assert [(row.registry_version, row.is_new) for row in rows] == [
        (1, False),
        (2, False),
        (3, True),
    ]


def test_more_versions_than_a_page(
    folder: Path, catalog: Catalog, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_registry, "_PAGE", 2)
    for number in range(1, 6):
        write(folder, "greet", f"v{number:03d}", system=f"Number {number}.")
    sync(library(folder, catalog), uri, catalog)
    rows = sync(library(folder, catalog), uri, catalog)
    assert [row.registry_version for row in rows] == [1, 2, 3, 4, 5]
    assert not any(row.is_new for row in rows)


def test_the_built_in_prompts_are_taken(catalog: Catalog, uri: str) -> None:
    rows = sync(library(BUILT_IN, catalog), uri, catalog)
    assert {row.name for row in rows} >= {"document_entities", "ride_summary"}
    assert client(uri).get_prompt_version("ride_summary", 1).tags[SOURCE] == "built-in"


def test_a_model_of_the_same_name_is_told(folder: Path, catalog: Catalog, uri: str) -> None:
    write(folder, "greet", "v001")
    client(uri).create_registered_model("greet")
    with pytest.raises(PromptRegistryError, match="greet"):
        sync(library(folder, catalog), uri, catalog)


def test_an_unreachable_mlflow_is_told_at_once(folder: Path, catalog: Catalog) -> None:
    write(folder, "greet", "v001")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PromptRegistryError) as caught:
        sync(library(folder, catalog), f"http://user:secret@127.0.0.1:{port}", catalog)
    message = str(caught.value)
    assert f"http://user:***@127.0.0.1:{port}" in message
    assert "mlflow.tracking_uri" in message
    assert "secret" not in message
    assert caught.value.transient


def test_a_database_that_cannot_be_opened_is_told(
    folder: Path, catalog: Catalog, tmp_path: Path
) -> None:
    write(folder, "greet", "v001")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PromptRegistryError, match=r"mlflow\.tracking_uri"):
        sync(library(folder, catalog), f"sqlite:///{tmp_path}/file/mlflow.db", catalog)
