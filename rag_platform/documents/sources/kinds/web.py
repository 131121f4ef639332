"""Pages of the web as a source: those of a sitemap, or of a list of addresses."""

import hashlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    Place,
    Source,
    SourceUnavailable,
    Unchanged,
)
from rag_platform.documents.sources.selection import Selection
from rag_platform.documents.sources.web.client import (
    Answer,
    Refused,
    Unavailable,
    WebClient,
    WebRules,
    http_date,
    plain,
)
from rag_platform.documents.sources.web.robots import Robots
from rag_platform.documents.sources.web.sitemap import Entry, changed_at, lines, read_sitemap
from rag_platform.documents.sources.web.urls import (
    BadAddress,
    canonical,
    host_of,
    key_of,
    url_of,
)
from rag_platform.settings_values import Count, Seconds, Section, Text
from rag_platform.storage.objects import display_url

logger = logging.getLogger(__name__)

_BATCH = 1_000
_GONE = frozenset({404, 410})
_CLOSED = frozenset({401, 403, 451})
# A page that failed so often in a row speaks for its host, which is then left alone.
_FAILURES = 5
# A date of a last change says nothing of changes on the same day, and clocks go wrong.
_SETTLED_S = 2 * 86_400.0
_MAX_SHOWN = 200


class WebOptions(Section):
    """What a source of the web needs besides its address."""

    urls: tuple[Text, ...] = Field(
        default=(),
        description="Addresses of the pages, where there is no sitemap at `url`; relative ones "
        "start there.",
    )
    list_file: Path | None = Field(
        default=None, description="Text file with an address a line (absolute path), as `urls`."
    )
    hosts: tuple[Text, ...] = Field(
        default=(), description="Hosts whose pages and sitemaps are taken besides the one of `url`."
    )
    private_hosts: tuple[Text, ...] = Field(
        default=(),
        description="Hosts (`host`, or `host:port` for other than the usual ports) that may lie on "
        "addresses of a private network.",
    )
    user_agent: Annotated[str, Field(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,199}$")] = Field(
        default="rag-platform", description="Name under which the hosts are asked."
    )
    rate: Annotated[float, Field(gt=0, le=1_000)] = Field(
        default=2.0, description="Most requests a second to a host."
    )
    timeout: Seconds = Field(default=30.0, description="Seconds that one request may take.")
    max_pages: Count = Field(default=50_000, description="Most pages; a longer listing is refused.")
    max_bytes: Count = Field(default=20_000_000, description="Most bytes of a page, inflated.")
    recheck_days: Annotated[float, Field(ge=0)] = Field(
        default=7.0,
        description="Days after which a page is asked again although the sitemap says that it has "
        "not changed.",
    )

    @field_validator("list_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path


class WebSource(Source):
    """The pages that a sitemap or a list names.

    A page is asked for with what is known of it, so that one that has not changed is not sent. One
    that is known and cannot be had for the moment stays as it is.
    """

    schemes = ("https", "http")
    Options = WebOptions
    sensor_seconds = 900

    def __init__(self, url: str, selection: Selection, options: WebOptions) -> None:
        self.url = url
        self._selection = selection
        self._options = options
        rules = WebRules(
            user_agent=options.user_agent,
            timeout_s=options.timeout,
            max_bytes=options.max_bytes,
            rate=options.rate,
            private_hosts=options.private_hosts,
        )
        self._client = WebClient(rules)
        self._robots = Robots(self._client)
        self._hosts = _Hosts()
        self._lastmod: dict[str, str] = {}

    @classmethod
    def open(cls, place: Place) -> Self:
        assert isinstance(place.options, WebOptions)
        return cls(place.url, place.selection, place.options)

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self._robots, self._hosts = Robots(self._client), _Hosts()
        found = self._pages()
        self._lastmod = {page.key: page.lastmod for page in found if page.lastmod}
        now = time.time()
        for start in range(0, len(found), _BATCH):
            yield [page.listed(now) for page in found[start : start + _BATCH]]

    def signal(self, since: str | None = None) -> str:
        """A digest over addresses and dates of the sitemap; a list without dates never tells."""
        pages = sorted(f"{page.key} {page.lastmod}" for page in self._pages())
        return hashlib.sha256("\n".join(pages).encode()).hexdigest()

    def fetch(self, key: str, known: Known | None = None) -> Fetched | Unchanged | None:
        url, now = url_of(key), time.time()
        lastmod = self._lastmod.get(key, "")
        memory = _Memory.read(known.etag) if known else _Memory()
        try:
            self._hosts.check(url)
            if known and memory.stands(lastmod, now, self._options.recheck_days):
                self._robots.check(url)
                return Unchanged(_modified(known.modified, now), known.etag)
            answer = self._client.get(url, memory.conditions(), check=self._robots.check)
        except Refused as error:
            raise NotTaken(error.reason, error.detail) from error
        except Unavailable as error:
            self._hosts.failed(url)
            if known is None:
                raise NotTaken(error.reason, f"{error.detail}; it is asked again") from error
            logger.warning("%s; it stays as it is known and is asked again", error)
            return Unchanged(_modified(known.modified, now), known.etag)
        self._hosts.answered(url)
        return _taken(answer, known, memory.after(answer, lastmod, now), now)

    def uri(self, key: str) -> str:
        return url_of(key)

    def _pages(self) -> "list[_Page]":
        """The pages by their keys, in the order in which they are listed first. Raises
        `SourceUnavailable`."""
        found: dict[str, _Page] = {}
        elsewhere: Counter[str] = Counter()
        for entry in self._entries():
            page = self._page(entry)
            if not (page.failure or self._is_own(page.url)):
                elsewhere[host_of(page.url)] += 1
            elif page.failure or page.key in self._selection:
                found.setdefault(page.key, page)
            if len(found) > self._options.max_pages:
                raise SourceUnavailable(
                    f"{display_url(self.url)}: more than {self._options.max_pages:,} pages; raise "
                    "`max_pages`, or exclude some. Nothing was recorded.",
                    transient=False,
                )
        if elsewhere:
            host, _ = elsewhere.most_common(1)[0]
            logger.warning(
                "%s: %d addresses lie on other hosts, such as %s, and were left; `hosts` names "
                "those that belong to the source",
                display_url(self.url),
                elsewhere.total(),
                host,
            )
        return list(found.values())

    def _entries(self) -> Iterator[Entry]:
        options = self._options
        if not options.urls and options.list_file is None:
            yield from read_sitemap(self._client, self._own(), hosts=self._own_hosts())
            return
        yield from map(Entry, options.urls)
        if options.list_file is not None:
            try:
                content = options.list_file.read_bytes()
            except OSError as error:
                raise SourceUnavailable(
                    f"{options.list_file}: the list of addresses cannot be read "
                    f"({error.strerror}). Nothing was recorded."
                ) from error
            yield from lines(content)

    def _own(self) -> str:
        try:
            return canonical(self.url)
        except BadAddress as error:
            raise SourceUnavailable(
                f"{display_url(self.url)}: no address of the web: {error}.", transient=False
            ) from error

    def _own_hosts(self) -> frozenset[str]:
        return frozenset({host_of(self._own()), *map(str.lower, self._options.hosts)})

    def _is_own(self, url: str) -> bool:
        """Whoever writes a list into the settings may name any host; a sitemap may not."""
        by_list = self._options.urls or self._options.list_file
        return bool(by_list) or host_of(url) in self._own_hosts()

    def _page(self, entry: Entry) -> "_Page":
        try:
            url = canonical(entry.url, self._own())
        except BadAddress as error:
            digest = hashlib.sha256(entry.url.encode("utf-8", "replace")).hexdigest()[:8]
            shown = display_url(ascii(entry.url)[1:-1])[:_MAX_SHOWN]
            return _Page(f"{shown} ({digest})", "", failure=f"no address of a page: {error}")
        return _Page(key_of(url), url, entry.lastmod)


@dataclass(frozen=True, slots=True)
class _Page:
    key: str
    url: str
    lastmod: str = ""
    failure: str = ""

    def listed(self, now: float) -> ListedObject:
        """Its size, and whether it has changed, only its host can tell."""
        modified = _modified(changed_at(self.lastmod), now)
        if self.failure:
            return ListedObject(self.key, 0, modified, "", "bad_name", self.failure)
        return ListedObject(self.key, 0, modified, None)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is kept of a page's last answer, as its etag: the header's, when it was last modified by
    that header and by the sitemap (both as they were written), and when it was asked."""

    etag: str = ""
    last_modified: str = ""
    lastmod: str = ""
    asked_at: float = 0.0

    @classmethod
    def read(cls, written: str | None) -> "_Memory":
        try:
            etag, last_modified, lastmod, asked_at = json.loads(written or "")
            return cls(str(etag), str(last_modified), str(lastmod), float(asked_at))
        except (ValueError, TypeError):
            return cls()  # noted by another kind of source under this name

    def written(self) -> str:
        values = [self.etag, self.last_modified, self.lastmod, self.asked_at]
        return json.dumps(values, ensure_ascii=False)

    def stands(self, lastmod: str, now: float, recheck_days: float) -> bool:
        """Whether the sitemap vouches for the page being as it was when it was asked."""
        changed = changed_at(lastmod)
        return (
            lastmod == self.lastmod
            and changed is not None
            and self.asked_at - changed > _SETTLED_S
            and 0 <= now - self.asked_at < recheck_days * 86_400
        )

    def conditions(self) -> dict[str, str]:
        """The headers that ask for a page only if it is another."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value}

    def after(self, answer: Answer, lastmod: str, now: float) -> "_Memory":
        """What is kept after an answer; one of 304 may leave out what is as before."""
        same = self if answer.status == 304 else _Memory()
        return _Memory(
            plain(answer.headers.get("etag", "")) or same.etag,
            plain(answer.headers.get("last-modified", "")) or same.last_modified,
            lastmod,
            float(int(now)),
        )


class _Hosts:
    """Which hosts answer."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()

    def check(self, url: str) -> None:
        """Raises `Unavailable` for a host that has been failing."""
        if self._failures[host_of(url)] >= _FAILURES:
            raise Unavailable(url, f"its host failed {_FAILURES} times in a row")

    def failed(self, url: str) -> None:
        with self._lock:
            self._failures[host_of(url)] += 1

    def answered(self, url: str) -> None:
        with self._lock:
            self._failures[host_of(url)] = 0


def _taken(
    answer: Answer, known: Known | None, memory: _Memory, now: float
) -> Fetched | Unchanged | None:
    """What an answer says of its page; raises `NotTaken`."""
    if answer.status in _GONE:
        return None
    if answer.status == 304 and known:
        return Unchanged(_modified(known.modified, now), memory.written())
    if answer.status in _CLOSED:
        raise NotTaken("unreadable", f"its server answers {answer.status}")
    if answer.status not in (200, 203):
        raise NotTaken("bad_answer", f"its server answers {answer.status}")
    modified = http_date(memory.last_modified)
    if modified is None:
        modified = changed_at(memory.lastmod)
    return Fetched(
        answer.content,
        _modified(modified, now),
        memory.written(),
        plain(answer.headers.get("content-type", "")),
    )


def _modified(told: float | None, now: float) -> float:
    return now if told is None else told


KIND = WebSource
