"""Who may read a document: tags that travel with it to every point made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.sources.base import (
    Fetched,
    ListedObject,
    NotTaken,
    Source,
    SourceUnavailable,
)
from rag_platform.documents.sources.selection import Patterns
from rag_platform.storage.schema import documents

EVERYBODY = "*"
_MAX_TAGS = 1_000


@dataclass(frozen=True)
class AccessRules:
    """Tags by patterns as in .gitignore: the last pattern that takes a key gives its tags."""

    rules: Sequence[tuple[Patterns, tuple[str, ...]]] = ()
    default: tuple[str, ...] | None = ()

    def of(self, found: ListedObject) -> tuple[str, ...] | None:
        """The tags of an object: its own where the source tells them; None: everybody."""
        return self.of_key(found.key) if found.acl is None else tuple(sorted(set(found.acl)))

    def of_key(self, key: str) -> tuple[str, ...] | None:
        """The tags that the rules give a key, whatever its source tells."""
        for spec, tags in reversed(self.rules):
            if key in spec:
                return tags
        return self.default


# Of a source without rules: for everybody, but for what it tells readers of itself.
OPEN = AccessRules(default=None)


@dataclass(frozen=True)
class Access:
    """Where the tags of a source's documents come from: `groups` for all of them, or `file`, the
    key of a YAML file in the source that maps patterns to lists of tags."""

    groups: tuple[str, ...] = ()
    file: str | None = None

    def rules(self, source: Source) -> AccessRules:
        """The rules as they are now. Raises `SourceUnavailable` where they cannot be read: nothing
        is taken whose readers are not known."""
        default = tuple(sorted(set(self.groups)))
        if self.file is None:
            return AccessRules((), default)
        where = source.uri(self.file)
        try:
            fetched = source.fetch(self.file)
        except NotTaken as error:
            raise SourceUnavailable(f"{where}: {error.detail}", transient=False) from error
        if not isinstance(fetched, Fetched):
            raise SourceUnavailable(
                f"{where}: not there, so that nobody knows who may read what. Write it: "
                "patterns to lists of tags, such as `'hr/**': [hr]`.",
                transient=False,
            )
        return AccessRules(_parsed(fetched.content, where), default)


def _parsed(content: bytes, where: str) -> list[tuple[Patterns, tuple[str, ...]]]:
    import yaml

    try:
        found = yaml.safe_load(content)
        if not isinstance(found, Mapping):
            raise ValueError("it must map patterns to lists of tags")
        return [
            (Patterns((str(pattern),)), _tags(pattern, tags)) for pattern, tags in found.items()
        ]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:300]
        raise SourceUnavailable(
            f"{where}: no access rules: {problem}. Nothing was taken.", transient=False
        ) from error


def _tags(pattern: Any, tags: Any) -> tuple[str, ...]:
    is_list = isinstance(tags, list) and len(tags) <= _MAX_TAGS
    if not is_list or not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise ValueError(f"{str(pattern)[:80]!r} must have a list of tags in words")
    return tuple(sorted({tag.strip() for tag in tags}))


def written(acl: Sequence[str] | None) -> str | None:
    """Tags as the catalog keeps them; None: everybody."""
    return None if acl is None else json.dumps(list(acl), ensure_ascii=False)


def read(acl: str | None) -> list[str]:
    """Tags as a point carries them."""
    return [EVERYBODY] if acl is None else list(json.loads(acl))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a person may see of the catalog: documents of `sources` (None: of all) for everybody or
    for one of `tags` (None: whoever they are for).

    Who could read a document that the catalog knows no more is not known: it is shown where its
    source is one of `unguarded`.
    """

    sources: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    unguarded: frozenset[str] = frozenset()

    def has(self, source: str) -> bool:
        """Whether anything of a source is shown."""
        return self.sources is None or source in self.sources

    def allows(self, source: str, acl: str | None) -> bool:
        """Whether a document is shown, by its tags as the catalog keeps them."""
        if self.tags is None:
            return self.has(source)
        return self.has(source) and not {EVERYBODY, *self.tags}.isdisjoint(read(acl))

    def allows_forgotten(self, source: str) -> bool:
        """Whether a document is shown that the catalog knows no more."""
        return self.has(source) and (self.tags is None or source in self.unguarded)

    def within(self) -> sa.ColumnElement[bool]:
        """Rows of `documents` that may be shown. What is found is to be held against `allows`:
        tags are looked for as text here."""
        conditions: list[sa.ColumnElement[bool]] = [sa.true()]
        if self.sources is not None:
            conditions.append(documents.c.source.in_(self.sources))
        if self.tags is not None:
            held = documents.c.acl
            words = [json.dumps(tag, ensure_ascii=False) for tag in (EVERYBODY, *self.tags)]
            named = (held.contains(word, autoescape=True) for word in words)
            conditions.append(sa.or_(held.is_(None), *named))
        return sa.and_(*conditions)

    def of_documents(self, source: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Rows about documents that may be shown, by the column of their source; `documents` is
        joined to them, outer. As for `within`, what is found is to be held against the rest."""
        if self.tags is None:
            return sa.true() if self.sources is None else source.in_(self.sources)
        unguarded = [name for name in self.unguarded if self.has(name)]
        return sa.or_(
            sa.and_(documents.c.doc_id.is_not(None), self.within()),
            sa.and_(documents.c.doc_id.is_(None), source.in_(unguarded)),
        )


# The platform's own view, and that of a person where nothing is guarded.
EVERYTHING = Scope()
