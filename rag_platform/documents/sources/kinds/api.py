"""An HTTP API that lists documents as JSON, page by page, as a source."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import Field, field_validator, model_validator

from rag_platform.documents.sources import events
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
from rag_platform.documents.sources.events import Spool
from rag_platform.documents.sources.selection import Selection
from rag_platform.documents.sources.web.client import (
    Answer,
    Refused,
    Unavailable,
    WebClient,
    WebError,
    WebRules,
    http_date,
    plain,
)
from rag_platform.documents.sources.web.urls import BadAddress, canonical, origin_of
from rag_platform.settings_values import Count, Seconds, Section, Text
from rag_platform.storage.objects import display_url

_GONE = frozenset({404, 410})
_CLOSED = frozenset({401, 403})
_MAX_CURSOR = 2_000
_PAGES_LOOKED_AT = 20  # a sensor has little time
_NO = (None, False, 0, "", "0", "false", "False", "no")

Header = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,99}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,99}$")]


class ApiOptions(Section):
    """What the answers of an API hold. A path leads to a value, such as `data.items`."""

    items: str = Field(default="items", description='Path to the list; "" for the whole answer.')
    id: Text = Field(default="id", description="Path in an item to what names the document.")
    text: Text | None = Field(default=None, description="Path to the document's text.")
    url: Text | None = Field(
        default=None, description="Path to the document's address, where the item lacks its text."
    )
    updated: Text | None = Field(
        default=None,
        description="Path to when it changed: ISO text, seconds or milliseconds. A document by "
        "`url` is read again only when this is another.",
    )
    deleted: Text | None = Field(
        default=None, description="Path to what says that the document has gone, where not empty."
    )
    acl: Text | None = Field(
        default=None,
        description="Path to who may read it, a list or words between commas; nobody where an item "
        "lacks it. Null: as the source's `acl` says.",
    )
    media_type: str = Field(
        default="", description="Format of the documents where neither key nor answer tells it."
    )
    link: Text | None = Field(
        default=None,
        description="Address of a document as people see it, with `{id}` in it; `url` of the "
        "source and the id by default.",
    )
    cursor: Text = Field(
        default="cursor", description="Name of the query parameter that says where to go on."
    )
    next: Text = Field(
        default="next_cursor",
        description="Path to where to go on: a value for `cursor`, or the next page's address.",
    )
    more: Text | None = Field(
        default=None,
        description="Path to whether there are further pages, where `next` is always there.",
    )
    incremental: bool = Field(
        default=False,
        description="Whether the API tells what happened since a cursor, which is then kept from "
        "pass to pass. Otherwise each pass lists all, and what is not listed has gone.",
    )
    query: dict[Text, str] = Field(
        default_factory=dict, description="Query parameters of each request, such as a page size."
    )
    headers: dict[Header, Variable] = Field(
        default_factory=dict,
        description="Headers of each request by the environment variables that hold them, such as "
        "`Authorization: WIKI_AUTHORIZATION`.",
    )
    private_hosts: tuple[Text, ...] = Field(
        default=(),
        description="Hosts (`host`, or `host:port` for other than the usual ports) that may lie on "
        "addresses of a private network.",
    )
    rate: Annotated[float, Field(gt=0, le=1_000)] = Field(
        default=2.0, description="Most requests a second to a host."
    )
    timeout: Seconds = Field(default=30.0, description="Seconds that one request may take.")
    max_bytes: Count = Field(default=20_000_000, description="Most bytes of an answer.")
    max_pages: Count = Field(
        default=1_000,
        description="Most pages of one pass: the next pass of an incremental source goes on from "
        "there, a longer listing is refused.",
    )

    @field_validator("link")
    @classmethod
    def _has_a_place(cls, link: str | None) -> str | None:
        if link is not None and "{id}" not in link:
            raise ValueError("must hold {id}")
        return link

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.url is None):
            raise ValueError("needs either `text` or `url`: where the documents are")
        return self


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[Any]
    cursor: str | None


class ApiSource(Source):
    """The items of an API. What an item holds is read while it is listed and kept in a spool."""

    schemes = ("api+https", "api+http")
    Options = ApiOptions
    sensor_seconds = 300

    def __init__(self, url: str, selection: Selection, options: ApiOptions) -> None:
        self.url = url
        self.complete = not options.incremental
        self.tells_readers = options.acl is not None
        self._base = url.removeprefix("api+")
        self._selection = selection
        self._options = options
        self._client = WebClient(
            WebRules(
                timeout_s=options.timeout,
                max_bytes=options.max_bytes,
                rate=options.rate,
                private_hosts=options.private_hosts,
            )
        )
        self._spool: Spool | None = None
        self._reached: str | None = None

    @classmethod
    def open(cls, place: Place) -> Self:
        assert isinstance(place.options, ApiOptions)
        return cls(place.url, place.selection, place.options)

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self.recorded()
        spool = self._spool = Spool()
        now = time.time()
        for page in self._pages(since):
            for item in page.items:
                self._take(item, spool, now)
            self._reached = page.cursor
        for batch in spool.batches():
            if self.complete:  # what has gone is as if it were not listed
                batch = [found for found in batch if not found.gone]
            if self._options.url is None:
                yield batch
            else:  # known by the source itself, which then asks for it or not
                yield [replace(found, etag=None) for found in batch]

    def cursor(self) -> str | None:
        if self._reached is None or self.complete:
            return None
        return json.dumps({"url": self._base, "cursor": self._reached})

    def recorded(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def signal(self, since: str | None = None) -> str:
        """A digest over items, whatever their order: those of the first pages of a listing, or of
        the first page since the cursor; "" where that is empty. The rest a run finds by the clock.
        """
        total = 0
        for page in islice(self._pages(since), _PAGES_LOOKED_AT if self.complete else 1):
            for item in page.items:
                written = json.dumps(item, sort_keys=True).encode()
                total ^= int.from_bytes(hashlib.sha256(written).digest(), "big")
            if not (self.complete or page.items):
                return ""
        return hashlib.sha256(f"{since} {total}".encode()).hexdigest()

    def fetch(self, key: str, known: Known | None = None) -> Fetched | Unchanged | None:
        listed = self._spool.read(key) if self._spool else None
        if listed is None:
            return None
        if known and known.etag == listed.etag and listed.etag is not None:
            modified = listed.modified if self._options.updated else known.modified
            return Unchanged(listed.modified if modified is None else modified, known.etag)
        return listed if self._options.url is None else self._follow(listed, known)

    def uri(self, key: str) -> str:
        link = self._options.link or f"{self._base.partition('?')[0].rstrip('/')}/{{id}}"
        return link.replace("{id}", quote(key, safe="/"))

    def _pages(self, since: str | None) -> Iterator[_Page]:
        """The pages from a cursor on. Raises `SourceUnavailable`."""
        options = self._options
        position = self._position(since)
        for _ in range(options.max_pages):
            answer = self._ask(position)
            items = events.at(answer, options.items)
            if not isinstance(items, list):
                raise self._refused(f"no list at {options.items!r} of its answer; see `items`")
            following = self._following(answer)
            yield _Page(items, following or position)
            if following is None or following == position:
                return
            more = events.at(answer, options.more) if options.more else self.complete or items
            if more in _NO or more == []:
                return
            position = following
        if self.complete:
            raise self._refused(f"more than {options.max_pages:,} pages; raise `max_pages`")

    def _position(self, since: str | None) -> str | None:
        """The cursor of the API in one of the catalog."""
        if since is None or self.complete:
            return None
        found = json.loads(since)
        if found["url"] != self._base:
            raise self._refused(
                f"it was read from {display_url(found['url'])} so far; run with --refresh (run "
                "config: refresh: true) to read this one from its start"
            )
        return str(found["cursor"])

    def _following(self, answer: Any) -> str | None:
        found = events.at(answer, self._options.next)
        if found is None or found == "":
            return None
        cursor = repr(found) if isinstance(found, float) else events.key_of(found)
        if cursor is None or events.bytes_of(cursor) is None or len(cursor) > _MAX_CURSOR:
            raise self._refused(f"no cursor at {self._options.next!r} of its answer; see `next`")
        return cursor

    def _ask(self, position: str | None) -> Any:
        """The JSON of one page."""
        try:
            answer = self._client.get(self._address(position), self._headers())
        except WebError as error:
            raise SourceUnavailable(
                f"{error}. Nothing was recorded.", transient=error.transient
            ) from error
        if answer.status in _CLOSED:
            names = ", ".join(self._options.headers.values()) or "option `headers`"
            raise self._refused(f"it answers {answer.status}; check {names}")
        if not 200 <= answer.status < 300:
            hint = "; if its cursor has expired, run with --refresh" if position else ""
            raise self._refused(f"it answers {answer.status}{hint}")
        try:
            return events.parse_json(answer.content)
        except ValueError as error:
            raise SourceUnavailable(
                f"{self._shown}: its answer is no JSON ({str(error)[:100]}); nothing was recorded. "
                "Run again when it is."
            ) from error

    def _address(self, position: str | None) -> str:
        """The address of a page; its cursor may be one, of the same origin."""
        try:
            base = canonical(self._base)
            if position is not None and position.startswith(("http://", "https://")):
                found = canonical(position)
                if origin_of(found) != origin_of(base):
                    raise self._refused("the address of its next page lies on another host")
                return found
            parts = urlsplit(base)
            asked = [*parse_qsl(parts.query, keep_blank_values=True), *self._options.query.items()]
            if position is not None:
                asked.append((self._options.cursor, position))
            return canonical(parts._replace(query=urlencode(asked)).geturl())
        except BadAddress as error:
            raise self._refused(f"no address of the web: {error}") from error

    def _headers(self) -> dict[str, str]:
        missing = [name for name in self._options.headers.values() if not os.environ.get(name)]
        if missing:
            raise self._refused(f"the environment lacks {', '.join(missing)}; see `headers`")
        found = {header: os.environ[name] for header, name in self._options.headers.items()}
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            raise self._refused("a header's value in the environment is no line of ASCII")
        return {"Accept": "application/json", **found}

    @property
    def _shown(self) -> str:
        return display_url(self._base)

    def _refused(self, problem: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._shown}: {problem}. Nothing was recorded.", transient=False
        )

    def _take(self, item: Any, spool: Spool, now: float) -> None:
        """Keep an item, or why it cannot be taken."""
        options = self._options
        key = events.key_of(events.at(item, options.id))
        problem = "no key" if key is None else events.key_problem(key)
        if key is None or problem:
            written = json.dumps(item, sort_keys=True).encode()
            key = f"unnamed/{hashlib.sha256(written).hexdigest()[:16]}"
            problem = f"nothing names the document at {options.id} ({problem})"
        elif key not in self._selection:
            return
        gone = not problem and self._is_gone(item)
        content = None if problem or gone else self._content(item)
        if not (problem or gone) and content is None:
            problem = f"no text at {options.text or options.url}"
        updated = events.at(item, options.updated) if options.updated else None
        told = events.seconds_of(updated)
        content = content or b""
        found = ListedObject(
            key,
            size=len(content) if options.url is None else 0,
            modified=now if told is None else told,
            etag=self._version(content, updated),
            failure="bad_item" if problem else None,
            detail=problem or "",
            gone=gone,
            acl=events.tags_of(events.at(item, options.acl)) if options.acl else None,
        )
        spool.put(found, content, media_type=options.media_type)

    def _version(self, content: bytes, updated: Any) -> str | None:
        """What differs when the document has changed; None where only its server can tell."""
        if self._options.url is not None and updated in _NO:
            return None
        written = content + (json.dumps(updated).encode() if self._options.url else b"")
        return hashlib.sha256(written).hexdigest()[:32]

    def _is_gone(self, item: Any) -> bool:
        flag = self._options.deleted
        return flag is not None and events.at(item, flag) not in _NO

    def _content(self, item: Any) -> bytes | None:
        return events.bytes_of(events.at(item, self._options.text or self._options.url or ""))

    def _follow(self, listed: Fetched, known: Known | None) -> Fetched | Unchanged | None:
        """The document at the address that an item gave. Raises `NotTaken`.

        A server that fails stops an incremental pass, because the event would not come again. In
        a listing a known document stays as it is, and is asked for again by the next pass.
        """
        headers: dict[str, str] = {}
        try:
            url = canonical(listed.content.decode(), self._base)
            if origin_of(url) == origin_of(canonical(self._base)):
                headers |= self._headers() | {"Accept": "*/*"}
            if listed.etag is None and known and known.etag:
                headers["If-None-Match"] = known.etag
            answer = self._client.get(url, headers)
        except BadAddress as error:
            raise NotTaken("bad_name", f"no address of the web: {error}") from error
        except Refused as error:
            raise NotTaken(error.reason, error.detail) from error
        except Unavailable as error:
            if not self.complete:
                raise SourceUnavailable(f"{error}. Nothing was recorded.") from error
            if known is None:
                raise NotTaken(error.reason, f"{error.detail}; it is asked again") from error
            return Unchanged(known.modified or listed.modified, None)
        if answer.status == 304 and known:
            return Unchanged(known.modified or listed.modified, known.etag)
        return self._answered(answer, listed)

    def _answered(self, answer: Answer, listed: Fetched) -> Fetched | None:
        if answer.status in _GONE:
            return None
        if not 200 <= answer.status < 300:
            reason = "unreadable" if answer.status in _CLOSED else "bad_answer"
            raise NotTaken(reason, f"its server answers {answer.status}")
        modified = listed.modified
        if self._options.updated is None:
            modified = http_date(answer.headers.get("last-modified", "")) or modified
        etag = listed.etag or plain(answer.headers.get("etag", "")) or None
        media_type = self._options.media_type or plain(answer.headers.get("content-type", ""))
        return Fetched(answer.content, modified, etag, media_type)


KIND = ApiSource
