"""Searches as they are asked for in text: a file of queries, and filters."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rag_platform.errors import PlatformError
from rag_platform.storage.vectors.base import FILTER_FIELDS


class BadQueries(PlatformError):
    """A line of a query file cannot be read."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query under a name of the asker's own."""

    id: str | int
    query: str


def read_queries(lines: Iterable[str], name: str) -> list[Query]:
    """The queries of a JSON Lines file; empty lines are passed over. Raises `BadQueries`."""
    found = []
    try:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found.append(_query(line, f"{name}: line {number}"))
    except UnicodeDecodeError as error:
        raise BadQueries(f"{name}: not UTF-8 text; save it as UTF-8.") from error
    return found


def _query(line: str, where: str) -> Query:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadQueries(f'{where}: not JSON. Write {{"id": "1", "query": "..."}}.') from error
    if not isinstance(value, dict) or not value.keys() >= {"id", "query"}:
        raise BadQueries(f'{where}: needs "id" and "query". Write {{"id": "1", "query": "..."}}.')
    if isinstance(value["id"], bool) or not isinstance(value["id"], str | int):
        raise BadQueries(f'{where}: "id" must be text or a whole number.')
    if not isinstance(value["query"], str):
        raise BadQueries(f'{where}: "query" must be text.')
    return Query(value["id"], value["query"])


def parse_filters(written: Sequence[str]) -> dict[str, list[str]]:
    """field=value, any of the values where a field is repeated. ValueError for another field."""
    filters: dict[str, list[str]] = {}
    for text in written:
        field, separator, value = text.partition("=")
        if not separator or field not in FILTER_FIELDS:
            raise ValueError(f"{text!r}: write KEY=VALUE; a key is {', '.join(FILTER_FIELDS)}")
        filters.setdefault(field, []).append(value)
    return filters
