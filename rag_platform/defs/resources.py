"""The one place that turns settings into Dagster resources."""

import os

import dagster as dg

from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


def platform_resource(settings: Settings) -> PlatformResource:
    """The platform; with S3 and OpenAI resources where the settings name such services."""
    urls = [settings.storage, *(source.url for source in settings.sources.values())]
    is_paid = any(index.embedder.model != "wordllama" for index in settings.indexes.values())
    if not is_paid and not any(url.startswith("s3:") for url in urls):
        return PlatformResource()
    from rag_platform.resources.connected import ConnectedPlatformResource
    from rag_platform.resources.openai import PlatformOpenAIResource
    from rag_platform.resources.s3 import PlatformS3Resource

    return ConnectedPlatformResource(
        s3=PlatformS3Resource(
            endpoint_url=settings.s3.endpoint_url,
            region_name=settings.s3.region,
            profile_name=settings.s3.profile,
            aws_access_key_id=_secret("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=_secret("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=_secret("AWS_SESSION_TOKEN"),
        ),
        openai=PlatformOpenAIResource(
            api_key=_secret("OPENAI_API_KEY") or "",
            base_url=str(settings.llm.base_url),
        ),
    )


def _secret(name: str) -> str | None:
    """A reference that Dagster resolves in the run, so that no value enters the definitions."""
    return dg.EnvVar(name) if os.environ.get(name) else None
