"""The HTTP API as the command line uses it. The one module that imports httpx.

Every write carries an idempotency key, so one whose answer got lost is sent again without being
done twice. Whatever goes wrong comes out as a `Trouble` in a sentence.
"""

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn, final

import httpx

from stateward.cli.contexts import Connection
from stateward.cli.trouble import BadUse, Refused, Silent, TimedOut, Trouble, Unreachable

SECONDS: Final = 30.0  # for an answer; streams wait longer
TRIES: Final = 3  # of a request whose answer got lost
_LOST: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_OF_WHO: Final = ("Authorization",)

type Query = Mapping[str, str | int | bool | None]


class Upgrade(NamedTuple):
    """Where a WebSocket is opened, and how."""

    address: str
    headers: dict[str, str]
    tls: ssl.SSLContext | None
    seconds: float


@final
class Api:
    """A session with one server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        headers = {"Accept": "application/json"}
        if connection.token is not None:
            headers["Authorization"] = _bearer(connection.token.reveal())
        try:
            self._client = httpx.Client(
                base_url=connection.server,
                headers=headers,
                timeout=SECONDS,
                trust_env=False,
                # Reading the certificates takes as long as the rest; plain HTTP needs none.
                verify=connection.server.startswith("https://"),
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise BadUse(f"{connection.server!r} is no address of a server: {error}") from None

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, query: Query | None = None, *, timeout: float = SECONDS) -> Any:
        return self._json("GET", path, query, timeout=timeout)

    def pages(self, path: str, query: Query | None = None) -> Iterator[dict[str, Any]]:
        """Every page of a list, until the last."""
        after: str | int | None = None
        while True:
            asked = dict(query or {})
            if after is not None:
                asked["after"] = after
            page = self.get(path, asked)
            yield page
            after = page.get("next")
            if after is None:
                return

    def write(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Query | None = None,
        *,
        timeout: float = SECONDS,
    ) -> Any:
        """Send a change, once in effect, however often it takes."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._json(method, path, query, body=body, headers=headers, timeout=timeout)

    @contextmanager
    def lines(
        self,
        path: str,
        query: Query | None = None,
        *,
        accept: str,
        silence: float | None,
        after: str = "",
    ) -> Iterator[Iterator[str]]:
        """The lines of an answer as they come.

        Args:
            path: what to read.
            query: how.
            accept: the media type.
            silence: the longest one to bear, in seconds; then `Silent` is raised.
            after: the last message that is known, for a stream that goes on.
        """
        limits = httpx.Timeout(SECONDS, read=silence)
        headers = {"Accept": accept} | ({"Last-Event-ID": after} if after else {})
        with (
            self._told(),
            self._client.stream(
                "GET", path, params=_params(query), headers=headers, timeout=limits
            ) as response,
        ):
            if response.status_code >= 400:
                response.read()
                self._refuse(response)
            yield response.iter_lines()

    def _json(
        self,
        method: str,
        path: str,
        query: Query | None,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> Any:
        content = None if body is None else json.dumps(body).encode()
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Type"] = "application/json"
        request = self._client.build_request(
            method, path, params=_params(query), content=content, headers=sent, timeout=timeout
        )
        with self._told():
            response = self._send(request)
        if response.status_code >= 400:
            self._refuse(response)
        return _answer(response) if response.content else None

    def _send(self, request: httpx.Request) -> httpx.Response:
        for _ in range(TRIES - 1):
            try:
                return self._client.send(request)
            except _LOST:
                continue  # the key makes a repeated write harmless
        return self._client.send(request)

    def socket(self, path: str) -> Upgrade:
        """How a WebSocket to a path is opened."""
        url = httpx.URL(self._connection.server)
        headers = {
            name: self._client.headers[name] for name in _OF_WHO if name in self._client.headers
        }
        return Upgrade(
            address=f"{'wss' if url.scheme == 'https' else 'ws'}://{url.netloc.decode()}{path}",
            headers=headers,
            tls=httpx.create_ssl_context() if url.scheme == "https" else None,
            seconds=SECONDS,
        )

    def refused(self, status: int, body: bytes, path: str) -> NoReturn:
        """Tell what was answered instead of a WebSocket."""
        request = self._client.build_request("GET", path)
        self._refuse(httpx.Response(status, content=body, request=request))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what httpx raises into a sentence."""
        server = self._connection.server
        try:
            yield
        except httpx.ConnectError as error:
            raise Unreachable(
                f"no server answers at {server} (from {self._connection.origin}): {error}; "
                "start one with `stateward serve`, or name another: "
                "`stateward context set NAME --server URL`"
            ) from error
        except httpx.ReadTimeout as error:
            raise Silent(f"{server} did not answer in time; ask again, or see its log") from error
        except httpx.TimeoutException as error:
            raise Unreachable(
                f"{server} did not answer in time; ask again, or see its log"
            ) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise BadUse(f"{server!r} is no address of a server: {error}") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"the connection to {server} broke: {reason}") from error

    def _refuse(self, response: httpx.Response) -> NoReturn:
        problem = _problem(response)
        detail = str(problem.get("detail") or problem.get("title") or "no reason was given")
        if response.status_code == 401:
            detail += _hint_for_token(self._connection)
        if response.status_code == 504:
            raise TimedOut(detail)
        raise Refused(detail, status=response.status_code, problem=problem)


def _params(query: Query | None) -> dict[str, str]:
    """Only what is set, with `true` for flags that are."""
    given = {name: value for name, value in (query or {}).items() if value not in (None, "", False)}
    return {name: "true" if value is True else str(value) for name, value in given.items()}


def _answer(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise Trouble(_foreign(response)) from None


def _foreign(response: httpx.Response) -> str:
    return f"{response.url} answered {response.status_code}, and not as a Stateward does"


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "detail" in problem:
        return problem
    return {"detail": _foreign(response)}


def _bearer(token: str) -> str:
    if not token.isascii() or not token.isprintable() or not token:
        raise Trouble("the token holds characters that no token has; set it again")
    return f"Bearer {token}"


def _hint_for_token(connection: Connection) -> str:
    have = "the token given was not accepted" if connection.token else "no token was given"
    return f" ({have}; give one by STATEWARD_TOKEN or `stateward context set`)"
