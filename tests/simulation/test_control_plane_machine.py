"""A control plane under whatever people, engines, disks and crashes do, in any order.

Each rule is a sentence of a story, and Hypothesis looks for the shortest that breaks something. No
rule waits for what it began; `time_passes` does. In the end all that is wrong stops, and the world
must come to rest as another would that has the same log, and never had any trouble.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bus.intents import Asked
from bus.log import LogError, LogUnavailable
from domain import intents as i
from domain.names import Ref, app
from reconcilers.passing import WorkerSettings
from reconcilers.ports import EngineUnavailable, ReplicaState
from simulation.asking import SECRET_MARK, app_spec, manifest
from simulation.faults import CALM, Call, Trouble
from simulation.invariants.rest import Broken, RestInvariants
from simulation.invariants.violations import Invariant
from simulation.loop import VirtualLoop
from simulation.machine import Running
from simulation.program import ImpossibleWorld
from simulation.scenarios import DATA
from simulation.sinks import heard
from simulation.world import World

TARGETS: Final = ("local", "spare")
SETTINGS: Final = WorkerSettings(passes=2)
BOUND: Final = 900.0  # seconds to rest: a backoff at its cap twice, and a rollout
QUIET: Final = 12.0  # seconds, longer than from one replay tick to the next
CONFUSED: Final = 60.0  # seconds after which what one of two has done is known to the other

NAMES = st.sampled_from(["web", "api"])
IMAGES = st.sampled_from(["web:1", "web:2", "web:3"])
PLACES = st.sampled_from(TARGETS)
HOWS = st.sampled_from(["", "", "", "exit=1", "lives=20", "unready", "slow=3"])
SIDES = st.sampled_from(["before", "after"])
VERBS = st.sampled_from(["start", "stop", "remove", "list", "resolve", "prepare"])
SECONDS = st.sampled_from([0.1, 1.0, 5.0, 30.0])


class ControlPlaneMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.around = ExitStack()
        self.world = self.run(self._made())
        self.around.enter_context(heard(self._broke, self._leaked))
        self.troubles: dict[tuple[str, str], Trouble] = {}
        self.log_away = False
        self.swallowed = 0
        self.keys = 0
        self._wire()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # -- what people ask ----------------------------------------------------------------------

    @initialize()
    def there_are_targets_a_project_and_a_secret(self) -> None:
        targets = [manifest("Target", name, {"engine": "simulated"}) for name in TARGETS]
        self.ask(*targets, manifest("Project", "shop", {"target": "local"}), secret("first"))
        self.time_passes(0.1)

    @rule(
        name=NAMES,
        image=IMAGES,
        replicas=st.integers(1, 3),
        how=HOWS,
        on=PLACES,
        volumes=st.booleans(),
        reads_secret=st.booleans(),
    )
    def apply(
        self,
        name: str,
        image: str,
        replicas: int,
        how: str,
        on: str,
        volumes: bool,
        reads_secret: bool,
    ) -> None:
        spec = app_spec(image, how, replicas=replicas, target=on)
        spec["rollout"] = {"progressDeadline": "30s"}
        if volumes:
            spec["volumes"] = DATA
        if reads_secret:
            spec["env"]["PASSWORD"] = {"secretRef": {"name": "db", "key": "password"}}
        self.ask(manifest("App", name, spec))

    @rule(name=NAMES, replicas=st.integers(0, 4))
    def scale(self, name: str, replicas: int) -> None:
        self.ask(i.Scale(ref=app("shop", name), replicas=replicas))

    @rule(name=NAMES, verb=st.sampled_from([i.Stop, i.Start, i.Restart, i.Undo, i.Refresh]))
    def want(self, name: str, verb: type[i.Intent]) -> None:
        self.ask(verb(ref=app("shop", name)))

    @rule(name=NAMES)
    def pause(self, name: str) -> None:
        self.ask(i.Hold(ref=app("shop", name), reason="a sale"))

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        self.ask(i.Resume(ref=app("shop", name)))

    @rule(name=NAMES, volumes=st.booleans())
    def delete(self, name: str, volumes: bool) -> None:
        self.ask(i.Delete(ref=app("shop", name), volumes=volumes))

    @rule(value=st.sampled_from(["first", "second"]))
    def rotate_the_secret(self, value: str) -> None:
        self.ask(secret(value))

    # -- what happens to replicas and engines -------------------------------------------------

    def _replicas(self) -> list[tuple[str, Running]]:
        owned = self.world.truth.owned()
        return [pair for pair in owned if pair[1].seen.state is ReplicaState.RUNNING]

    @precondition(lambda self: bool(self._replicas()))
    @rule(
        number=st.integers(0, 5),
        deed=st.sampled_from(["is killed", "is removed", "is edited", "falls sick"]),
    )
    def a_replica(self, number: int, deed: str) -> None:
        replicas = self._replicas()
        target, one = replicas[number % len(replicas)]
        name, mischief = one.order.name, self.world.mischief[target]
        self.world.truth.disturb(Ref("App", name.project, name.app).stream, self.world.clock())
        match deed:
            case "is killed":
                self.soon(lambda: mischief.kill(name))
            case "is removed":
                self.soon(lambda: mischief.lose(name))
            case "is edited":
                self.soon(lambda: mischief.edit(name, "memory"))
            case _:
                self.soon(lambda: mischief.sicken(name))

    @precondition(lambda self: bool(self._replicas()))
    @rule(number=st.integers(0, 5))
    def something_foreign_takes_the_next_name_of(self, number: int) -> None:
        replicas = self._replicas()
        target, one = replicas[number % len(replicas)]
        name = one.order.name
        try:
            self.world.mischief[target].squat(name._replace(attempt=name.attempt + 1))
        except ImpossibleWorld:
            return
        self.world.engines.foreign_changed()

    @rule(on=PLACES, verb=VERBS, side=SIDES)
    def the_next_call_fails(self, on: str, verb: str, side: str) -> None:
        if side == "before":
            trouble = Trouble(before=EngineUnavailable("it was refused"))
        else:
            trouble = Trouble(after=EngineUnavailable("its answer was lost"))
        self.troubles[on, verb] = trouble

    @rule(on=PLACES, verb=VERBS)
    def the_next_call_takes_its_time(self, on: str, verb: str) -> None:
        self.troubles[on, verb] = Trouble(delay_seconds=8.0)

    @rule(on=PLACES)
    def a_target_goes_away(self, on: str) -> None:
        self.world.mischief[on].go_away()

    @rule(on=PLACES)
    def a_target_comes_back(self, on: str) -> None:
        self.soon(self.world.mischief[on].come_back)

    @rule(image=IMAGES, on=PLACES)
    def an_image_is_lost(self, image: str, on: str) -> None:
        self.world.mischief[on].forget_image(image)

    @rule(on=PLACES)
    def images_are_back(self, on: str) -> None:
        self.world.machines[on].missing_images.clear()

    # -- what happens to the control plane and its log ----------------------------------------

    @rule()
    def the_log_goes_away(self) -> None:
        self.log_away = True

    @rule()
    def the_log_comes_back(self) -> None:
        self.log_away = False

    @rule()
    def the_next_answer_of_the_log_is_lost(self) -> None:
        self.swallowed = 1

    @rule(side=SIDES, effects=st.integers(1, 4))
    def it_ends_at_an_effect(self, side: str, effects: int) -> None:
        chosen = self.world.effects.before if side == "before" else self.world.effects.after
        chosen.add(self.world.effects.done + effects)

    @rule()
    def it_ends_now(self) -> None:
        controller = self.world.acting()
        if controller is not None:
            controller.life.end("it is killed")

    @rule(seconds=st.sampled_from([10.0, 40.0]))
    def it_stands_still(self, seconds: float) -> None:
        controller = self.world.acting()
        if controller is None:
            return
        controller.life.pause()
        self.world.engines.confused(seconds + CONFUSED)
        self.world.engines.stands(seconds)
        self.time_passes(seconds)
        controller.life.go_on()

    @precondition(lambda self: len(self.world.controllers) == 1)
    @rule(seconds=st.sampled_from([5.0, 30.0]))
    def a_second_one_works_beside(self, seconds: float) -> None:
        second = self.run(self.world.boot())
        if second is None:  # it cannot read the log
            return
        self.world.engines.confused(seconds + CONFUSED)
        self.time_passes(seconds)
        second.life.end("it was one too many")

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def nothing_is_broken(self) -> None:
        self.world.check()

    # -- how it ends --------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if not self.world.violations:
                self._comes_to_rest()
                self.world.search()
                self.world.check()
        finally:
            self.run(self._end())
            self.around.close()
            self.runner.close()

    async def _end(self) -> None:
        await self.living.__aexit__(None, None, None)

    def _comes_to_rest(self) -> None:
        """All that is wrong stops; then the world must be as one that never had any trouble."""
        self.run(self._calm())
        rest = RestInvariants(self.world.truth)
        began = self.world.clock()
        while broken := self._unsettled(self.world, rest):
            if self.world.clock() > began + BOUND:
                for one, what in broken:
                    self.world.report(one, what)
            self.world.check()
            self.time_passes(1.0)
        self.time_passes(QUIET)  # what an earlier life had begun to end is taken away at a tick
        before = self.world.written()
        self.time_passes(QUIET)
        for one, what in rest.quiet(self.world.written() - before):
            self.world.report(one, what)
        self.world.compare()

    async def _calm(self) -> None:
        world = self.world
        self.log_away, self.swallowed = False, 0
        self.troubles.clear()
        world.effects.before.clear()
        world.effects.after.clear()
        for target, machine in world.machines.items():
            machine.missing_images.clear()
            if machine.faults.unavailable:
                world.mischief[target].come_back()
        for target, one in self._replicas():
            if one.program.sick == 0.0:
                world.mischief[target].cure(one.order.name)
        for controller in world.controllers[1:]:
            await world.kill(controller, "one is enough")

    def _unsettled(self, world: World, rest: RestInvariants) -> list[Broken]:
        controller = world.acting()
        if controller is None or world.asking or world.site.sent:
            return [(Invariant.SETTLED, "clients wait, or calls are on their way")]
        return rest.broken(controller.status.get)

    # -- the world ----------------------------------------------------------------------------

    async def _made(self) -> World:
        world = World(1, targets=TARGETS, settings=SETTINGS)
        world.restart_seconds = 1.0
        world.site.bus_of = None  # seeds try the bus
        self.living = world.living()
        await self.living.__aenter__()
        return world

    def _wire(self) -> None:
        for name, machine in self.world.machines.items():
            machine.faults.plan = partial(self._plan, name)
        faults = self.world.site.log_faults
        faults.refuses = faults.hides = self._away
        faults.swallows = self._swallows

    def _plan(self, target: str, call: Call) -> Trouble:
        return self.troubles.pop((target, call.verb), CALM)

    def _away(self) -> LogError | None:
        return LogUnavailable("it is away") if self.log_away else None

    def _swallows(self) -> LogError | None:
        if not self.swallowed:
            return None
        self.swallowed = 0
        return LogUnavailable("its answer was lost")

    def ask(self, *asked: Asked) -> None:
        """Somebody asks, and goes on asking, whatever happens meanwhile."""
        self.keys += 1
        self.run(self._begin(self.world.client.ask(asked, f"story-{self.keys}")))

    async def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self.world.asking[task] = None
        task.add_done_callback(self.world.asking.pop)
        await asyncio.sleep(0)

    def soon(self, deed: Callable[[], None]) -> None:
        """Do what needs the loop's clock."""

        async def now() -> None:
            deed()

        self.run(now())

    def _broke(self, text: str) -> None:
        if "ImpossibleWorld" in text and self.world.engines.is_confused():
            return  # two at once ask an engine for what it would refuse, and one never asks for
        self.world.broke(text)

    def _leaked(self, text: str) -> None:
        self.world.report(Invariant.SECRET, f"a log line holds a value: {text[:200]}")


def secret(value: str) -> Asked:
    return manifest("Secret", "db", {"data": {"password": f"{SECRET_MARK}-{value}"}})


TestControlPlane = ControlPlaneMachine.TestCase
TestControlPlane.settings = settings(
    max_examples=max(200, settings().max_examples), stateful_step_count=20
)
