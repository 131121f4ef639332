"""The one place that turns settings into Dagster resources."""

import os

import dagster as dg

from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


def platform_resource(settings: Settings) -> PlatformResource:
    """The platform; with S3 and OpenAI resources where the settings name such services."""
    if not _asks_models(settings) and not _reaches_s3(settings):
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
            timeout_s=float(settings.llm.timeout_s),
        ),
    )


def _asks_models(settings: Settings) -> bool:
    """Whether anything is sent to a model: an embedder's, or with a key the gateway's."""
    is_asking = (
        bool(settings.enrichment.sources)
        or settings.rides is not None
        or bool(settings.enabled_models)
    )
    return any(not index.embedder.is_local for index in settings.indexes.values()) or (
        is_asking and bool(os.environ.get("OPENAI_API_KEY"))
    )


def _reaches_s3(settings: Settings) -> bool:
    urls = [settings.storage, *(source.url for source in settings.sources.values())]
    urls += [settings.rides.url] if settings.rides else []
    for model in settings.enabled_models.values():
        urls += [url for url in (model.data, model.scoring, model.labels) if url]
    return any(url.startswith("s3:") for url in urls)


def _secret(name: str) -> str | None:
    """A reference that Dagster resolves in the run, so that no value enters the definitions."""
    return dg.EnvVar(name) if os.environ.get(name) else None
