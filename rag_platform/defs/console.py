"""Links from assets to the console, where people decide about what an asset shows."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import dagster as dg

if TYPE_CHECKING:
    from rag_platform.settings import Settings


def console_link(settings: "Settings", *path: str, **query: str) -> dict[str, Any]:
    """Metadata with the address of a page; none where the settings have no `console.url`."""
    address = console_url(settings, *path, **query)
    return {"console": dg.MetadataValue.url(address)} if address else {}


def console_url(settings: "Settings", *path: str, **query: str) -> str | None:
    """The address of a page by the parts of its path; None where there is no `console.url`."""
    if settings.console.url is None:
        return None
    address = "/".join([str(settings.console.url).rstrip("/"), *(quote(p, safe="") for p in path)])
    return f"{address}?{urlencode(query)}" if query else address
