"""Sitemaps (sitemaps.org): an address of every page of a site, with the day of its last change.

A sitemap is read whole or not at all: one that breaks off must not look like pages that are gone.
"""

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.parsers import expat

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.web import bodies
from rag_platform.documents.sources.web.client import WebClient, WebError
from rag_platform.documents.sources.web.urls import BadAddress, canonical, host_of
from rag_platform.storage.objects import display_url

_MAX_BYTES = 52_428_800  # of a file, inflated, as sitemaps.org has it
_MAX_ENTRIES = 50_000  # of a file, likewise
_MAX_FILES = 1_000
_MAX_DEPTH = 3
_MAX_NESTING = 16
_MAX_TEXT = 4_096
_TOO_MANY = f"more than {_MAX_ENTRIES:,} entries in one file"
_ENTRIES = {"urlset": "url", "sitemapindex": "sitemap"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An address as it is written, and its last change as it is written; "" for none."""

    url: str
    lastmod: str = ""


def read_sitemap(client: WebClient, url: str, *, hosts: frozenset[str]) -> Iterator[Entry]:
    """The entries of a sitemap, and of those that an index of sitemaps names.

    The latter must lie on one of the `hosts`. A text file with an address a line will do as well.
    Raises `SourceUnavailable`.
    """
    seen: set[str] = set()
    yield from _read(client, url, hosts, seen, 1)


def _read(
    client: WebClient, url: str, hosts: frozenset[str], seen: set[str], depth: int
) -> Iterator[Entry]:
    if url in seen:
        return
    seen.add(url)
    if depth > _MAX_DEPTH or len(seen) > _MAX_FILES:
        raise _unusable(url, f"more than {_MAX_FILES:,} sitemaps, or {_MAX_DEPTH} in each other")
    root, entries = _parsed(_content(client, url), url)
    if root == "urlset":
        yield from entries
        return
    for entry in entries:
        try:
            part = canonical(entry.url, url)
        except BadAddress as error:
            raise _unusable(url, f"it names a sitemap by what is no address: {error}") from error
        if host_of(part) not in hosts:
            raise _unusable(
                url, f"it names a sitemap on {host_of(part)}; if that is right, add it to `hosts`"
            )
        yield from _read(client, part, hosts, seen, depth + 1)


def _content(client: WebClient, url: str) -> bytes:
    try:
        answer = client.get(url, max_bytes=_MAX_BYTES)
        if answer.status != 200:
            raise _unusable(url, f"its server answers {answer.status}. Check the address")
        if answer.content.startswith(bodies.GZIP_MAGIC):
            return bodies.gunzip(answer.content, max_bytes=_MAX_BYTES)
    except WebError as error:
        raise SourceUnavailable(
            f"{error}; nothing was recorded.", transient=error.transient
        ) from error
    except (bodies.TooLarge, bodies.Broken) as error:
        raise _unusable(url, "it cannot be unpacked, or to too much") from error
    return answer.content


def _parsed(content: bytes, url: str) -> tuple[str, list[Entry]]:
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"\0" not in content[:100]:
        entries = list(itertools.islice(lines(content), _MAX_ENTRIES + 1))
        if len(entries) > _MAX_ENTRIES:
            raise _unusable(url, f"no sitemap: {_TOO_MANY}")
        return "urlset", entries
    reader = _Reader()
    try:
        reader.read(content)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise _unusable(url, f"no sitemap: {error}") from error
    return reader.root, reader.entries


def lines(content: bytes) -> Iterator[Entry]:
    """The addresses of a text file: one a line; empty lines and those with # are none."""
    for line in io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "replace"):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Entry(line.strip())


class _Reader:
    """The entries of one file. A document type, and so every entity, is refused."""

    def __init__(self) -> None:
        self.root = ""
        self.entries: list[Entry] = []
        self._path: list[str] = []
        self._texts: dict[str, str] = {}
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def read(self, content: bytes) -> None:
        """Raises expat's errors and ValueError."""
        self._parser.Parse(content, True)

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type, which a sitemap has not")

    def _start(self, tag: str, _: object) -> None:
        name = tag.rpartition(" ")[2]
        if not self._path:
            if name not in _ENTRIES:
                raise ValueError("its root is neither urlset nor sitemapindex")
            self.root = name
        self._path.append(name)
        if len(self._path) > _MAX_NESTING:
            raise ValueError("too many elements in each other")
        if len(self._path) == 2:
            self._texts = {}

    def _end(self, _: str) -> None:
        if len(self._path) == 2 and self._path[1] == _ENTRIES[self.root]:
            url = self._texts.get("loc", "").strip()
            if url:
                self.entries.append(Entry(url, self._texts.get("lastmod", "").strip()[:64]))
            if len(self.entries) > _MAX_ENTRIES:
                raise ValueError(_TOO_MANY)
        self._path.pop()

    def _text(self, text: str) -> None:
        # Extensions have elements named `loc` as well, further down.
        if len(self._path) == 3 and self._path[2] in ("loc", "lastmod"):
            kept = self._texts.get(self._path[2], "") + text
            self._texts[self._path[2]] = kept[:_MAX_TEXT]


def changed_at(lastmod: str) -> float | None:
    """A W3C date in seconds since 1970, the start of a day or month where it names no more."""
    text = f"{lastmod}-01" if re.fullmatch(r"[0-9]{4}-[0-9]{2}", lastmod) else lastmod
    text = f"{text}-01-01" if re.fullmatch(r"[0-9]{4}", text) else text
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _unusable(url: str, problem: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"{display_url(url)}: {problem}; nothing was recorded.", transient=False
    )
