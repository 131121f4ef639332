from dataclasses import replace

import pytest

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm.errors import ServiceRefused
from rag_platform.platform_llm import LlmParts
from rag_platform.settings_llm import LlmSettings
from rag_platform.storage.catalog import Catalog

URL = "http://host/v1"


def parts(catalog: Catalog, service: OpenAIConnection | None = None) -> LlmParts:
    return LlmParts(LlmSettings(timeout_s=9), catalog, "none", service)


def test_the_key_of_the_environment_is_taken_without_what_stands_around_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\r\n")
    assert parts(catalog).connection(URL) == OpenAIConnection(URL, "sk-secret", 9)
    monkeypatch.setenv("OPENAI_API_KEY", "\n")
    assert parts(catalog).gateway("test").is_extractive


def test_a_resource_comes_before_settings_and_environment(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    service = OpenAIConnection("http://resource/v1", "sk-secret\n", 3)
    mine = parts(catalog, service)
    assert mine.base_url == "http://resource/v1"
    assert mine.connection(URL) == replace(service, base_url=URL, api_key="sk-secret")


@pytest.mark.parametrize("key", ["sk-sec\nret", "\u201csk-secret\u201d", "sk-sec\x00ret"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(catalog: Catalog, key: str) -> None:
    with pytest.raises(ServiceRefused, match="OPENAI_API_KEY") as caught:
        parts(catalog, OpenAIConnection(URL, key)).gateway("test")
    assert "sk-" not in str(caught.value)
