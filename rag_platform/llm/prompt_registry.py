"""The prompt files mirrored to MLflow's prompt registry, by content."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.errors import PlatformError
from rag_platform.llm.prompts import Prompt, PromptLibrary
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.mlflow import explained, mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHA256 = "rag_platform.sha256"
FILE_VERSION = "rag_platform.version"
SOURCE = "rag_platform.source"

# MLflow reserves `latest` for what was registered last; this is what runs work with.
ALIAS = "current"

_PAGE = 100


class PromptRegistryError(PlatformError):
    """MLflow cannot be reached, or refused a prompt. Runs work with the files all the same."""

    transient = True


@dataclass(frozen=True, slots=True)
class RegisteredPrompt:
    """A version of a prompt file and its number in MLflow; `is_new`: registered just now."""

    name: str
    version: str
    sha256: str
    registry_version: int
    is_new: bool
    is_current: bool


def sync(library: PromptLibrary, registry_uri: str, catalog: Catalog) -> list[RegisteredPrompt]:
    """Register what MLflow does not have yet of all prompt files, oldest version first.

    A version is known by the SHA-256 of its content, in a tag: running again, or on after being
    killed, registers nothing twice. The alias `current` is set to the version that runs work
    with. Raises `PromptRegistryError`.
    """
    with (
        explained(registry_uri, "prompts", PromptRegistryError),
        catalog.exclusive("prompt_registry"),
    ):
        client = mlflow_client(registry_uri)
        return [row for name in library.names() for row in _mirror(client, library, name)]


def _mirror(client: "MlflowClient", library: PromptLibrary, name: str) -> list[RegisteredPrompt]:
    known = _registered(client, name)
    current = library.get(name)
    rows = []
    for prompt in library.versions(name):
        is_new = prompt.sha256 not in known
        if is_new:
            known[prompt.sha256] = _register(client, prompt)
        number, is_current = known[prompt.sha256], prompt.version == current.version
        rows.append(
            RegisteredPrompt(name, prompt.version, prompt.sha256, number, is_new, is_current)
        )
        if is_current:
            client.set_prompt_alias(name, ALIAS, number)
    return rows


def _registered(client: "MlflowClient", name: str) -> dict[str, int]:
    """The numbers of the versions that MLflow has, by the hash of their content."""
    if client.get_prompt(name) is None:
        return {}
    found: dict[str, int] = {}
    token = None
    while True:
        page = client.search_prompt_versions(name, max_results=_PAGE, page_token=token)
        found |= {each.tags[SHA256]: int(each.version) for each in page if SHA256 in each.tags}
        token = page.token
        if not token:
            return found


def _register(client: "MlflowClient", prompt: Prompt) -> int:
    registered = client.register_prompt(
        prompt.name,
        [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.user},
        ],
        commit_message=prompt.description,
        tags={
            SHA256: prompt.sha256,
            FILE_VERSION: prompt.version,
            SOURCE: "built-in" if prompt.origin == "built-in" else "own",
        },
        model_config={"temperature": prompt.temperature, "max_tokens": prompt.max_output_tokens},
    )
    return int(registered.version)
