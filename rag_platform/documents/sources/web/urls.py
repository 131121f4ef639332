"""Addresses of pages, and the keys that documents of the web have.

A key is an address without `https://`, with its letters as people read them: it is unique, patterns
take it as a path that begins with a host, and it leads back to the one address.
"""

import ipaddress
import re
from urllib.parse import quote, urljoin, urlsplit

# What browsers, servers and proxies take without trouble.
MAX_LENGTH = 2_048
_HTTPS = "https://"
_PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ASCII_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?")
# The reserved and unreserved characters of RFC 3986, but `%`.
_KEPT = "/:@!$&'()*+,;=~-._[]"
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})|%")
_BEYOND_ASCII = re.compile(r"(?:%[89A-F][0-9A-F])+")


class BadAddress(ValueError):
    """No address of a page; the message says why and holds nothing of the address."""


def canonical(url: str, base: str = "") -> str:
    """An address in its one form, in ASCII; a relative one is resolved from `base`.

    Scheme and host in lower case, no default port, no `.` and `..`, no fragment; what is no ASCII
    is escaped as UTF-8. Path and query stay as they are otherwise: a server may tell them apart.
    Raises `BadAddress`.
    """
    url = url.strip(" \t\r\n")
    if _CONTROL.search(url):
        raise BadAddress("it holds control characters")
    try:
        parts = urlsplit(urljoin(base, url))
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadAddress("it is malformed") from error
    if parts.scheme not in _PORTS:
        raise BadAddress("it does not begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("it holds a user or password")
    place = _host(host)
    if port is not None and port != _PORTS[parts.scheme]:
        place += f":{port}"
    query = f"?{_escaped(parts.query, '?')}" if parts.query else ""
    found = f"{parts.scheme}://{place}{_resolved(_escaped(parts.path))}{query}"
    if len(found) > MAX_LENGTH:
        raise BadAddress(f"it is longer than {MAX_LENGTH:,} characters")
    return found


def origin_of(url: str) -> str:
    """Scheme, host and port of a canonical address."""
    return f"{url.partition('://')[0]}://{host_of(url)}"


def host_of(url: str) -> str:
    """Host of a canonical address, with its port where that is not the scheme's own."""
    return url.partition("://")[2].partition("/")[0]


def key_of(url: str) -> str:
    """The key of a canonical address."""
    return _BEYOND_ASCII.sub(_readable, url.removeprefix(_HTTPS))


def url_of(key: str) -> str:
    """The canonical address of a key."""
    url = key if key.startswith("http://") else _HTTPS + key
    return re.sub(r"[^\x00-\x7f]+", lambda found: quote(found[0]), url)


def _host(host: str) -> str:
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host.partition('%')[0]).compressed}]"
        except ValueError as error:
            raise BadAddress("it has no sound host") from error
    if host.isascii():
        host = host.lower().removesuffix(".")
        if not _ASCII_HOST.fullmatch(host):
            raise BadAddress("it has no sound host")
        return host
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadAddress("it has no sound host") from error


def _escaped(text: str, more: str = "") -> str:
    """Escaped where it must be; escapes that are there stay, in upper case."""
    text = _ESCAPE.sub(lambda found: f"%{found[1].upper()}" if found[1] else "%25", text)
    try:
        return quote(text, safe=f"{_KEPT}%{more}")
    except UnicodeEncodeError as error:
        raise BadAddress("it holds characters that are no text") from error


def _resolved(path: str) -> str:
    """A path without `.` and `..`, which begins with a slash."""
    kept: list[str] = []
    parts = path.split("/")[1:] or [""]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "..":
            del kept[-1:]
        if part not in (".", ".."):
            kept.append(part)
        elif last:
            kept.append("")
    return "/" + "/".join(kept)


def _readable(found: re.Match[str]) -> str:
    try:
        text = bytes.fromhex(found[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return found[0]
    # Signs that cannot be seen, or that turn the direction of what follows, stay escaped.
    return text if text.isprintable() else found[0]
