"""Chaos: what a seed does to a world beside its calls, and how it makes all of it good at last."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, final

from bus.log import NewEvent
from domain import intents as i
from domain.names import Ref
from reconcilers.ports import ReplicaState
from simulation import releases
from simulation.adoption_chaos import AdoptionChaos
from simulation.asking import People
from simulation.cluster.cluster import REFUSED
from simulation.cluster_chaos import ClusterChaos
from simulation.disk import Request
from simulation.invariants.violations import Invariant
from simulation.knobs import (
    ADOPTION_DEEDS,
    CLUSTER_DEEDS,
    DEEDS,
    ROUTER_DEEDS,
    WORKER_DEEDS,
    Fault,
)
from simulation.machine import Machine, Running
from simulation.messages import MessageTroubles
from simulation.producers import ACTOR
from simulation.program import ImpossibleWorld
from simulation.router_chaos import RouterChaos, RouterTroubles
from simulation.troubles import Troubles
from simulation.worker_chaos import WorkerChaos
from simulation.world import World

MINUTE: Final = 60.0
ALL_DEEDS: Final = (*DEEDS, *CLUSTER_DEEDS, *ROUTER_DEEDS, *ADOPTION_DEEDS, *WORKER_DEEDS)
NONSENSE: Final = (
    b"{",
    b"[]",
    b'{"kind":"App"}',
    b'{"apiVersion":"stateward/v1","kind":"App","metadata":{"name":"A B"}}',
    b"\xff\xfe",
)
_LONG: Final = b'{"apiVersion":"' + b"x" * (1 << 20) + b'"}'  # more than a manifest may have
_DEEP: Final = b"[" * 100_000
UNKNOWN_EVENT: Final = "app.teleported"  # of a version to come

type Deed = Callable[[], Awaitable[str]]
"""Does something and says what; nothing, if it could not be done now, or is counted later."""


@final
class Chaos:
    """The deeds of one world. `run` it beside; `calm` ends it and what it began."""

    def __init__(self, world: World, rates: dict[Fault, float], people: People) -> None:
        self._world, self._rates, self._people = world, rates, people
        self._rng = world.rng("chaos")
        self.troubles = Troubles(world, rates)
        self._messages = MessageTroubles(world, self.troubles)
        self._router_calls = RouterTroubles(world, self.troubles)
        self._routers = RouterChaos(world, self._later)
        self._beside: dict[asyncio.Task[object], None] = {}
        self._numbers = 0
        self._deeds: Mapping[Fault, Deed] = {
            Fault.BUS_PARTITION: self._cut_the_bus,
            Fault.BUS_OUTAGE: self._end_the_bus,
            Fault.BUS_OLD_AFTER_NEW: self._bring_old_ones_again,
            Fault.LOG_FLIPPED_BIT: self._flip_a_bit,
            Fault.LOG_DISK_FULL: self._fill_the_disk,
            Fault.LOG_AWAY: self._take_the_log_away,
            Fault.LONG_PAUSE: self._pause,
            Fault.TWO_ACTIVE: self._start_a_second,
            Fault.CLOCK_JUMP: self._jump,
            Fault.NEWER_RELEASE: self._upgrade,
            Fault.OLDER_RELEASE: self._downgrade,
            Fault.ENGINE_RING_OVERFLOW: self._overflow,
            Fault.ENGINE_RESTART: self._restart_a_daemon,
            Fault.TARGET_LOST: self._lose_a_target,
            Fault.REPLICA_DIES_AT_START: lambda: self._apply("exit=1"),
            Fault.REPLICA_FLAPS: lambda: self._apply("lives=20"),
            Fault.REPLICA_NEVER_READY: lambda: self._apply("unready"),
            Fault.REPLICA_KILLED: lambda: self._kill(137),
            Fault.REPLICA_OUT_OF_MEMORY: lambda: self._kill(137, "OutOfMemory"),
            Fault.REPLICA_FALLS_SICK: self._sicken,
            Fault.REPLICA_REMOVED: self._remove,
            Fault.REPLICA_EDITED: self._edit,
            Fault.NAME_SQUATTED: self._squat,
            Fault.IMAGE_MISSING: self._lose_an_image,
            Fault.IMAGE_MOVED: self._move_an_image,
            Fault.POISON_EVENT: self._poison,
            Fault.INTENT_CONTRADICTORY: self._contradict,
            Fault.INTENT_MALFORMED: self._write_nonsense,
            Fault.INTENT_HUGE: self._write_much,
            Fault.INTENT_ABA: self._there_and_back,
        }
        self._clusters = ClusterChaos(world, world.rng("cluster chaos"), self._later)
        self._workers = WorkerChaos(world, self._later)
        self._adoption = AdoptionChaos(world, people.apps, self._run_beside)
        self._in_clusters: Mapping[Fault, Deed] = {
            **self._clusters.deeds,
            **self._adoption.deeds,
            Fault.CLUSTER_REFUSES: lambda: self._apply(REFUSED),
        }
        self.poisoned: set[str] = set()

    async def run(self) -> None:
        """Do what the rates say, for ever."""
        deeds = {**self._deeds, **(self._in_clusters if self._world.clusters else {})}
        deeds |= self._routers.deeds if self._world.routers else {}
        deeds |= self._workers.deeds if self._world.workers > 1 else {}
        in_order = [(fault, deeds[fault]) for fault in ALL_DEEDS if fault in deeds]
        while True:  # in one order, whatever order the rates were given in
            await asyncio.sleep(1.0)
            for fault, deed in in_order:
                rate = self._rates.get(fault)
                if rate and self._rng.random() < rate / MINUTE:
                    done = await deed()
                    if done:
                        self._world.trace.fire(fault, done)

    async def calm(self) -> None:
        """No fault any more: what was taken away comes back, and what was stopped goes on."""
        self._rates.clear()
        world = self._world
        for task in list(self._beside):
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        self.troubles.log_away = self.troubles.disk_full = False
        world.broker.faults.cut.clear()
        world.broker.faults.down = False
        self._mend_machines()
        self._clusters.calm()
        self._workers.calm()
        self._routers.calm()
        for controller in world.controllers[world.workers :]:
            await world.kill(controller, "one is enough")
        for controller in world.controllers:
            controller.life.go_on()
        if releases.is_newer() or world.trace.fired[Fault.NEWER_RELEASE] or self._is_unread():
            await self._release(releases.become_newer)
        while world.acting() is None and not world.violations:  # noqa: ASYNC110 -- the world starts one by itself
            await asyncio.sleep(1.0)
        while any(c.log.rewound for c in world.controllers):
            self._accept()
            await asyncio.sleep(1.0)
        await self._adoption.calm()

    def _is_unread(self) -> bool:
        """Whether there is something in the log that only a newer release can read."""
        was_newer = self._world.trace.fired[Fault.OLDER_RELEASE] > 0
        return was_newer or any(s not in self.poisoned for s in self._world.truth.frozen)

    def _mend_machines(self) -> None:
        world = self._world
        for name, machine in world.machines.items():
            if machine.faults.unavailable:
                world.mischief[name].come_back()
            machine.missing_images.clear()
            for _, running in self._owned(name):
                if running.program.sick == 0.0 and running.seen.state is ReplicaState.RUNNING:
                    world.mischief[name].cure(running.order.name)

    # -- helpers of deeds ---------------------------------------------------------------------

    def _later(self, seconds: float, deed: Callable[[], object]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            deed()

        self._run_beside(wait())

    def _run_beside(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._beside[task] = None
        task.add_done_callback(self._beside.pop)

    def _key(self) -> str:
        self._numbers += 1
        return f"chaos-{self._numbers}"

    def _target(self) -> tuple[str, Machine]:
        name = self._rng.choice(sorted(self._world.machines))
        return name, self._world.machines[name]

    def _owned(self, target: str) -> list[tuple[str, Running]]:
        return [(t, one) for t, one in self._world.truth.owned() if t == target]

    def _victim(self, *, pods: bool = True) -> tuple[str, Running] | None:
        """A replica of ours that runs, somewhere; maybe a pod."""
        running = [
            pair
            for pair in self._world.truth.owned()
            if pair[1].seen.state is ReplicaState.RUNNING
            and (pods or pair[0] not in self._world.clusters)
        ]
        return self._rng.choice(running) if running else None

    def _disturb(self, running: Running) -> str:
        name = running.order.name
        self._world.truth.disturb(Ref("App", name.project, name.app).stream, self._world.clock())
        return f"{name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"

    # -- the bus ------------------------------------------------------------------------------

    async def _cut_the_bus(self) -> str:
        faults, controller = self._world.broker.faults, self._world.acting()
        names = [ACTOR, *([controller.life.name] if controller else [])]
        name = self._rng.choice(names)
        faults.cut.add(name)
        self._later(self._rng.uniform(5, 120), lambda: faults.cut.discard(name))
        return name

    async def _end_the_bus(self) -> str:
        faults = self._world.broker.faults
        if faults.down:
            return ""
        faults.down = True

        def back() -> None:
            faults.down = False

        self._later(self._rng.uniform(2, 120), back)
        return "for a while"

    async def _bring_old_ones_again(self) -> str:
        self._world.broker.restart(forgotten_acks=self._rng.randrange(1, 4))
        return "acknowledgements are forgotten"

    # -- the log and the control plane --------------------------------------------------------

    async def _flip_a_bit(self) -> str:
        world = self._world
        controller = world.acting()
        noted = world.disk.noted.position
        if controller is None or noted < 30 or controller.log.rewound or len(world.controllers) > 1:
            return ""
        upto = noted - self._rng.randrange(1, 20)
        await world.kill(controller, "its disk has a flipped bit")
        world.disk.flip_a_bit(upto)
        world.recover()  # finds it, and counts it
        self._later(self._rng.uniform(20, 60), self._accept)
        return ""

    def _accept(self) -> None:
        for controller in self._world.controllers:
            if controller.log.rewound is not None and controller.life.is_alive:
                self._world.trace.note("operator", f"accepts that {controller.log.rewound}")
                controller.log.accept_rewind()
                return
        if self._world.disk.rewound() is not None:
            self._later(5.0, self._accept)

    async def _fill_the_disk(self) -> str:
        self.troubles.disk_full = True
        self.troubles.await_meeting(Fault.LOG_DISK_FULL)

        def free() -> None:
            self.troubles.disk_full = False

        self._later(self._rng.uniform(5, 60), free)
        return ""

    async def _take_the_log_away(self) -> str:
        self.troubles.log_away = True
        self.troubles.await_meeting(Fault.LOG_AWAY)

        def back() -> None:
            self.troubles.log_away = False

        seconds = self._rng.uniform(5, 90)
        self._world.engines.unread(seconds)
        self._later(seconds, back)
        return ""

    async def _pause(self) -> str:
        controller = self._world.acting()
        if controller is None:
            return ""
        seconds = self._rng.uniform(10, 120)
        controller.life.pause()
        self._later(seconds, controller.life.go_on)
        self._world.engines.confused(seconds + MINUTE)
        self._world.engines.stands(seconds)
        return f"{controller.life.name} stands still for {seconds:.0f} s"

    async def _start_a_second(self) -> str:
        world = self._world
        if len(world.controllers) != 1 or world.disk.rewound() is not None:
            return ""
        first = world.controllers[0]
        second = await world.boot()
        if second is None:
            return ""
        one = self._rng.choice([first, second])
        seconds = self._rng.uniform(10, 90)
        world.engines.confused(seconds + MINUTE)
        self._later(seconds, lambda: one.life.end("it was one too many"))
        return f"{second.life.name} works beside for {seconds:.0f} s"

    async def _jump(self) -> str:
        seconds = self._rng.choice([-600.0, -30.0, -1.0, 1.0, 30.0, 600.0])
        self._world.skew += seconds
        return f"by {seconds} s"

    async def _upgrade(self) -> str:
        if releases.is_newer():
            return ""
        await self._release(releases.become_newer)
        return "starts"

    async def _downgrade(self) -> str:
        if releases.is_newer():
            await self._release(releases.become_ours)
            return "is back"
        await self._release(releases.become_newer)  # no release is older than the first
        self._run_beside(self._downgrade_soon())
        return ""

    async def _downgrade_soon(self) -> None:
        await asyncio.sleep(self._rng.uniform(10, 60))
        if releases.is_newer():
            await self._release(releases.become_ours)
            self._world.trace.fire(Fault.OLDER_RELEASE, "is back")

    async def _release(self, become: Callable[[], None]) -> None:
        world = self._world
        for controller in list(world.controllers):
            await world.kill(controller, "another release comes")
        become()
        world.reread()

    # -- engines and replicas -----------------------------------------------------------------

    async def _overflow(self) -> str:
        name, machine = self._target()
        victim = next((one for _, one in self._owned(name)), None)
        if victim is None:
            return ""
        for _ in range(300):
            machine.tell(victim)
        return f"300 events at once on {name}"

    async def _restart_a_daemon(self) -> str:
        name, machine = self._target()
        if machine.faults.unavailable:
            return ""
        self._world.mischief[name].go_away()
        if self._rng.random() < 0.5:
            for _, running in self._owned(name):
                self._disturb(running)
                machine.finish(running, 137)
        self._later(self._rng.uniform(2, 20), lambda: self._back(name))
        return name

    async def _lose_a_target(self) -> str:
        name, machine = self._target()
        if machine.faults.unavailable:
            return ""
        self._world.mischief[name].go_away()
        self._later(self._rng.uniform(30, 300), lambda: self._back(name))
        return name

    def _back(self, name: str) -> None:
        self._world.mischief[name].come_back()

    async def _apply(self, how: str) -> str:
        ref = self._rng.choice(self._people.apps)
        self._run_beside(self._world.client.ask([self._people.apply(ref, how)], self._key()))
        return f"{ref}: {how}"

    async def _kill(self, code: int, reason: str = "") -> str:
        victim = self._victim()
        if victim is None:
            return ""
        words = self._disturb(victim[1])
        self._world.machines[victim[0]].finish(victim[1], code, reason)
        return words

    async def _sicken(self) -> str:
        victim = self._victim()
        if victim is None:
            return ""
        name, mischief = victim[1].order.name, self._world.mischief[victim[0]]
        words = self._disturb(victim[1])
        mischief.sicken(name)

        def cure() -> None:
            try:
                mischief.cure(name)
            except ImpossibleWorld:
                return  # it is gone meanwhile

        self._later(self._rng.uniform(5, 120), cure)
        return words

    async def _remove(self) -> str:
        victim = self._victim()
        if victim is None:
            return ""
        words = self._disturb(victim[1])
        self._world.machines[victim[0]].discard(victim[1])
        return words

    async def _edit(self) -> str:
        victim = self._victim(pods=False)
        if victim is None:
            return ""
        words = self._disturb(victim[1])
        self._world.mischief[victim[0]].edit(victim[1].order.name, "memory")
        return words

    async def _squat(self) -> str:
        victim = self._victim(pods=False)
        if victim is None:
            return ""
        name = victim[1].order.name
        following = name._replace(attempt=name.attempt + 1)
        try:
            self._world.mischief[victim[0]].squat(following)
        except ImpossibleWorld:
            return ""
        self._world.engines.foreign_changed()
        return f"{following}"

    async def _lose_an_image(self) -> str:
        name, _ = self._target()
        image = self._people.image()
        self._world.mischief[name].forget_image(image)
        machine = self._world.machines[name]
        self._later(self._rng.uniform(30, 300), lambda: machine.missing_images.discard(image))
        self.troubles.await_meeting(Fault.IMAGE_MISSING)
        return ""

    async def _move_an_image(self) -> str:
        name, machine = self._target()
        image = self._people.image()
        if image not in machine.present_images:
            return ""
        machine.present_images[image] = other = f"sim@moved-{self._key()}"
        machine.present_images[other] = other
        return f"{image} on {name}"

    # -- what is asked ------------------------------------------------------------------------

    async def _poison(self) -> str:
        world, disk = self._world, self._world.disk
        ref = self._rng.choice(self._people.apps)
        if self.poisoned or disk.writing is not None or not disk.stream(ref.stream):
            return ""
        self.poisoned.add(ref.stream)
        group = disk.begin()
        disk.add(group, Request([NewEvent(ref.stream, UNKNOWN_EVENT, b"{}")], {}, None, b""))
        disk.sync(group)
        world.engines.frozen_since[ref.stream] = world.clock()
        return f"{ref}"

    async def _contradict(self) -> str:
        ref = self._rng.choice(self._people.apps)
        for replicas in (1, 4, 2):
            asked = i.Scale(ref=ref, replicas=replicas)
            self._run_beside(self._world.client.ask([asked], self._key()))
        return f"{ref} to 1, 4 and 2 at once"

    async def _there_and_back(self) -> str:
        ref = self._rng.choice(self._people.apps)
        one, other = self._people.apply(ref), self._people.apply(ref)

        async def ask() -> None:
            for asked in (one, other, one):
                await self._world.client.ask([asked], self._key())

        self._run_beside(ask())
        return f"{ref}"

    async def _write_nonsense(self) -> str:
        text = self._rng.choice(NONSENSE)
        self._run_beside(self._refused(Fault.INTENT_MALFORMED, text))
        return ""

    async def _write_much(self) -> str:
        text = self._rng.choice([_LONG, _DEEP])
        self._run_beside(self._refused(Fault.INTENT_HUGE, text))
        return ""

    async def _refused(self, fault: Fault, text: bytes) -> None:
        """What nobody can mean is refused on every way that it may come in, and counted then."""
        world, ref, key = self._world, self._rng.choice(self._people.apps), self._key()
        await world.client.write(text, key)
        await world.producer.send(ref, key, text)
        await world.producer.store(ref, key, text)
        words = f"{len(text)} bytes, {text[:20]!r}"
        if key in world.client.requests.refused and key in world.producer.refused:
            world.trace.fire(fault, words)
        else:
            world.report(Invariant.ALIVE, f"nonsense was taken: {words}")
