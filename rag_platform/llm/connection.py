"""How to reach an OpenAI-compatible service."""

from typing import Protocol


class Connection(Protocol):
    """Where the service is and the key for it. `timeout_s` is the longest silence awaited."""

    @property
    def base_url(self) -> str: ...
    @property
    def api_key(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...
