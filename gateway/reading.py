"""The routes that show resources: one, or a list; now, or as of an earlier moment."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, final

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bus.manifests import API_VERSION
from domain.access import READ, Actor, authorise
from domain.names import Ref, check_name
from domain.refusals import BadValue, NotFound
from gateway import labels, openapi, shapes
from gateway.asking import Freshness, actor_of, may_read, ref_in, reply
from gateway.past import Past
from gateway.ports import Services
from gateway.routes import ITEM_PATHS, StrictRoute
from gateway.streams import EVENT_STREAM
from gateway.views import PLURALS, Entry, Sight, counts_of, entries, entry_of, view
from gateway.watching import Watching

AsOf = Annotated[
    str,
    Query(alias="asOf", description="A position, a time, or a duration ago: 42, 5m."),
]
LabelSelector = Annotated[str, Query(alias="labelSelector", description="a=b,c!=d")]
Limit = Annotated[int, Query(ge=0, le=100_000, description="0: all.")]

_LISTS: Final[dict[str, tuple[type[BaseModel], type[BaseModel]]]] = {
    "App": (shapes.App, shapes.AppList),
    "Project": (shapes.Project, shapes.ProjectList),
    "Secret": (shapes.Secret, shapes.SecretList),
    "Target": (shapes.Target, shapes.TargetList),
}
_WATCH: Final = Query(description="Send what changes, as server-sent events.")


@final
class Reading:
    def __init__(
        self, services: Services, fresh: Freshness, past: Past, watching: Watching
    ) -> None:
        self._services = services
        self._fresh = fresh
        self._past = past
        self._watching = watching
        self.router = APIRouter(route_class=StrictRoute, tags=["read"])
        for kind, plural in PLURALS.items():
            one, many = _LISTS[kind]
            self._offer(ITEM_PATHS[kind], self._one(kind), one, f"One {kind}.")
            self._offer(f"/{plural}", self._all(kind), many, f"All {plural} one may see.")
            if kind in ("App", "Secret"):
                path = f"/projects/{{project}}/{plural}"
                self._offer(path, self._of_project(kind), many, f"The {plural} of a project.")

    def _offer(
        self, path: str, handler: Callable[..., Any], model: type[BaseModel], summary: str
    ) -> None:
        self.router.add_api_route(
            path,
            handler,
            methods=["GET"],
            operation_id=openapi.operation("GET", path),
            summary=summary,
            responses=(
                openapi.streamed(EVENT_STREAM, model)
                if model in (shapes.App, shapes.AppList)
                else openapi.answers(model)
            ),
            openapi_extra=openapi.reading(path),
        )

    def _one(self, kind: str) -> Callable[..., Any]:
        async def plain(request: Request, as_of: AsOf = "") -> Response:
            return await self._show(request, ref_in(request, kind), as_of)

        async def watchable(
            request: Request, *, as_of: AsOf = "", watch: Annotated[bool, _WATCH] = False
        ) -> Response:
            ref = ref_in(request, kind)
            if watch:
                authorise(actor_of(request), READ, ref)
                await self._fresh.reached()
                return self._watching.respond(request, lambda entry: entry.ref == ref)
            return await self._show(request, ref, as_of)

        return watchable if kind == "App" else plain

    def _all(self, kind: str) -> Callable[..., Any]:
        async def plain(
            request: Request,
            label_selector: LabelSelector = "",
            limit: Limit = 0,
            after: str = "",
            as_of: AsOf = "",
        ) -> Response:
            page = _Page(kind, actor_of(request), "", label_selector, limit, after)
            return await self._list(page, as_of)

        async def of_projects(
            request: Request,
            project: str = "",
            label_selector: LabelSelector = "",
            limit: Limit = 0,
            after: str = "",
            as_of: AsOf = "",
        ) -> Response:
            page = _Page(kind, actor_of(request), project, label_selector, limit, after)
            return await self._list(page, as_of)

        async def watchable(
            request: Request,
            *,
            project: str = "",
            label_selector: LabelSelector = "",
            limit: Limit = 0,
            after: str = "",
            as_of: AsOf = "",
            watch: Annotated[bool, _WATCH] = False,
        ) -> Response:
            page = _Page(kind, actor_of(request), project, label_selector, limit, after)
            return await (self._watch(request, page) if watch else self._list(page, as_of))

        offered: dict[str, Callable[..., Any]] = {"App": watchable, "Secret": of_projects}
        return offered.get(kind, plain)

    def _of_project(self, kind: str) -> Callable[..., Any]:
        async def of_project(
            request: Request,
            *,
            label_selector: LabelSelector = "",
            limit: Limit = 0,
            after: str = "",
            as_of: AsOf = "",
            watch: Annotated[bool, _WATCH] = False,
        ) -> Response:
            owner = Ref("Project", "", check_name(request.path_params["project"], "path.project"))
            actor = actor_of(request)
            authorise(actor, READ, owner)
            page = _Page(kind, actor, owner.name, label_selector, limit, after)
            if watch:
                if kind != "App":
                    raise BadValue("query.watch", "1", "only apps can be watched")
                return await self._watch(request, page)
            request.state.resource = owner.stream
            await self._fresh.reached()
            if not as_of and entry_of(self._services.desired, owner) is None:
                raise NotFound(owner, "`stateward get projects` lists those that do")
            return await self._list(page, as_of)

        return of_project

    async def _sight(self, as_of: str) -> Sight:
        if as_of:
            return Sight(await self._past.as_of(as_of), None, self._services.now())
        await self._fresh.reached()
        return Sight(self._services.desired, self._services.status, self._services.now())

    async def _show(self, request: Request, ref: Ref, as_of: str) -> Response:
        authorise(actor_of(request), READ, ref)
        request.state.resource = ref.stream
        sight = await self._sight(as_of)
        entry = entry_of(sight.desired, ref)
        if entry is None:
            when = " then" if as_of else ""
            remedy = f"`stateward get {PLURALS[ref.kind]}` lists those that do{when}"
            raise NotFound(ref, remedy)
        counts = counts_of(sight.desired) if ref.kind == "Project" else None
        shown = view(sight, entry, counts)
        return reply(shown, headers={"ETag": f'"{shown["metadata"]["generation"]}"'})

    async def _list(self, page: "_Page", as_of: str) -> Response:
        sight = await self._sight(as_of)
        found = list(page.of(sight))
        more = bool(page.limit) and len(found) > page.limit
        found = found[: page.limit] if page.limit else found
        counts = counts_of(sight.desired) if page.kind == "Project" else None
        return reply(
            {
                "apiVersion": API_VERSION,
                "kind": f"{page.kind}List",
                "position": sight.desired.position,
                "items": [view(sight, entry, counts) for entry in found],
                "next": str(found[-1].ref) if more else None,
            }
        )

    async def _watch(self, request: Request, page: "_Page") -> Response:
        await self._fresh.reached()
        return self._watching.respond(request, page.wants)


@final
class _Page:
    """Which resources of a kind are asked for."""

    def __init__(
        self, kind: str, actor: Actor, project: str, selector: str, limit: int, after: str
    ) -> None:
        self.kind = kind
        self.limit = limit
        self._actor = actor
        self._project = project and check_name(project, "query.project")
        self._selects = labels.parse(selector)
        self._after = Ref.parse(after) if after else None

    def wants(self, entry: Entry) -> bool:
        ref = entry.ref
        if self._project and ref.project != self._project:
            return False
        return self._selects(entry.labels) and may_read(self._actor, ref)

    def of(self, sight: Sight) -> Iterator[Entry]:
        """The entries of this page, and one more if there is one."""
        count = 0
        for entry in entries(sight.desired, self.kind):
            if self._after is not None and entry.ref <= self._after:
                continue
            if self.wants(entry):
                yield entry
                count += 1
                if self.limit and count > self.limit:
                    return
