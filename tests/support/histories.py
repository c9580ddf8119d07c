"""Random histories: intents that people could have sent, and what reconcilers would have recorded.

A history is a list of steps, played through the real rules into a log in memory. What the rules
refuse is simply not in the log; what nobody could have written (an event of an unknown kind) is
put there directly.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from hypothesis import strategies as st

from bus import codec
from bus.log import NewEvent, StoredEvent
from domain import events as e
from domain import intents as i
from domain.access import part_of_ours
from domain.names import Ref, app, status_stream
from domain.refusals import Refusal
from domain.state import App
from simulation import loop
from tests.support.intents import NOON, Desk, manifest

NAMES = ("web", "api")
FORMER = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"  # the installation that is adopted from
UNKNOWN = "app.teleported"  # an event of a version to come

type Step = Callable[[Desk], Awaitable[object]]


class Told(NamedTuple):
    """A step, and how it reads in a failing example."""

    words: str
    step: Step

    def __repr__(self) -> str:
        return self.words


def _intent(words: str, intent: i.Intent) -> Told:
    return Told(words, lambda desk: desk.send(intent))


def _apply(
    name: str,
    image: str,
    replicas: int | None,
    *,
    secret: bool,
    routes: Sequence[dict[str, Any]] = (),
) -> Told:
    env = {"PASSWORD": {"secretRef": {"name": "db", "key": "password"}}} if secret else {}
    spec: dict[str, object] = {"image": image, "env": env}
    if replicas is not None:
        spec["replicas"] = replicas
    routes = [{**one, "mirror": _other(name, one["mirror"])} for one in routes]
    if routes:
        spec |= {"ports": [{"name": "http", "port": 80}], "routes": routes}
    words = f"apply {name} {image} x{replicas}{' with the secret' if secret else ''} {routes}"
    return Told(words, lambda desk: desk.send(manifest("App", name, spec)))


def _other(name: str, percent: int | None) -> dict[str, object] | None:
    """The other app, which gets copies of so many requests."""
    if percent is None:
        return None
    return {"app": next(one for one in NAMES if one != name), "percent": percent}


def _secret(value: str) -> Told:
    asked = manifest("Secret", "db", {"data": {"password": value}})
    return Told(f"secret {value}", lambda desk: desk.send(asked))


def _resolve(name: str, image: str) -> Told:
    async def step(desk: Desk) -> None:
        ref = app("shop", name)
        present = await desk.service.present(ref.stream)
        assert isinstance(present, App)
        intent = i.ResolveImage(ref=ref, revision=present.revision, image=image)
        await desk.send(intent, actor=part_of_ours("images"))

    return Told(f"resolve {name} {image}", step)


def _transition(name: str, kind: type[e.Transition], late: int) -> Told:
    """What a reconciler records of the present app, or (`late`) of one that went before it."""

    async def step(desk: Desk) -> None:
        ref = app("shop", name)
        present = await desk.service.present(ref.stream)
        assert isinstance(present, App)
        fields: dict[str, Any] = {"uid": max(0, present.uid - late)}
        if kind in (e.RolloutStarted, e.RolloutCompleted, e.RolloutStalled):
            fields["revision"] = present.revision
        if kind is e.RolloutCompleted and present.revision % 2:
            fields["target"] = "spare"  # it was rolled out there, and moves to where it is now
        if kind is e.RolloutStalled:
            fields["message"] = "it did not become healthy"
        if kind is e.ReplicaHealed:
            fields |= {"revision": present.revision, "slot": 0, "reason": "removed"}
        if kind is e.AdoptionCompleted:
            fields |= {"installation": FORMER, "adopted": present.generation}
        event = kind(actor="system:replicas", cause="1", at=NOON, **fields)
        new = NewEvent(status_stream(ref), kind.type, codec.encode(event))
        await desk.log.append([new], expect={})

    return Told(f"{kind.type} of {name}", step)


def _poison(stream: str) -> Told:
    async def step(desk: Desk) -> None:
        await desk.log.append([NewEvent(stream, UNKNOWN, b"{}")], expect={})

    return Told(f"an unknown event in {stream}", step)


_names = st.sampled_from(NAMES)
_images = st.sampled_from(["a:1", "a:2", "a:3"])
_counts = st.none() | st.integers(0, 3)
_contexts: st.SearchStrategy[list[dict[str, str]]] = st.just([]) | st.builds(
    lambda header, value, fallback: [{"header": header, "value": value, "fallback": fallback}],
    st.sampled_from(["x-feature", "x-user"]),
    st.sampled_from(["blue", "green"]),
    st.sampled_from(["base", "none"]),
)
_route = st.builds(
    lambda host, path, contexts, mode, mirror: {
        "host": host,
        "path": path,
        "contexts": contexts,
        "tls": {"mode": mode},
        "mirror": mirror,
    },
    st.sampled_from(["a.localhost", "b.localhost"]),
    st.sampled_from(["/", "/api", "/api/v1", "/apix"]),
    _contexts,
    st.sampled_from(["off", "internal"]),
    st.sampled_from([None, 10]),
)
_routes: st.SearchStrategy[list[dict[str, Any]]] = st.just([]) | st.lists(
    _route, min_size=1, max_size=3
)
_transitions = st.sampled_from(
    [
        e.RolloutStarted,
        e.RolloutCompleted,
        e.RolloutStalled,
        e.RemovalCompleted,
        e.ReplicaHealed,
        e.AdoptionCompleted,
    ]
)


def _of_app(name: str) -> st.SearchStrategy[Told]:
    ref = app("shop", name)
    plain = [
        _intent(f"{verb.verb} {name}", verb(ref=ref))
        for verb in (i.Start, i.Stop, i.Restart, i.Undo, i.Refresh, i.Resume, i.Delete)
    ]
    plain += [
        _intent(f"orphan {name}", i.Delete(ref=ref, orphan=True)),
        _intent(f"delete {name} and volumes", i.Delete(ref=ref, volumes=True)),
        _intent(f"pause {name}", i.Hold(ref=ref, reason="sale")),
        _intent(f"adopt {name}", i.Adopt(ref=ref, installation=FORMER)),
    ]
    scales = [_intent(f"scale {name} x{n}", i.Scale(ref=ref, replicas=n)) for n in range(4)]
    undos = [_intent(f"undo {name} to {n}", i.Undo(ref=ref, to=n)) for n in (1, 2)]
    return st.sampled_from([*plain, *scales, *undos])


_project = Ref("Project", "", "shop")
_whole_project = st.sampled_from(
    [
        _intent("delete the project", i.Delete(ref=_project, cascade=True)),
        _intent("leave the project", i.Delete(ref=_project, orphan=True)),
        Told("apply the project", lambda desk: desk.send(manifest("Project", "shop", {}))),
    ]
)
_common = (
    st.builds(_apply, _names, _images, _counts, secret=st.booleans(), routes=_routes),
    _names.flatmap(_of_app),
    _names.flatmap(_of_app),
    st.builds(_transition, _names, _transitions, st.sampled_from([0, 0, 0, 0, 1])),
    st.sampled_from([_secret("a"), _secret("b")]),
    st.builds(_resolve, _names, st.sampled_from(["sha256:aa", "sha256:bb"])),
)
_rare = (
    st.just(_intent("delete the secret", i.Delete(ref=Ref("Secret", "shop", "db")))),
    _whole_project,
)
_weighed = st.sampled_from(_common * 6 + _rare)  # as `one_of` forgets what is listed twice
steps: st.SearchStrategy[Told] = _weighed.flatmap(lambda chosen: chosen)
poisons: st.SearchStrategy[Told] = st.sampled_from(
    [_poison(f"App/shop/{name}") for name in NAMES]
    + [_poison(status_stream(app("shop", NAMES[0]))), _poison("Project/shop#members")]
)


def played(told: Sequence[Told], *, furnished: bool = True) -> list[StoredEvent]:
    """The log after a target, a project and (`furnished`) a secret and two apps were made, and the
    steps taken.
    """

    async def play() -> list[StoredEvent]:
        desk = Desk()
        await desk.furnish()
        apps = [_apply(name, "a:1", 2, secret=name == "web") for name in NAMES]
        for one in (*((_secret("a"), *apps) if furnished else ()), *told):
            with suppress(Refusal):
                await one.step(desk)
        return desk.log.events

    found: list[StoredEvent] = []

    async def main() -> None:
        found.extend(await play())

    loop.run(main())
    return found
