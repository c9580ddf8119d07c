"""Least privilege: the ClusterRoles that ship are enough for all that Stateward does, no more."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from adapters.k8s.errors import Asked
from adapters.k8s.grants import GRANTS, LEFT, OWNED, NotGranted, permit
from adapters.k8s.kinds import OF_ROUTES
from domain import intents as i
from domain.names import app, project
from projections.route_table import Backend, Share
from reconcilers.object_labels import APP, INSTALLATION, PART_OF, TARGET
from reconcilers.object_ports import HANDOVER, Manifest, ObjectKey, Objects, Stage
from tests.support.cluster_house import TOKEN, ClusterHouse, cluster_house
from tests.support.deployment import ACCOUNT, read, without
from tests.support.intents import manifest
from tests.support.k8s_orders import order
from tests.support.k8s_routes import reached
from tests.support.kubernetes.definitions import HTTP_ROUTE, TRAEFIK
from tests.support.kubernetes.pods import Session
from tests.support.route_tables import row

PORTS = [{"name": "http", "port": 8080}]
WEB = {
    "image": "web:1",
    "ports": PORTS,
    "replicas": 2,
    "env": {"PASSWORD": {"secretRef": {"name": "db", "key": "password"}}, "LEVEL": "info"},
    "volumes": [{"name": "data", "path": "/data", "scope": "app", "size": "1Gi"}],
}
BUSY = {"image": "web:1", "autoscale": {"min": 1, "max": 3, "cpu": 80}, "resources": {"cpu": "1"}}
STORE = {
    "image": "store:1",
    "volumes": [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}],
}


def granted() -> Iterator[tuple[str, str, str]]:
    """Every verb on every resource that the roles allow."""
    for role in read("cluster-roles.yaml"):
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from ((verb, group, resource) for verb in rule["verbs"])


async def live(house: ClusterHouse) -> None:
    """Everything that an app may have is made, looked into, and taken away."""
    await house.send(
        manifest("Secret", "db", {"data": {"password": "p"}}), manifest("App", "web", WEB)
    )
    await house.send(manifest("App", "busy", BUSY))
    await house.send(manifest("App", "store", STORE))
    for name in ("web", "busy", "store"):
        await house.ready(name)
        await meet(house, name)
    await meet(house, "")
    view = house.parts.targets.get("prod")
    assert view is not None
    replica = next(iter(await view.engine.replicas.list(("shop", "web"))))
    [_ async for _ in view.engine.io.logs(replica, tail=1, since=None, follow=False)]

    async def nothing(_session: Session) -> int:
        return 0

    house.server.pods.commands["true"] = nothing
    assert (await view.engine.io.run(replica, ["true"], timeout_seconds=5)).exit_code == 0
    for version, kind in LEFT:  # as of a workload that went without them
        found = next(one for one in house.all(kind) if one["metadata"]["labels"][APP] == "web")
        name, uid = found["metadata"]["name"], found["metadata"]["uid"]
        key = ObjectKey(version, kind, found["metadata"]["namespace"], name)
        engine = objects_of(house).engine
        await engine.delete(key, owner=("shop", "web"), uid=uid, propagation="Background")
    # what an app has no need of any more goes, its number by the autoscaler's hand included
    await house.send(manifest("App", "busy", {"image": "web:1", "replicas": 1}))
    await house.until(lambda: house.found("HorizontalPodAutoscaler", "busy") is None)
    for name in ("web", "busy", "store"):
        await house.send(i.Delete(ref=app("shop", name), volumes=True))
    await house.until(lambda: house.types.count("removal.completed") == 4)
    await house.send(i.Delete(ref=project("shop"), cascade=True))
    await house.until(lambda: house.server.inside.get("Namespace", "", "stw-shop") is None)


async def route(house: ClusterHouse) -> None:
    """Each router in turn leads to an app; what the one before was given goes."""
    for definition in (HTTP_ROUTE, *TRAEFIK):
        house.server.inside.create("CustomResourceDefinition", "", definition)
    url = {"host": "web.localhost", "path": "/a", "stripPrefix": True, "tls": {"mode": "off"}}
    plain = {"host": "web.localhost", "tls": {"mode": "off"}}
    spec = {"image": "web:1", "ports": PORTS, "routes": [url, plain]}
    await house.send(manifest("App", "routed", spec))
    at = {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}
    kinds = {"gateway": "HTTPRoute", "traefik": "IngressRoute", "ingress": "Ingress"}
    for router, kind in kinds.items():
        await house.send(manifest("Target", "prod", {**at, "routing": {"router": router}}))
        others = [one for one in kinds.values() if one != kind]

        def changed(kind: str = kind, others: Sequence[str] = others) -> bool:
            return bool(house.all(kind)) and not any(house.all(one) for one in others)

        await house.until(changed)
        await seen(house, "routed", (*kinds.values(), "Middleware"))
        await meet(house, "routed")
        if router == "traefik":
            await share(house)
    await house.send(manifest("Target", "prod", {**at, "routing": {"router": "none"}}))
    left = (*kinds.values(), "Middleware", "TraefikService")
    await house.until(lambda: not any(house.all(kind) for kind in left))
    await house.send(i.Delete(ref=app("shop", "routed")))


async def seen(house: ClusterHouse, name: str, kinds: Sequence[str]) -> None:
    """Wait until the copy of an app's objects has those of some kinds."""
    async with asyncio.timeout(60):
        while True:
            copied = await objects_of(house).engine.list(("shop", name))
            made = {one["metadata"]["uid"] for kind in kinds for one in house.all(kind)}
            if made <= {one["metadata"]["uid"] for one in copied}:
                return
            await asyncio.sleep(0.02)


