"""A Kubernetes API server in one process: real semantics over HTTP, a scripted world behind it.

`async with KubernetesServer() as cluster:` serves on a free port of the loopback interface. It can
be killed and started again on the same port, keeping what it stored.
"""

import asyncio
import ssl
import uuid
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.support.kubernetes import discovery
from tests.support.kubernetes.access import Access, User
from tests.support.kubernetes.answers import Refused, not_found
from tests.support.kubernetes.deleting import Deleting
from tests.support.kubernetes.faults import ConnectionCut, Faults
from tests.support.kubernetes.garbage import Garbage
from tests.support.kubernetes.inside import Inside
from tests.support.kubernetes.kinds import Kinds
from tests.support.kubernetes.messages import LARGEST, answer, answer_to_write, body_of
from tests.support.kubernetes.paths import target_of, verb_of
from tests.support.kubernetes.pods import Pods
from tests.support.kubernetes.preparing import Preparing
from tests.support.kubernetes.reading import Reading, metadata_only, selection
from tests.support.kubernetes.requests import APPLY, Request
from tests.support.kubernetes.scaling import Scaling
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Store, place_of
from tests.support.kubernetes.workloads import Workloads
from tests.support.kubernetes.writing import Writing, Written

ADMIN_TOKEN = "admin-token"
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that came, for tests that count them."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class KubernetesServer:
    """With `tls`, it serves HTTPS and knows itself as `localhost`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.store = Store()
        self.kinds = Kinds()
        self.reading = Reading(self.store)
        self.faults = Faults(self.store, self.reading)
        self.access = Access({ADMIN_TOKEN: User("admin")})
        self.pods = Pods()
        self.calls: list[Call] = []
        self.webhooks: list[Callable[[Object], None]] = []
        preparing = Preparing(self.store, self.now, self._new_uid, self.webhooks)
        writing = Writing(self.store, preparing, self.now)
        self._writing = writing
        self._deleting = Deleting(self.store, self.now)
        self._scaling = Scaling(self.store, writing)
        self.inside = Inside(self.store, self.kinds, writing, self._deleting)
        self.garbage = Garbage(self.inside)
        self.workloads = Workloads(self.inside)
        self.port = 0
        self._ids = 0
        self._passed = 0  # seconds
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        scheme, host = ("http", "127.0.0.1") if self._tls is None else ("https", "localhost")
        return f"{scheme}://{host}:{self.port}"

    @property
    def serves(self) -> bool:
        return self._runner is not None

    def now(self) -> str:
        """A time that moves on by a second with each change, so that runs are alike."""
        at = _START + timedelta(seconds=self.store.version + self._passed)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def pass_time(self, seconds: int) -> None:
        self._passed += seconds

    def _new_uid(self) -> str:
        self._ids += 1
        return str(uuid.UUID(int=0x5EED << 96 | self._ids))

    # --- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self.garbage.run()),
            asyncio.create_task(self.workloads.run()),
        ]
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()
        for task in self._tasks:
            failed = task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert not failed, "a controller of the cluster ended"

    async def start(self) -> None:
        """Serve, on the port that was used before if there was one."""
        application = web.Application(client_max_size=LARGEST * 4)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0
        )
        await runner.setup()
        site = web.TCPSite(
            runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self._tls
        )
        await site.start()
        self._runner, self.port = runner, runner.addresses[0][1]

    async def kill(self) -> None:
        """Refuse connections, and drop those that are open. What is stored stays."""
        if self._runner is not None:
            self.faults.cut_watches()
            await self._runner.cleanup()
            self._runner = None

    # --- requests -----------------------------------------------------------------------------

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(http)
        except Refused as refused:
            return answer(refused.body, refused.code, refused.headers)
        except ConnectionCut:
            assert http.transport is not None, "a request under way has a connection"
            http.transport.abort()
            raise asyncio.CancelledError from None

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        if http.path in {"/healthz", "/livez", "/readyz"}:
            return web.Response(text="ok")
        user = self.access.authenticated(http.headers.get("Authorization", ""))
        if http.method == "GET" and (told := discovery.answer(http.path, self.kinds)) is not None:
            return answer(told)
        target = target_of(http.path, self.kinds)
        if target is None:
            raise Refused(404, "the server could not find the requested resource")
        request = Request(
            verb=verb_of(http.method, target, http.query),
            kind=target.kind,
            namespace=target.namespace,
            name=target.name,
            subresource=target.subresource,
            query=dict(http.query),
            content_type=http.content_type,
            accept=http.headers.get("Accept", ""),
            user_agent=http.headers.get("User-Agent", "unknown"),
        )
        self._note(request)
        await self.faults.before(request)
        request = replace(request, body=await body_of(http, request))
        applies = request.verb == "patch" and request.content_type == APPLY
        if applies and self.store.get(request.place) is None:
            request = replace(request, creates_by_apply=True)
        self.access.authorise(user, request)
        response = await self._dispatch(http, request)
        await self.faults.after(request)
        return response

    def _note(self, request: Request) -> None:
        resource = "/".join(filter(None, (request.kind.plural, request.subresource)))
        call = Call(request.verb, request.kind.group, resource, request.namespace, request.name)
        self.calls.append(call)

    async def _dispatch(self, http: web.Request, request: Request) -> web.StreamResponse:
        match request.verb, request.subresource:
            case _, "exec":
                return await self.pods.execute(http, request, self._got(request))
            case _, "log":
                return await self._log(http, request)
            case "watch", _:
                return await self._watch(http, request)
            case _:
                return self._answered(request)

    def _answered(self, request: Request) -> web.Response:
        match request.verb, request.subresource:
            case "get", "scale" if request.kind.has_scale:
                return answer(self._scaling.get(request))
            case _, "scale" if request.kind.has_scale:
                return answer_to_write(self._scaling.write(request))
            case _, sub if sub and not (sub == "status" and request.kind.has_status):
                raise Refused(404, "the server could not find the requested resource")
            case "get", _:
                found = self._got(request)
                return answer(metadata_only(found) if request.wants_metadata_only else found)
            case "list", _:
                listed = self.reading.list(request)
                return web.Response(body=listed, content_type="application/json")
            case _:
                return answer_to_write(self._write(request))

    def _write(self, request: Request) -> Written:
        match request.verb:
            case "create":
                return self._writing.create(request)
            case "update":
                return self._writing.replace(request)
            case "patch":
                return self._writing.patch(request)
            case "delete":
                return Written(self._deleting.delete(request))
            case _:
                return Written(self._delete_all(request))

    def _got(self, request: Request) -> Object:
        found = self.store.get(place_of(request.kind, request.namespace, request.name))
        if found is None:
            raise not_found(request.kind.plural, request.kind.group, request.name)
        return found.object

    def _delete_all(self, request: Request) -> Object:
        selects = selection(request)
        kind = request.kind
        found = self.store.all(kind.group, kind.plural, request.namespace)
        gone = [(place, stored) for place, stored in found if selects(stored.object)]
        for place, _ in gone:
            self._deleting.delete(replace(request, namespace=place.namespace, name=place.name))
        items = [stored.object for _, stored in gone]
        return {
            "kind": f"{kind.name}List",
            "apiVersion": kind.api_version,
            "metadata": {},
            "items": items,
        }

    # --- streams ------------------------------------------------------------------------------

    async def _log(self, http: web.Request, request: Request) -> web.StreamResponse:
        lines = self.pods.log(request, self._got(request))
        first = await anext(lines, b"") if request.query.get("follow") != "true" else b""
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(http)
        await response.write(first)
        async for line in lines:
            await response.write(line)
        return response

    async def _watch(self, http: web.Request, request: Request) -> web.StreamResponse:
        selection(request)  # so that a senseless selector is refused before the stream begins
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(http)
        pump = asyncio.create_task(self._pump(response, request))
        self.faults.watches[pump] = ""
        try:
            seconds = request.query.get("timeoutSeconds")
            await asyncio.wait({pump}, timeout=float(seconds) if seconds else None)
        finally:
            how = self.faults.watches.pop(pump)
            pump.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await pump
        if how == "cut":
            raise ConnectionCut
        return response

    async def _pump(self, response: web.StreamResponse, request: Request) -> None:
        async with aclosing(self.reading.watch(request)) as told:
            async for lines in told:
                if kept := [line for line in lines if not self.faults.loses(line)]:
                    await response.write(b"".join(kept))
