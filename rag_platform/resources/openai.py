"""The OpenAI-compatible service as a Dagster resource."""

from dagster import InitResourceContext
from dagster_openai import OpenAIResource
from pydantic import Field

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm.prices import OPENAI_URL


class PlatformOpenAIResource(OpenAIResource):
    """Where the service is and the key for it; our own code makes the requests.

    `connection()` is for the platform's code, which reserves, retries and books by itself. The
    parent's `get_client()` books nothing; its client is held to the same timeout, one attempt.
    """

    timeout_s: float = Field(
        default=60.0, gt=0, description="Longest silence in an answer, in seconds."
    )

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Make the parent's client, without its ten minutes of waiting and its retries.

        Without a key there is none to make, and nothing is wrong yet: a platform may use S3 only.
        """
        if not self.api_key:
            return
        super().setup_for_execution(context)
        self._client = self._client.with_options(max_retries=0, timeout=self.timeout_s)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Close the parent's client, where one was made."""
        if self.api_key:
            super().teardown_after_execution(context)

    def connection(self) -> OpenAIConnection:
        """The configuration as a plain value."""
        return OpenAIConnection(self.base_url or OPENAI_URL, self.api_key, self.timeout_s)
