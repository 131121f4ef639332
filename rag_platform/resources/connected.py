"""The platform resource where S3 or a paid service is configured.

Apart from `platform.py` because boto3 and openai take seconds to import, which a code location on
the embedded defaults must not pay.
"""

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.resources.openai import PlatformOpenAIResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.resources.s3 import PlatformS3Resource
from rag_platform.storage.objects import S3Connection


class ConnectedPlatformResource(PlatformResource):
    """A platform with its credentials given as Dagster resources."""

    s3: PlatformS3Resource
    openai: PlatformOpenAIResource

    def s3_connection(self) -> S3Connection:
        """How to reach S3."""
        return self.s3.connection()

    def openai_connection(self) -> OpenAIConnection:
        """How to reach the OpenAI-compatible service."""
        return self.openai.connection()
