"""The kinds of source there are: the modules in `kinds/`, found by the scheme of an address."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rag_platform.documents.sources import kinds
from rag_platform.documents.sources.base import Place, Source
from rag_platform.documents.sources.selection import Selection
from rag_platform.errors import PlatformError
from rag_platform.settings_values import Section
from rag_platform.storage.objects import S3Connection


class BadSource(PlatformError):
    """A source's address or options that no kind of source takes."""


@functools.cache
def source_kinds() -> dict[str, type[Source]]:
    """Every kind by the schemes of its addresses."""
    found: dict[str, type[Source]] = {}
    for module in pkgutil.iter_modules(kinds.__path__):
        kind = importlib.import_module(f"{kinds.__name__}.{module.name}").KIND
        found |= dict.fromkeys(kind.schemes, kind)
    return found


def options_by_scheme() -> dict[str, type[Section]]:
    """The options of every kind, by the schemes of its addresses as people read them."""
    return {
        ", ".join(f"{scheme}://" for scheme in kind.schemes): kind.Options
        for kind in dict.fromkeys(source_kinds().values())
    }


def kind_of(name: str, url: str) -> type[Source]:
    """The kind of source that takes an address; raises `BadSource`."""
    scheme = url.partition("://")[0]
    known = source_kinds()
    if scheme not in known:
        raise BadSource(
            f"sources.{name}.url: no kind of source takes {scheme}://; there are: "
            f"{', '.join(sorted(known))}."
        )
    return known[scheme]


def options_of(name: str, url: str, written: Mapping[str, Any]) -> Section:
    """The options of a source as its kind reads them; raises `BadSource`."""
    kind = kind_of(name, url)
    try:
        return kind.Options.model_validate(dict(written))
    except ValidationError as error:
        problems = [
            f"sources.{name}.options.{'.'.join(map(str, found['loc']))}: {_said(found)}"
            for found in error.errors(include_url=False, include_input=False)
        ]
        known = ", ".join(kind.Options.model_fields) or "none"
        problems.append(f"options of {url.partition('://')[0]}:// are: {known}.")
    # Raised out of the except block: a traceback must not carry pydantic's error with its values.
    raise BadSource("\n".join(problems))


def _said(found: Any) -> str:
    if found["type"] == "extra_forbidden":
        return "unknown option"
    if found["type"] == "missing":
        return "missing"
    return str(found["msg"]).removeprefix("Value error, ")


def open_source(
    name: str,
    url: str,
    *,
    selection: Selection,
    options: Mapping[str, Any],
    s3: S3Connection | None = None,
) -> Source:
    """The source of some settings; raises `BadSource`."""
    place = Place(name, url, selection, options_of(name, url, options), s3)
    return kind_of(name, url).open(place)
