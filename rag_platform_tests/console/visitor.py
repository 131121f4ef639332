"""Somebody who visits the console: as a browser does, without one."""

import re
from typing import Any

import httpx2
from lxml import html
from starlette.testclient import TestClient

from rag_platform.console.app import console
from rag_platform.console.security import Guard
from rag_platform.platform import Platform

ORIGIN = "http://127.0.0.1:8766"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{32})"')


class Visitor:
    """One person with a jar of cookies. No answer is an unexpected error, unless `fails`."""

    def __init__(self, app: Guard, *, origin: str = ORIGIN, client: str = "127.0.0.1") -> None:
        self.app = app
        self.platform: Platform = app.app.state.desk.platform
        self.fails = False
        self.http = TestClient(
            app, base_url=origin, client=(client, 50_000), follow_redirects=False
        )
        self.http.headers["accept"] = "text/html"
        self._origin = origin

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """What a page answers; redirects are not followed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._good(self.http.get(path, headers=named))

    def post(self, path: str, /, **fields: Any) -> httpx2.Response:
        """What a form of ours answers; a list is a field that is there several times."""
        return self.send(path, {"csrf": self.csrf(), **fields})

    def send(self, path: str, fields: dict[str, Any], **headers: str) -> httpx2.Response:
        """What fields answer as they are, sent by a page of ours unless `headers` say else."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._good(
            self.http.post(path, data=fields, headers={"origin": self._origin, **named})
        )

    def done(self, path: str, /, **fields: Any) -> "html.HtmlElement":
        """A form that goes through: the page that is shown after it."""
        answer = self.post(path, **fields)
        assert answer.status_code == 303, (answer.status_code, text_of(answer))
        return self.html(answer.headers["location"])

    def html(self, path: str, status: int = 200) -> "html.HtmlElement":
        """A page, parsed."""
        answer = self.get(path)
        assert answer.status_code == status, (answer.status_code, answer.headers, text_of(answer))
        return html.document_fromstring(answer.text)

    def text(self, path: str, status: int = 200) -> str:
        """What a page says, without its marks."""
        return said(self.html(path, status))

    def csrf(self) -> str:
        """What forms of this session carry."""
        for path in ("/", "/sign-in"):
            if found := _CSRF.search(self.get(path).text):
                return found[1]
        raise AssertionError("no form has a csrf field")

    def _good(self, answer: httpx2.Response) -> httpx2.Response:
        assert self.fails or answer.status_code != 500, text_of(answer)
        return answer


def visit(platform: Platform, **how: Any) -> Visitor:
    """A visitor of a console over a platform that has nobody sign in."""
    return Visitor(console(platform, platform.reader()), **how)


def said(element: "html.HtmlElement") -> str:
    """The text of an element, each run of white space a space."""
    return " ".join(element.text_content().split())


def text_of(answer: httpx2.Response) -> str:
    """What an answer says."""
    return said(html.document_fromstring(answer.text)) if answer.text else ""
