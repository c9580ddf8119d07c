"""Who a request's user is, asked by routers, and a login for developers that believes everybody.

A router asks `/auth/verify` before each request of a route with `auth`. Who is not known and must
be is sent here, says a name, and goes back with a ticket for that host, which the next question
turns into a cookie. None of it exists unless it is switched on, and then only on loopback.
"""

import re
from html import escape
from typing import Final, NamedTuple, final
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.problems import Trouble, of_trouble
from gateway.signing import SECONDS, Signing

VERIFY: Final = "/auth/verify"
LOGIN: Final = "/auth/login"
PATHS: Final = frozenset({VERIFY, LOGIN})
USER: Final = "X-Forwarded-User"  # how routers name the user to apps
COOKIE: Final = "stateward_user"
TICKET: Final = "stateward_ticket"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_MAX_FORM: Final = 8192
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Sign in</title>
<p>{sentence}</p>
<form method="post" action="{action}">
<input type="hidden" name="to" value="{to}">
<label>Name <input name="user" autofocus required></label>
<button>Sign in</button>
</form>
</html>
"""


class Seen(NamedTuple):
    """The request that a router asks about."""

    scheme: str
    host: str
    uri: str
    cookie: str
    ticket: str

    @classmethod
    def of(cls, request: Request) -> "Seen":
        headers = request.headers
        uri = headers.get("x-forwarded-uri", "/")
        tickets = parse_qs(urlsplit(uri).query).get(TICKET, [""])
        return cls(
            scheme="https" if headers.get("x-forwarded-proto") == "https" else "http",
            host=headers.get("x-forwarded-host", ""),
            uri=uri if uri.startswith("/") else "/",
            cookie=request.cookies.get(COOKIE, ""),
            ticket=tickets[-1],
        )

    @property
    def url(self) -> str:
        """Where it was for, without the ticket."""
        path, _, query = self.uri.partition("?")
        kept = [part for part in query.split("&") if not part.startswith(f"{TICKET}=")]
        return f"{self.scheme}://{self.host}{path}" + (f"?{'&'.join(kept)}" if any(kept) else "")


@final
class Login:
    """The two paths; all that is known is in what was signed."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing
        self.router = APIRouter()
        for path, handler, method in (
            (VERIFY, self._verify, "GET"),
            (LOGIN, self._page, "GET"),
            (LOGIN, self._enter, "POST"),
        ):
            self.router.add_api_route(path, handler, methods=[method], include_in_schema=False)

    async def _verify(self, request: Request) -> Response:
        auth = request.query_params.get("auth", "hard")
        if auth not in ("soft", "hard"):
            return _malformed(f"auth is soft or hard, not {auth!r}")
        seen = Seen.of(request)
        if not seen.host:
            return _malformed("a router says which host it asks about: X-Forwarded-Host is missing")
        user = seen.ticket and self._signing.read("ticket", seen.host, seen.ticket)
        if user:
            return self._welcome(seen, user)
        user = seen.cookie and self._signing.read("cookie", seen.host, seen.cookie)
        if user:
            return Response(headers={USER: user})
        if auth == "soft":
            return Response()
        return self._ask(request, seen)

    def _welcome(self, seen: Seen, user: str) -> Response:
        """Keep who it is, and ask for the same again without the ticket."""
        answer = RedirectResponse(seen.url, status_code=302)
        answer.set_cookie(
            COOKIE,
            self._signing.sign("cookie", seen.host, user),
            max_age=SECONDS["cookie"],
            secure=seen.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    def _ask(self, request: Request, seen: Seen) -> Response:
        here = request.headers.get("host", "")
        to = self._signing.sign("return", "", seen.url)
        return RedirectResponse(f"http://{here}{LOGIN}?to={quote(to)}", status_code=302)

    async def _page(self, request: Request) -> Response:
        to = request.query_params.get("to", "")
        if self._signing.read("return", "", to) is None:
            return _malformed(
                "ask for the app's address again: this login is too old, or of nobody"
            )
        return _form(to, "Who are you? Nobody checks it: this is for developers.")

    async def _enter(self, request: Request) -> Response:
        if not _is_own(request.headers):
            return of_trouble(Trouble(403, "Forbidden", "another site sent this form; use ours"))
        body = await request.body()
        if len(body) > _MAX_FORM:
            return _malformed(f"a name and an address are no longer than {_MAX_FORM} bytes")
        form = parse_qs(body.decode("utf-8", "replace"))
        to, user = form.get("to", [""])[0], form.get("user", [""])[0].strip().lower()
        url = self._signing.read("return", "", to)
        if url is None:
            return _malformed(
                "ask for the app's address again: this login is too old, or of nobody"
            )
        if _NAME.fullmatch(user) is None:
            rule = "A name is 1 to 64 letters, digits, and ._@+- but not at its beginning."
            return _form(to, rule, status=422)
        ticket = self._signing.sign("ticket", urlsplit(url).netloc, user)
        mark = "&" if "?" in url else "?"
        return RedirectResponse(f"{url}{mark}{TICKET}={quote(ticket)}", status_code=303)


def _is_own(headers: Headers) -> bool:
    """Whether a form comes from our page, as far as the browser tells."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _form(to: str, sentence: str, status: int = 200) -> Response:
    page = _PAGE.format(sentence=escape(sentence), action=LOGIN, to=escape(to))
    return HTMLResponse(page, status_code=status)


def _malformed(detail: str) -> Response:
    return of_trouble(Trouble(400, "Malformed", detail))
