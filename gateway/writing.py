"""The routes that change something: each reads a request into intents and submits them once.

What an acknowledgement says is on disk. The idempotency key is the caller's or made here; its
digest covers method, path, query, conditions and body, so the same key never means two things.
"""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal, final

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from bus.actions import read_action
from bus.envelopes import MAX_KEY
from bus.intents import Answer, Asked, Plan
from domain.names import Ref, check_name
from domain.refusals import BadValue
from gateway import bodies, openapi, previews, shapes
from gateway.asking import Freshness, actor_of, ref_in, reply
from gateway.cautions import cautions
from gateway.conditions import generation_asked
from gateway.ports import Services
from gateway.pruning import leftovers
from gateway.routes import ITEM_PATHS, StrictRoute
from reconcilers.inside import ProjectProposal
from reconcilers.object_preview import ObjectChange

DryRun = Annotated[
    Literal["All"] | None,
    Query(alias="dryRun", description="`All`: decide, and change nothing."),
]
Objects = Annotated[bool, Query(description="In a dry run: the objects of apps on clusters, too.")]


@final
class Writing:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services = services
        self._fresh = fresh
        self.router = APIRouter(route_class=StrictRoute, tags=["write"])
        for kind, path in ITEM_PATHS.items():
            self._offer("PUT", path, self._put(kind), f"Make or change the {kind}.", kind)
            self._offer("DELETE", path, self._delete(kind), f"Delete the {kind}.", kind)
        actions = f"{ITEM_PATHS['App']}/actions/{{verb}}"
        self._offer("POST", actions, self._act, "Scale, start, stop, restart, undo... an App.")
        self._offer("POST", "/apply", self._apply, "Apply a set of manifests, all or nothing.")

    def _offer(
        self, method: str, path: str, handler: Callable[..., Any], summary: str, kind: str = ""
    ) -> None:
        self.router.add_api_route(
            path,
            handler,
            methods=[method],
            operation_id=openapi.operation(method, path),
            summary=summary,
            responses=openapi.answers(shapes.Acknowledgement, 200, *((201,) * (method == "PUT"))),
            openapi_extra=openapi.writing(method, path, kind),
        )

    def _put(self, kind: str) -> Callable[..., Any]:
        async def put(request: Request, dry_run: DryRun = None) -> Response:
            ref = ref_in(request, kind)
            asked, body = await bodies.manifest(request, ref)
            generation = await generation_asked(request, ref, self._services.intents)
            if generation is not None:
                asked = bodies.with_generation(asked, generation)
            return await self._submit(request, [asked], body, dry_run, ref)

        return put

    def _delete(self, kind: str) -> Callable[..., Any]:
        async def delete(
            request: Request,
            *,
            dry_run: DryRun = None,
            cascade: Annotated[bool, Query(description="What is in it goes, too.")] = False,
            orphan: Annotated[bool, Query(description="What runs is left alone.")] = False,
            volumes: Annotated[bool, Query(description="Their data goes, too.")] = False,
        ) -> Response:
            ref = ref_in(request, kind)
            generation = await generation_asked(request, ref, self._services.intents)
            flags: dict[str, object] = {"cascade": cascade, "orphan": orphan, "volumes": volumes}
            intent = read_action("delete", ref, flags, generation)
            return await self._submit(request, [intent], b"", dry_run, ref)

        return delete

    async def _act(
        self, request: Request, *, dry_run: DryRun = None, objects: Objects = False
    ) -> Response:
        ref = ref_in(request, "App")
        verb: str = request.path_params["verb"]
        body = await request.body()
        generation = await generation_asked(request, ref, self._services.intents)
        intent = read_action(verb, ref, bodies.parameters(body), generation)
        if dry_run:
            return await self._rehearse(request, [intent], ref, objects=objects)
        return await self._submit(request, [intent], body, dry_run, ref)

    async def _apply(
        self,
        request: Request,
        *,
        dry_run: DryRun = None,
        project: Annotated[str, Query(description="Of manifests that name none.")] = "",
        prune: Annotated[
            str, Query(description="Delete what carries these labels and left the set.")
        ] = "",
        objects: Objects = False,
    ) -> Response:
        if project:
            check_name(project, "query.project")
        asked, body = await bodies.manifest_set(request, project)
        if "prune" in request.query_params:
            asked += await leftovers(self._services, self._fresh, prune, asked)
        if dry_run:
            return await self._rehearse(request, asked, None, objects=objects)
        return await self._submit(request, asked, body, dry_run, None)

    async def _submit(
        self,
        request: Request,
        asked: Sequence[Asked],
        body: bytes,
        dry_run: str | None,
        ref: Ref | None,
    ) -> Response:
        if dry_run:
            return await self._rehearse(request, asked, ref)
        request.state.resource = ref.stream if ref else None
        request.state.key = key = self._key(request)
        answer = await self._services.intents.submit(
            asked, actor=actor_of(request), key=key, digest=_digest(request, body)
        )
        warnings = cautions(asked, self._services.desired)
        return _acknowledged(answer, warnings, ref, key)

    async def _rehearse(
        self, request: Request, asked: Sequence[Asked], ref: Ref | None, *, objects: bool = False
    ) -> Response:
        request.state.resource = ref.stream if ref else None
        request.state.key = self._key(request)
        changes, plan = await self._services.intents.foresee(asked, actor=actor_of(request))
        foreseen = [previews.preview(change, plan) for change in changes]
        head = await self._services.log.head()
        warnings = cautions(asked, self._services.desired)
        if objects:
            await self._fresh.reached()
            next_ = head.position + 1
            found = (
                previews.with_objects(change, self._asked(change, plan, next_), self._foresee)
                for change in foreseen
            )
            warnings += [one for some in await asyncio.gather(*found) for one in some]
        return reply(
            {
                "position": head.position,
                "generation": foreseen[0]["generation"] if ref else None,
                "repeated": False,
                "dryRun": True,
                "changes": foreseen,
                "warnings": [*warnings, *previews.replacements(plan)],
            },
            headers={"Idempotency-Key": request.state.key},
        )

    def _asked(
        self, change: previews.Manifest, plan: Plan, position: int
    ) -> Sequence[previews.Asked]:
        """What has to be known of clusters to tell what a change means there."""
        app = previews.proposal(change["resource"], plan, position)
        if app is not None:
            return [app]
        return previews.projects(change["resource"], plan, position, self._services.desired)

    async def _foresee(self, asked: previews.Asked) -> Sequence[ObjectChange]:
        if isinstance(asked, ProjectProposal):
            return await self._services.preview_project(asked)
        return await self._services.preview(asked)

    def _key(self, request: Request) -> str:
        key = request.headers.get("idempotency-key")
        if key is None:
            return self._services.new_key()
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            rule = f"it has 1 to {MAX_KEY} printable characters"
            raise BadValue("header.Idempotency-Key", key, rule)
        return key


def _acknowledged(answer: Answer, warnings: Sequence[str], ref: Ref | None, key: str) -> Response:
    created = ref is not None and answer.changes[0].result == "created"
    body = {
        "position": answer.position,
        "generation": answer.changes[0].generation if ref else None,
        "repeated": answer.repeated,
        "dryRun": False,
        "changes": [
            {
                "resource": change.resource,
                "result": change.result,
                "generation": change.generation,
                "events": change.events,
            }
            for change in answer.changes
        ],
        "warnings": warnings,
    }
    return reply(body, 201 if created else 200, {"Idempotency-Key": key})


def _digest(request: Request, body: bytes) -> bytes:
    """Over everything that makes this submission what it is."""
    parts = (
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("if-match", ""),
        request.headers.get("if-none-match", ""),
    )
    return sha256(msgspec.json.encode(parts) + body).digest()
