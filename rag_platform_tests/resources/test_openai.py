import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import openai
import pytest
import yaml
from pydantic import BaseModel

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.resources.connected import ConnectedPlatformResource
from rag_platform.resources.openai import PlatformOpenAIResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.resources.s3 import PlatformS3Resource
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer, failing


class Summary(BaseModel):
    summary: str


def connection_in_a_run(resource: PlatformOpenAIResource) -> OpenAIConnection:
    seen = []

    @dg.asset
    def ask(service: PlatformOpenAIResource) -> None:
        seen.append(service.connection())

    assert dg.materialize([ask], resources={"service": resource}).success
    return seen[0]


def test_the_key_is_read_from_the_environment_when_a_run_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resource = PlatformOpenAIResource(
            api_key=dg.EnvVar("OPENAI_API_KEY"), base_url="http://127.0.0.1:1/v1", timeout_s=7
        )
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = connection_in_a_run(resource)
    assert found == OpenAIConnection("http://127.0.0.1:1/v1", KEY, 7)
    assert KEY not in repr(found)


def test_without_a_key_a_run_ends_without_an_error() -> None:
    @dg.asset
    def idle(service: PlatformOpenAIResource) -> None:
        assert service.connection().api_key == ""

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [idle], resources={"service": PlatformOpenAIResource(api_key="")}, instance=instance
        )
        told = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert done.success
    assert not [line for line in told if "Teardown" in line and "failed" in line]


def test_openai_itself_is_the_default() -> None:
    found = connection_in_a_run(PlatformOpenAIResource(api_key=KEY))
    assert found == OpenAIConnection("https://api.openai.com/v1", KEY, 60)


def test_the_gateway_of_a_run_asks_the_service_of_the_resource(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address, key and timeout, whatever the settings say."""
    config = tmp_path / "platform.yaml"
    llm = {"base_url": "http://127.0.0.1:1/v1"}
    config.write_text(yaml.safe_dump({"llm": llm}), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found: list[Any] = []

    @dg.asset
    def ask(platform: PlatformResource) -> None:
        variables = {"title": "A", "text": "b", "entities": "{}"}
        gateway = platform.parts.llm.gateway("test")
        found.append(gateway.complete("document_summary", variables, Summary))
        found.append(platform.parts.llm.connection(platform.parts.llm.base_url))

    with OpenAIServer() as server:
        service = PlatformOpenAIResource(
            api_key=dg.EnvVar("OPENAI_API_KEY"), base_url=server.base_url, timeout_s=7
        )
        platform = ConnectedPlatformResource(s3=PlatformS3Resource(), openai=service)
        assert dg.materialize([ask], resources={"platform": platform}).success
        assert [request.authorization for request in server.requests] == [f"Bearer {KEY}"]
    assert found[0].model == "gpt-4o-mini"
    assert found[1] == OpenAIConnection(server.base_url, KEY, 7.0)


def test_the_parents_client_asks_once_and_does_not_wait_for_minutes() -> None:
    seen = []

    @dg.op
    def ask(context: dg.OpExecutionContext, service: PlatformOpenAIResource) -> None:
        with service.get_client(context) as client:
            with pytest.raises(openai.InternalServerError):
                client.embeddings.create(model="tiny", input=["a"])
            seen.append(client.timeout)

    @dg.job
    def asking() -> None:
        ask()

    with OpenAIServer() as server:
        server.faults.extend([failing(500), failing(500)])
        resource = PlatformOpenAIResource(api_key=KEY, base_url=server.base_url, timeout_s=7)
        assert asking.execute_in_process(resources={"service": resource}).success
        assert server.texts == ["a"]
    assert seen == [7]
