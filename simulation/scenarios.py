"""Scenarios: short stories over a world, each told so that it can be told through crashes too.

What is asked keeps its idempotency key until there is an answer, and mischief names whatever
replica has a slot at that moment: the same story means the same, however often the control plane
ends in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, final

from bus.intents import Asked
from domain import intents as i
from domain.names import Ref, app
from reconcilers.ports import ReplicaName, ReplicaState
from reconcilers.status import AppStatus
from simulation.asking import SECRET_MARK, app_spec, manifest
from simulation.invariants.rest import Broken, RestInvariants
from simulation.invariants.violations import Invariant
from simulation.world import World

LOOK_SECONDS: Final = 1.0  # between two looks whether the world is at rest
WEB: Final = app("shop", "web")
API: Final = app("shop", "api")
DATA: Final = [{"name": "data", "path": "/data"}]
ROUTES: Final = [{"host": "web.localhost"}]
PROPAGATION: Final = 1.0  # seconds
CLOUD: Final = ("cloud",)  # a target that is a cluster
CLUSTER_BOUND: Final = 120.0  # seconds; its controllers and nodes act once a second


type End = dict[str, list[Any]]
"""What serves, what is said of it, what else is on the machines, and what was decided."""


class Restless(Exception):
    """The world did not come to rest in time; what keeps it is reported to it."""


@final
class Scene:
    """A world in which a story is told. `bound` is how many seconds each rest may take to come."""

    def __init__(self, world: World, bound: float) -> None:
        self.world, self._bound = world, bound
        self._rest = RestInvariants(world.truth, world.objects, world.routing, world.serving)
        self._asked = 0
        self.longest = 0.0
        """How many seconds the longest wait for rest took."""

    async def ask(self, *asked: Asked) -> None:
        """Ask for all of it at once, until there is an answer."""
        self._asked += 1
        key = f"scene-{self._asked}"
        await self.world.client.ask(asked, key)
        if key in self.world.client.requests.refused:
            why = self.world.client.requests.refused[key]
            self.world.report(Invariant.SAME, f"what can be asked was refused: {why}")

    async def apply(self, ref: Ref, image: str = "web:1", how: str = "", **more: Any) -> None:
        await self.ask(spec_of(ref, image, how, **more))

    async def rest(self) -> None:
        """Wait until all is as it should be.

        Raises:
            Restless: it was not within the bound, or an invariant broke meanwhile.
        """
        await self._until(self.broken)

    async def until_told(self, ref: Ref, condition: str) -> None:
        """Wait until a condition of an app's status is true. Raises as `rest`."""

        def untold() -> list[Broken]:
            status = self._status_of(ref.stream)
            told = status is not None and status.is_true(condition)
            return [] if told else [(Invariant.ENDED, f"{ref} is not {condition}")]

        await self._until(untold)

    async def _until(self, broken: Callable[[], list[Broken]]) -> None:
        world, began = self.world, self.world.clock()
        while left := broken():
            if world.clock() > began + self._bound:
                for invariant, what in left:
                    world.report(invariant, what)
            if world.violations:
                raise Restless
            await asyncio.sleep(LOOK_SECONDS)
        self.longest = max(self.longest, world.clock() - began)

    def broken(self) -> list[Broken]:
        """What is not (yet) as it should be."""
        broken = list(self._rest.broken(self._status_of))
        if self.world.acting() is None:
            broken.append((Invariant.SETTLED, "no control plane runs"))
        if self.world.site.sent:
            broken.append((Invariant.SETTLED, "calls are on their way to a machine"))
        return broken

    def end(self) -> End:
        """How the world is at the end, as far as no crash may change it."""
        world = self.world
        summary: End = dict(self._rest.summary())
        for app_there in world.truth.apps():
            status = self._status_of(app_there.ref.stream)
            summary[f"status of {app_there.ref}"] = [
                (said.type, said.status, said.reason)
                for said in (status.conditions if status else ())
            ]
        for target, machine in world.machines.items():
            for (owner, project), ground in machine.grounds.items():
                summary[f"{owner} {project} on {target}"] = [
                    ground.is_prepared,
                    *sorted(ground.volumes),
                ]
        for target, cluster in world.clusters.items():
            summary[f"objects of {target}"] = sorted(
                str(key) for key, _ in cluster.store.all() if key.kind not in {"Pod", "ReplicaSet"}
            )
        for target, router in world.routers.items():
            ends = router.endpoints.items()
            summary[f"endpoints of {target}"] = [(one.app, len(there)) for one, there in ends]
        for row in world.disk.events:
            if not row.stream.endswith("#status"):
                summary.setdefault(f"history of {row.stream}", []).append(row.type)
        return summary

    async def disturb(self, ref: Ref, slot: int, how: str, target: str = "local") -> None:
        """Do mischief to the replica that has a slot, and wait until somebody can have noticed."""
        world = self.world
        machine, mischief = world.machines[target], world.mischief[target]
        world.truth.disturb(ref.stream, world.clock())
        name = next(
            one.order.name
            for one in machine.owned(world.site.installation, (ref.project, ref.name))
            if one.order.name.slot == slot and one.seen.state is ReplicaState.RUNNING
        )
        match how:
            case "kill":
                mischief.kill(name)
            case "remove":
                mischief.lose(name)
            case _:
                mischief.edit(name, "memory")
        await asyncio.sleep(LOOK_SECONDS)

    def _status_of(self, stream: str) -> AppStatus | None:
        controller = self.world.acting()
        return controller.status.get(stream) if controller else None


