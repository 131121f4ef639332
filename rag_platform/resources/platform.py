"""The platform as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from rag_platform.platform import Platform
from rag_platform.settings import load

if TYPE_CHECKING:
    from rag_platform.encoders.openai import OpenAIConnection
    from rag_platform.storage.objects import S3Connection


class PlatformResource(dg.ConfigurableResource):
    """Everything the assets work with, read from platform.yaml when a run begins."""

    _platform: Platform | None = PrivateAttr(default=None)

    def s3_connection(self) -> "S3Connection | None":
        """How to reach S3; None where settings and environment say it all."""
        return None

    def openai_connection(self) -> "OpenAIConnection | None":
        """How to reach the OpenAI-compatible service; None likewise."""
        return None

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["PlatformResource"]:
        """Open for one run, and release afterwards."""
        self._platform = Platform(
            load(),
            run_id=context.run.run_id if context.run else "none",
            s3=self.s3_connection(),
            openai=self.openai_connection(),
        )
        try:
            yield self
        finally:
            self._platform.close()
            self._platform = None

    @property
    def parts(self) -> Platform:
        """The platform of the run."""
        if self._platform is None:
            raise RuntimeError("the platform resource is open during a run only")
        return self._platform