async def share(house: ClusterHouse) -> None:
    """A row that gives parts of its requests to several apps, which no spec can ask for yet."""
    objects, found = objects_of(house), house.desired.app("App/shop/routed")
    assert found is not None
    asked = order({"image": "web:1", "ports": PORTS}, app="routed", uid=found.uid)
    backend = Backend("App/shop/routed", found.uid, "http")
    split = row("web.localhost", "/", (Share(backend, 9), Share(backend, 1)))
    made = objects.renderer.app(reached(asked, split))
    [shared] = [one for one in made if one.key.kind == "TraefikService"]
    labels = {n: of for n, of in shared.body["metadata"]["labels"].items() if n != PART_OF}
    body = {**shared.body, "metadata": {**shared.body["metadata"], "labels": labels}}
    alone = msgspec.structs.replace(shared, body=body)  # of no set, so it is no stray
    for one in (alone, alone, shared):
        await objects.engine.apply(one, owner=("shop", "routed"), uid=None, position=1)


async def meet(house: ClusterHouse, name: str) -> None:
    """Apply what is there as if it had not been seen: then it is asked for by its name."""
    objects = objects_of(house)
    for one in await objects.engine.list(("shop", name)):
        is_there = house.server.inside.get(one["kind"], *ObjectKey.of(one)[2:])  # not only seen
        if is_there and (one["apiVersion"], one["kind"]) in (*OWNED, *OF_ROUTES):
            labels = {n: one["metadata"]["labels"][n] for n in (INSTALLATION, TARGET)}
            metadata = {**ObjectKey.of(one)._asdict(), "labels": labels}
            body = {"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": metadata}
            for field in ("api_version", "kind", *(() if metadata["namespace"] else ["namespace"])):
                del metadata[field]
            again = Manifest(stage=Stage.CONFIG, body=body, digest="")
            await objects.engine.apply(
                again, owner=("shop", name), uid=None, position=1, manager=HANDOVER
            )


def objects_of(house: ClusterHouse) -> Objects:
    view = house.parts.targets.get("prod")
    assert view is not None
    assert view.objects is not None
    return view.objects


async def test_all_that_is_granted_is_needed_and_all_that_is_needed_is_granted(
    tmp_path: Path,
) -> None:
    async with cluster_house(tmp_path) as house:
        await route(house)
        await live(house)
        assert house.server.access.used[ACCOUNT] == set(granted())


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("patch", "deployments"), ("create", "serviceaccounts"), ("patch", "services")],
)
async def test_a_verb_that_the_roles_lack_is_refused_and_named(
    tmp_path: Path, verb: str, resource: str
) -> None:
    async with cluster_house(tmp_path) as house:
        house.server.access.users[TOKEN] = without(verb, resource)
        await house.send(manifest("App", "web", {"image": "web:1", "ports": PORTS}))
        await house.until(lambda: house.reason("Degraded") == ("True", "Forbidden"))
        status = house.of()
        assert status is not None
        told = status.condition("Degraded")
        assert told is not None
        assert f"may not {verb} {resource}" in told.message


def test_a_request_that_is_not_in_the_table_cannot_be_sent() -> None:
    permit(Asked("apply", "deployments.apps", "shop", "web"))
    permit(Asked("discover", "the kinds of example.com/v1"))
    with pytest.raises(NotGranted, match=r"no \['create', 'patch'\] on jobs.batch"):
        permit(Asked("apply", "jobs.batch", "shop", "once"))
    with pytest.raises(NotGranted, match="delete"):
        permit(Asked("delete", "events", "shop", "web-1"))


def test_the_roles_are_the_table() -> None:
    told = {
        (verb, resource.partition(".")[2], resource.partition(".")[0])
        for resource, verbs in GRANTS.items()
        for verb in verbs
    }
    assert set(granted()) == told