def spec_of(ref: Ref, image: str, how: str = "", **more: Any) -> Asked:
    """The manifest of an app. Its check is asked every second: nobody waits for it for long."""
    readiness = {"http": {"path": "/", "port": "http"}, "interval": "2s"}
    health = {"health": {"readiness": readiness}}
    return manifest("App", ref.name, app_spec(image, how, **health, **more), ref.project)


type Story = Callable[[Scene], Awaitable[None]]


class Scenario(NamedTuple):
    """A story and the world for it.

    `before` is told first and without crashes: another scenario has its effects. `bound` is how
    many seconds after its last intent, crash or mischief the world may need to come to rest. With
    `propagation`, the machines have routers.
    """

    name: str
    before: Story
    story: Story
    targets: Sequence[str] = ("local",)
    bound: float = 60.0
    clusters: Sequence[str] = ()
    propagation: float | None = None

    def furniture(self) -> list[Asked]:
        """The targets and the project that everything else needs."""
        targets = [manifest("Target", name, {"engine": "simulated"}) for name in self.targets]
        targets += [manifest("Target", name, {"engine": "k8s"}) for name in self.clusters]
        first = (*self.targets, *self.clusters)[0]
        return [*targets, manifest("Project", "shop", {"target": first})]


async def _nothing(_: Scene) -> None:
    return


def _running(replicas: int, **more: Any) -> Story:
    """A web app that runs already."""

    async def before(scene: Scene) -> None:
        await scene.apply(WEB, replicas=replicas, **more)
        await scene.rest()

    return before


def _asked(*asked: Asked) -> Story:
    """Ask for one thing after the other, and wait for each."""

    async def story(scene: Scene) -> None:
        for one in asked:
            await scene.ask(one)
            await scene.rest()

    return story


async def _failing_and_mended(scene: Scene) -> None:
    await scene.apply(WEB, "web:2", "exit=1", rollout={"progressDeadline": "10s"})
    await scene.rest()
    await scene.apply(WEB, "web:3")
    await scene.rest()


async def _stalled_and_undone(scene: Scene) -> None:
    await scene.apply(WEB, "web:2", "unready", rollout={"progressDeadline": "10s"})
    await scene.rest()
    await scene.until_told(WEB, "Degraded")
    await scene.ask(i.Undo(ref=WEB))
    await scene.rest()


async def _recreated(scene: Scene) -> None:
    await scene.ask(i.Delete(ref=WEB))
    await scene.apply(WEB, "web:2", replicas=2)
    await scene.rest()


async def _with_secret(scene: Scene) -> None:
    await scene.ask(_secret("old"))
    env = {"PASSWORD": {"secretRef": {"name": "db", "key": "password"}}}
    await scene.apply(WEB, replicas=2, env=env)
    await scene.rest()


def _secret(value: str) -> Asked:
    return manifest("Secret", "db", {"data": {"password": f"{SECRET_MARK}-{value}"}})


async def _undone(scene: Scene) -> None:
    await scene.apply(WEB, "web:2")
    await scene.rest()
    await scene.ask(i.Undo(ref=WEB))
    await scene.rest()


