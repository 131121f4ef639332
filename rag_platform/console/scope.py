"""What a visitor may see of the catalog."""

from starlette.requests import Request

from rag_platform.console import web
from rag_platform.documents.access import EVERYTHING, Scope
from rag_platform.retrieval.readers import Reader


def scope(request: Request) -> Scope:
    """As whom the console searches, so much its pages show."""
    reader = web.desk(request).reader
    if not isinstance(reader, Reader):
        return EVERYTHING
    sources = {
        name: source
        for name, source in web.platform(request).settings.sources.items()
        if source.tenant == reader.tenant
    }
    return Scope(
        tuple(sources),
        reader.groups,
        frozenset(
            name
            for name, source in sources.items()
            if not (source.acl or source.options.get("acl"))
        ),
    )
