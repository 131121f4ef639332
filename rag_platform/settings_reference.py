"""The reference of settings as Markdown, written from the settings themselves."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rag_platform.settings import Settings
from rag_platform.settings_source import fields_at

_INTRODUCTION = """\
# Settings

<!-- Written by docs/generate_settings.py from rag_platform/settings.py; change it there. -->

Settings are read from `platform.yaml` in the project root, or from the file that
`RAG_PLATFORM_CONFIG` names. State is kept in `.rag_platform` in the project root, or in the folder
that `RAG_PLATFORM_HOME` names. Relative paths start from the folder of the settings file. An
unknown or unfit setting stops the program with its line and column:

    platform.yaml:7:5: sources.manuals.cadnce: unknown setting; did you mean 'cadence'?

Any setting can be overridden by an environment variable: `RAG_PLATFORM__` and the names of its
sections and its own joined by `__`, in upper case. The value is read as YAML:

    RAG_PLATFORM__LIVE=docs_v2
    RAG_PLATFORM__SOURCES__MANUALS__URL=s3://bucket/prefix
    RAG_PLATFORM__INDEXES__DOCS_V1__EMBEDDER='{model: text-embedding-3-small, dimensions: 512}'

Secrets are no settings: they are read from the environment alone, as `OPENAI_API_KEY`, `AWS_*`
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, ...) and `QDRANT_API_KEY`. The URL of the catalog may
hold a password; it is never shown.

Names of sources and indexes are lower-case letters, digits and `_`, beginning with a letter. YAML
aliases and tags are not read, and a key written twice is an error.
"""
# Defaults that are worked out from other settings.
_COMPUTED = {
    "storage": "`$RAG_PLATFORM_HOME/storage`",
    "catalog": "`sqlite:///$RAG_PLATFORM_HOME/catalog.db`",
    "indexes": "`docs_v1`, all defaults",
    "live": "the only index",
    "fallbacks": "`{large: [small]}` where there are these tiers",
}
_KINDS: dict[Any, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Decimal: "number",
    datetime: "date or time",
}


def reference_markdown(options: Mapping[str, type[BaseModel]]) -> str:
    """One table for each section of the settings: name, what is allowed, default, meaning; then
    one for the options of each kind of source, by the schemes of its addresses."""
    kinds = [
        line
        for schemes, model in options.items()
        if model.model_fields
        for line in _sections(f"sources.NAME.options of {schemes}", model)
    ]
    return "\n".join([_INTRODUCTION, *_sections("", Settings), *kinds])


def _sections(path: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## {f'`{path}`' if path else 'Top level'}\n"
    if path:
        yield f"{' '.join((model.__doc__ or '').split())}\n"
    yield "| setting | allowed | default | meaning |\n|---|---|---|---|"
    fields = fields_at(model, ())
    for name, field in fields.items():
        cells = (f"`{name}`", _allowed(field), _default(name, field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""
    for name, field in fields.items():
        inner, placeholder = _inner_model(field)
        if inner:
            yield from _sections(f"{path}.{name}".strip(".") + placeholder, inner)


def _inner_model(field: FieldInfo) -> tuple[type[BaseModel] | None, str]:
    """The model of a section, and what stands in its path for a name of the user's own."""
    kind: Any = field.annotation
    is_mapping, is_list = get_origin(kind) is dict, get_origin(kind) is tuple
    if is_mapping or is_list:
        kind = get_args(kind)[1 if is_mapping else 0]
    elif type(None) in get_args(kind):
        kind = get_args(kind)[0]
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    return (kind if is_model else None), (".NAME" if is_mapping else "[]" if is_list else "")


def _allowed(field: FieldInfo) -> str:
    nullable = type(None) in get_args(field.annotation)
    if _inner_model(field)[0]:
        return "section" + (" or null" if nullable else "")
    kind, bounds = field.annotation, list(field.metadata)
    if nullable:
        inner = get_args(kind)[0]
        is_plain = get_origin(inner) is None
        kind, *bounds = (inner,) if is_plain else get_args(inner)
    return _kind(kind, bounds) + (" or null" if nullable else "")


def _kind(kind: Any, bounds: list[Any]) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "list of texts"
    if get_origin(kind) is dict:
        return "mapping"
    bounds = [inner for bound in bounds for inner in getattr(bound, "metadata", [bound])]
    words = [
        f"{word} {getattr(bound, sign)}"
        for sign, word in (("gt", "above"), ("ge", "from"), ("le", "to"))
        for bound in bounds
        if getattr(bound, sign, None) is not None
    ]
    return " ".join([_KINDS.get(kind, "text"), *words])


def _default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined or isinstance(default, BaseModel) or default == {}:
        return ""
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    if isinstance(default, dict):
        return "`{" + ", ".join(f"{key}: {value}" for key, value in default.items()) + "}`"
    if default is None or isinstance(default, bool):
        return "`null`" if default is None else f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
