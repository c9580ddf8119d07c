"""Targets that are Kubernetes clusters, and what an app may and may not ask of one."""

from dataclasses import replace

import pytest

from bus import codec
from domain import app as spec_of
from domain import events as e
from domain import intents as i
from domain import names, target
from domain.app import AppSpec, Volume
from domain.refusals import BadValue, InUse, NotPossible, Refusal
from domain.rules import on_cluster
from domain.target import K8sSettings, TargetSpec
from tests.support.intents import Desk, manifest

WEB = names.app("shop", "web")
WIDE = {"max": 9}


async def desk_on(engine: str, **settings: object) -> Desk:
    desk = Desk()
    spec = {"engine": engine, **({"k8s": settings} if settings else {})}
    await desk.send(manifest("Target", "local", spec), manifest("Project", "shop", {}))
    return desk


async def test_a_cluster_is_a_target_with_all_its_settings() -> None:
    desk = await desk_on(
        "k8s",
        kubeconfig="/etc/stateward/kubeconfig",
        context="prod",
        namespacePrefix="acme-",
        allowExec=True,
        userNamespaces=True,
    )
    assert desk.types == ["target.defined", "project.defined"]
    settings = K8sSettings(kubeconfig="/etc/stateward/kubeconfig", context="prod")
    assert target.place(TargetSpec(engine="k8s", k8s=settings))[1].endswith("#prod/stw-")


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"engine": "docker", "k8s": {}}, "spec.k8s"),
        ({"engine": "k8s", "docker": {}}, "spec.docker"),
        ({"engine": "k8s", "k8s": {"context": "prod"}}, "spec.k8s.context"),
        ({"engine": "k8s", "k8s": {"allowExec": True}}, "spec.k8s.allowExec"),
        ({"engine": "k8s", "k8s": {"namespacePrefix": "kube-"}}, "spec.k8s.namespacePrefix"),
        ({"engine": "k8s", "k8s": {"namespacePrefix": "a--"}}, "spec.k8s.namespacePrefix"),
        ({"engine": "k8s", "k8s": {"namespacePrefix": ""}}, "spec.k8s.namespacePrefix"),
        ({"engine": "k8s", "k8s": {"kubeconfig": "~/.kube/config"}}, "spec.k8s.kubeconfig"),
    ],
    ids=str,
)
async def test_settings_that_lead_nowhere_are_refused(spec: dict[str, object], path: str) -> None:
    with pytest.raises(Refusal) as refused:
        await Desk().send(manifest("Target", "local", spec))
    assert str(refused.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"command": ["run"]}, "spec.image"),
        ({"image": "web:1", "stopSignal": "SIGINT"}, "spec.stopSignal"),
        ({"image": "web:1", "env": {"A" * 254: "1"}}, f"spec.env.{'A' * 254}"),
        ({"image": "web:1", "env": {f"V{n}": "x" * 32_000 for n in range(30)}}, "spec.env"),
        ({"image": "web:1", "volumes": [{"name": "a", "path": "/a:b"}]}, "spec.volumes[0].path"),
        (
            {"image": "web:1", "health": {"liveness": {"exec": {"argv": ["a"]}, "successes": 2}}},
            "spec.health.liveness.successes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
async def test_what_no_cluster_can_run_is_refused(spec: dict[str, object], path: str) -> None:
    with pytest.raises(BadValue) as refused:
        await (await desk_on("k8s")).send(manifest("App", "web", spec))
    assert str(refused.value).startswith(f"{path}:")
    assert "target local runs k8s" in str(refused.value)


@pytest.mark.parametrize("engine", ["docker", "process", "simulated"])
async def test_only_a_cluster_scales_by_itself(engine: str) -> None:
    desk = await desk_on(engine)
    with pytest.raises(BadValue, match=f"spec.autoscale.* {engine}.*give spec.replicas"):
        await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": WIDE}))


@pytest.mark.parametrize(
    ("autoscale", "path"),
    [
        ({"min": 5, "max": 4}, "spec.autoscale.min"),
        ({"max": 4, "memory": 50}, "spec.autoscale.memory"),
    ],
)
async def test_bounds_that_exclude_each_other_are_refused(
    autoscale: dict[str, object], path: str
) -> None:
    with pytest.raises(BadValue) as refused:
        await (await desk_on("k8s")).send(
            manifest("App", "web", {"image": "web:1", "autoscale": autoscale})
        )
    assert str(refused.value).startswith(f"{path}:")


async def stored(desk: Desk) -> spec_of.AppSpec:
    event = desk.log.events[-1]
    decoded = codec.decode(event.type, event.data)
    assert isinstance(decoded, e.AppEvent)
    return spec_of.decode(bytes(decoded.spec))


async def test_other_bounds_are_recorded_and_are_no_new_revision() -> None:
    desk = await desk_on("k8s")
    await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": WIDE}))
    await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": {"max": 20}}))
    assert desk.types[-1] == "app.autoscale-set"
    found = (await stored(desk)).autoscale
    assert found is not None
    assert (found.min, found.max, found.cpu) == (1, 20, 80)
    before = len(desk.types)
    await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": {"max": 20}}))
    assert len(desk.types) == before


async def test_an_app_that_scales_itself_is_not_scaled_by_hand() -> None:
    desk = await desk_on("k8s")
    await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": WIDE}))
    with pytest.raises(NotPossible, match="apply it with other bounds"):
        await desk.send(i.Scale(ref=WEB, replicas=3))


async def test_undo_keeps_the_bounds_of_today() -> None:
    desk = await desk_on("k8s")
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    await desk.send(manifest("App", "web", {"image": "web:2", "autoscale": WIDE}))
    await desk.send(i.Undo(ref=WEB, to=1))
    found = await stored(desk)
    assert (found.image, found.autoscale and found.autoscale.max) == ("web:1", 9)


async def test_a_cluster_with_apps_is_not_exchanged_for_another() -> None:
    desk = await desk_on("k8s")
    await desk.send(manifest("App", "web", {"image": "web:1"}))
    other = {"engine": "k8s", "k8s": {"namespacePrefix": "other-"}}
    with pytest.raises(InUse, match="cluster or namespacePrefix"):
        await desk.send(manifest("Target", "local", other))


async def test_who_takes_the_scaling_back_says_how_many() -> None:
    desk = await desk_on("k8s")
    await desk.send(manifest("App", "web", {"image": "web:1", "autoscale": WIDE}))
    with pytest.raises(BadValue, match="name spec\\.replicas"):
        await desk.send(manifest("App", "web", {"image": "web:1"}))
    await desk.send(manifest("App", "web", {"image": "web:1", "replicas": 7}))
    found = await stored(desk)
    assert (found.replicas, found.autoscale) == (7, None)


DATA = Volume(name="data", path="/data")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((), (), ""),
        ((DATA,), (replace(DATA, path="/var"),), ""),
        ((DATA,), (replace(DATA, size="2Gi"),), "StatefulSet is made anew"),
        ((DATA,), (DATA, replace(DATA, name="more")), "StatefulSet is made anew"),
        ((), (DATA,), "Deployment gives way to a StatefulSet"),
        ((DATA,), (), "StatefulSet gives way to a Deployment"),
        ((), (replace(DATA, scope="app"),), ""),
    ],
)
def test_what_a_cluster_makes_anew_is_known_before(
    before: tuple[Volume, ...], after: tuple[Volume, ...], said: str
) -> None:
    found = on_cluster.replacements(AppSpec(volumes=before), AppSpec(volumes=after))
    assert len(found) == bool(said)
    assert said in "".join(found)
