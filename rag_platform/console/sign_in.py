"""Signing in with the token and a name, and out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.console.access import Access, Unknown, is_name
from rag_platform.console.security import SIGN_IN
from rag_platform.console.sessions import Sessions


def routes(access: Access, sessions: Sessions) -> list[Route]:
    """The pages that begin and end a session."""

    def form(request: Request) -> Response:
        return _form(request, _own(request.query_params.get("next", "")))

    def sign_in(request: Request) -> Response:
        fields = web.form(request)
        name, target = fields.get("name", "").strip(), _own(fields.get("next", ""))
        if not is_name(name):
            return _form(request, target, "Give a name of letters and digits, at most 64.", 400)
        address = request.client.host if request.client else ""
        try:
            access.check(fields.get("token", ""), address)
        except Unknown as error:
            return _form(request, target, str(error), error.status, name)
        request.scope["session"] = sessions.new(user=name)
        return RedirectResponse(target, 303)

    def sign_out(request: Request) -> Response:
        sessions.end(request.session)
        request.scope["session"] = sessions.new()
        return RedirectResponse(SIGN_IN, 303)

    return [
        Route(SIGN_IN, form),
        Route(SIGN_IN, sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
    ]


def _form(
    request: Request, target: str, problem: str = "", status: int = 200, name: str = ""
) -> Response:
    return web.page(
        request, "sign_in.html", status=status, target=target, problem=problem, name=name
    )


def _own(address: str) -> str:
    """An address of ours to go on to; the first page for any other."""
    plain = address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"
