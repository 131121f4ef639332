"""What every request of the console passes: its host name, who asks, and where a change comes from.

Stands around the whole application, so that each of its answers has the headers, errors too.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote

import anyio
from starlette.applications import Starlette
from starlette.datastructures import ImmutableMultiDict, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from rag_platform.console import web
from rag_platform.console.access import Access, Unknown, Visitor, is_led_from_elsewhere
from rag_platform.console.sessions import Sessions

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

SIGN_IN = "/sign-in"
# Reached by everybody who reaches the console: they tell nothing, and write nothing.
_HEALTH = ("/healthz", "/readyz")
_STATIC = "/static/"
_LARGEST_FORM = 256 * 1024
_MOST_FIELDS = 500
_FORM_SECONDS = 20
# PostgreSQL takes no text with it.
_NO_TEXT = "The character of number 0 is none of a text."
_FORM = "application/x-www-form-urlencoded"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # No other site is told the address of a page. `no-referrer` would have browsers send
    # `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """The application for those who may come in.

    Which page is asked for is what the scope says, as for the router. `request.url` is put together
    with the Host header, which can say anything: `x/sign-in?` would make every page the sign-in.
    """

    def __init__(self, app: Starlette, access: Access, sessions: Sessions, *, cookie: str) -> None:
        self.app = app
        self.access = access
        self.sessions = sessions
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] in _HEALTH or scope["path"].startswith(_STATIC):
            await self._answered(scope, receive, _with_headers(send, scope["path"]))
        else:
            await self._guarded(scope, receive, _with_headers(send, scope["path"]))

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        known = self.sessions.read(request.cookies.get(self._cookie))
        session = known or self.sessions.new()
        before = self.sessions.written(session) if known else ""
        scope["session"] = session
        scope["state"] = {"user": "", "signed_in": False, "csrf": session["csrf"]}
        scope["app"] = self.app

        async def remembering(message: Scope) -> None:
            if message["type"] == "http.response.start":
                written = self.sessions.written(scope["session"])
                if written != before:
                    MutableHeaders(scope=message).append("set-cookie", self._set(written, scope))
            await send(message)

        response = await self._refusal(request, known)
        if response is None:
            await self._answered(scope, receive, remembering)
        else:
            # Without a cookie: other sites have browsers send forms without the one that they
            # have, and a new one in its place would sign people out.
            await response(scope, receive, send)

    async def _refusal(self, request: Request, session: dict[str, Any] | None) -> Response | None:
        """Why a request goes no further; None when it does."""
        if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
            return _refused(request, 400, _NO_TEXT)
        try:
            self.access.refuse_names(request.headers)
            visitor = self.access.visitor(request.headers, _address(request), session)
        except Unknown as error:
            return _refused(request, error.status, str(error))
        if visitor is not None:
            request.state.user = visitor.name
            request.state.signed_in = visitor.by == "session"
        if request.method in ("GET", "HEAD"):
            if is_led_from_elsewhere(request.headers):
                return _refused(request, 403, "Another site asked for this.")
        else:
            refusal = await self._change_refusal(request, visitor)
            if refusal is not None:
                return refusal
        if visitor is None and request.scope["path"] != SIGN_IN:
            return _to_sign_in(request)
        return None

    async def _change_refusal(self, request: Request, visitor: Visitor | None) -> Response | None:
        """Why a change is not made: it has to come from a form of ours. Reads the form."""
        if request.method != "POST":
            return _refused(request, 405, "Only reading and sending forms.")
        if visitor is None and request.scope["path"] != SIGN_IN:
            return _to_sign_in(request)
        try:
            with anyio.fail_after(_FORM_SECONDS):
                request.state.form = await _form(request)
        except (_Unfit, TimeoutError, ClientDisconnect) as error:
            too_large = isinstance(error, _TooLarge)
            return _refused(request, 413 if too_large else 400, str(error) or "It took too long.")
        # A program with the token is not led by a page: no browser sends its header for one.
        if visitor is not None and visitor.by == "bearer":
            return None
        if not self.access.is_own_origin(request.headers):
            return _refused(request, 403, "This came from another site, so nothing was changed.")
        given = request.state.form.get("csrf", "")
        if not hmac.compare_digest(given.encode(), request.state.csrf.encode()):
            told = "This page is out of date, so nothing was changed. Open it again, and repeat it."
            return _refused(request, 403, told)
        return None

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the application. An error that nobody expected is in the log; who asked has a page
        that says so, unless a part of another answer was sent."""
        ended = False

        async def noting(message: Scope) -> None:
            nonlocal ended
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            logger.error("unexpected error at %s", scope["path"], exc_info=error)
            if not ended:
                raise

    def _set(self, written: str, scope: Scope) -> str:
        secure = "; Secure" if self.access.is_secure(scope["scheme"]) else ""
        return (
            f"{self._cookie}={written}; Path=/; Max-Age={int(self.sessions.seconds)}; HttpOnly; "
            f"SameSite=Lax{secure}"
        )


class _Unfit(Exception):
    """A form that cannot be read."""


class _TooLarge(_Unfit):
    """One that is too large."""


async def _form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of a form, each a text."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise _Unfit(f"A form is sent as {_FORM}.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_FORM:
            raise _TooLarge(f"The form has more than {_LARGEST_FORM:,} bytes.")
    try:
        text = body.decode("ascii")
        if "\0" in text or "%00" in text:
            raise _Unfit(_NO_TEXT)
        fields = parse_qsl(
            text,
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise _Unfit("The form cannot be read.") from error
    return ImmutableMultiDict(fields)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _refused(request: Request, status: int, message: str) -> Response:
    response = web.page(request, "error.html", status=status, message=message)
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _to_sign_in(request: Request) -> Response:
    """People are sent to the form, programs are told."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        query = request.scope["query_string"].decode("latin-1")
        wanted = request.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{SIGN_IN}?next={quote(wanted, safe='')}", 303)
    response = _refused(request, 401, "Sign in first.")
    response.headers["hx-redirect"] = SIGN_IN  # what a script of ours asked for in a page
    return response


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            # What pages show is for nobody who comes later to this browser.
            headers["cache-control"] = "no-cache" if path.startswith(_STATIC) else "no-store"
        await send(message)

    return sending