async def _paused(scene: Scene) -> None:
    await scene.ask(i.Hold(ref=WEB, reason="a sale"))
    await scene.apply(WEB, "web:2", replicas=3)
    await scene.rest()
    await scene.ask(i.Resume(ref=WEB))
    await scene.rest()


async def _healed(scene: Scene) -> None:
    for slot, how in enumerate(("kill", "remove", "edit")):
        await scene.disturb(WEB, slot, how)
        await scene.rest()


async def _squatted(scene: Scene) -> None:
    scene.world.mischief["local"].squat(ReplicaName("shop", "web", 1, 0, 1))
    scene.world.engines.foreign_changed()
    await scene.apply(WEB, replicas=2)
    await scene.rest()


async def _late(scene: Scene) -> None:
    machine = scene.world.machines["local"]
    machine.missing_images.add("web:2")
    await scene.apply(WEB, "web:2")
    await scene.rest()
    machine.missing_images.discard("web:2")
    await scene.rest()


async def _together(scene: Scene) -> None:
    await scene.ask(
        spec_of(WEB, "web:1", replicas=2), spec_of(API, "api:1"), _secret("one"), _project()
    )
    await scene.rest()


def _project() -> Asked:
    return manifest("Project", "shop", {"target": "local", "description": "all of it"})


async def _both(scene: Scene) -> None:
    await scene.ask(spec_of(WEB, "web:1", replicas=2), spec_of(API, "api:1"))
    await scene.rest()


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("first-deploy", _nothing, _running(2)),
        Scenario("rollout", _running(3), _asked(spec_of(WEB, "web:2"))),
        Scenario(
            "rollout-in-place",
            _running(2, volumes=DATA),
            _asked(spec_of(WEB, "web:2", volumes=DATA)),
        ),
        Scenario("failing-rollout", _running(2), _failing_and_mended),
        Scenario("stalled-rollout", _running(2), _stalled_and_undone),
        Scenario("scale-up", _running(1), _asked(i.Scale(ref=WEB, replicas=4))),
        Scenario("scale-down", _running(4), _asked(i.Scale(ref=WEB, replicas=1))),
        Scenario("stop-and-start", _running(2), _asked(i.Stop(ref=WEB), i.Start(ref=WEB))),
        Scenario("restart", _running(2), _asked(i.Restart(ref=WEB))),
        Scenario("delete", _running(2, volumes=DATA), _asked(i.Delete(ref=WEB, volumes=True))),
        Scenario("delete-and-recreate", _running(2), _recreated),
        Scenario("rotate-a-secret", _with_secret, _asked(_secret("new"))),
        Scenario("undo", _running(2), _undone),
        Scenario("pause-and-resume", _running(2), _paused),
        Scenario(
            "move",
            _running(2),
            _asked(spec_of(WEB, "web:1", target="spare")),
            ("local", "spare"),
        ),
        Scenario("first-deploy-to-a-cluster", _nothing, _running(2), (), CLUSTER_BOUND, CLOUD),
        Scenario(
            "rollout-in-a-cluster",
            _running(2),
            _asked(spec_of(WEB, "web:2")),
            (),
            CLUSTER_BOUND,
            CLOUD,
        ),
        Scenario(
            "move-to-a-cluster",
            _running(2),
            _asked(spec_of(WEB, "web:1", target="cloud")),
            ("local",),
            CLUSTER_BOUND,
            CLOUD,
        ),
        Scenario(
            "rollout-behind-a-router",
            _running(2, routes=ROUTES),
            _asked(spec_of(WEB, "web:2", "unready=3", routes=ROUTES)),
            propagation=PROPAGATION,
        ),
        Scenario(
            "delete-behind-a-router",
            _running(1, routes=ROUTES),
            _asked(i.Delete(ref=WEB)),
            propagation=PROPAGATION,
        ),
        Scenario("heal", _running(3), _healed),
        Scenario("squatted-name", _nothing, _squatted),
        Scenario("late-image", _running(1), _late),
        Scenario("several-at-once", _nothing, _together),
        Scenario(
            "delete-a-project",
            _both,
            _asked(i.Delete(ref=Ref("Project", "", "shop"), cascade=True)),
        ),
    )
}
