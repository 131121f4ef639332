"""What all pages of the console share: the platform behind them, templates, answers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rag_platform.actions import Actions
from rag_platform.console.replays import Replays
from rag_platform.console.texts import plain
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from rag_platform.platform import Platform
    from rag_platform.retrieval.readers import Reader, System

_FOLDER = Path(__file__).parent
A_PAGE = 50  # rows


class NoSuchPage(PlatformError):
    """What an address names does not exist; answered with 404."""


@dataclass(frozen=True)
class Desk:
    """What the console works with: one platform, and as whom it searches."""

    platform: "Platform"
    reader: "Reader | System"
    replays: Replays = field(default_factory=Replays)


def desk(request: Request) -> Desk:
    """The desk of the application."""
    found: Desk = request.app.state.desk
    return found


def platform(request: Request) -> "Platform":
    """The platform behind the console."""
    return desk(request).platform


def user(request: Request) -> str:
    """Who asks, as the sign-in or the proxy says."""
    return str(request.state.user)


def form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of the form that was sent; a POST has one."""
    found: ImmutableMultiDict[str, str] = request.state.form
    return found


def number(request: Request, name: str, default: int | None = None) -> int | None:
    """A whole number of the query string, from 0; `default` for what is none."""
    found = whole(request.query_params.get(name, ""))
    return default if found is None else found


def whole(written: str) -> int | None:
    """A whole number from 0, as large as every database holds; None for what is none."""
    fits = written.isascii() and written.isdigit() and len(written) <= 15
    return int(written) if fits else None


def actions(request: Request) -> Actions:
    """What who asks may change; all of it is in the audit log."""
    return Actions(platform(request), user(request), "console")


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A page of HTML. Everything in it is escaped."""
    settings = platform(request).settings.console
    common = {
        "user": user(request),
        "signed_in": request.state.signed_in,
        "csrf": request.state.csrf,
        "status": status,
        "path": request.scope["path"],
        "dagster_url": str(settings.dagster_url).rstrip("/"),
        "said": request.session.pop("said", None),
    }
    found = TEMPLATES.get_template(template).render(**common, **context)
    # A text may hold what cannot be encoded: half a character of two, from a file's name.
    return HTMLResponse(found.encode("utf-8", "replace"), status)


def say_at(request: Request, address: str, said: str) -> Response:
    """After a change: show the page at `address` of ours, with a line about what was done."""
    request.session["said"] = said
    return RedirectResponse(address, 303)


def _moment(seconds: float | None) -> str:
    """A time for people; nothing for none."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _href(address: str | None) -> str:
    """An address that may be followed; `#` for what is no web address (`javascript:` and so on)."""
    try:
        is_web = urlsplit(address or "").scheme in ("http", "https")
    except ValueError:  # such as `http://[`
        is_web = False
    return address if address and is_web else "#"


def _part(value: object) -> str:
    """A value as one part of a path."""
    return quote(str(value), safe="")


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"moment": _moment, "href": _href, "part": _part, "plain": plain}
    return found


TEMPLATES = _environment()
