"""The control plane of one process: every part made, joined, started and stopped. No decisions."""

import asyncio
import random
import secrets as tokens_of_chance
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple, final

from adapters.files.snapshots import Snapshots
from adapters.probes.network import NetworkProber
from bus.announcing import Announcer
from bus.intents import IntentService
from bus.log import WatchedLog
from bus.nats.bus import NatsBus
from domain.access import Actor, part_of_ours
from domain.intents import Apply
from domain.names import Ref
from domain.project import ProjectSpec
from gateway.api import build
from gateway.ports import Check, Services
from gateway.server import Serving, serve
from gateway.tokens import Tokens
from projections.desired import DesiredState
from reconcilers.adopting import listed_foreign
from reconcilers.assembling import Assembled, World, assemble
from reconcilers.ports import EngineUnavailable, Replica, ReplicaIO
from reconcilers.projecting import Projecting
from reconcilers.status import StatusMemory
from reconcilers.worker import WorkerSettings
from stateward.collecting import uncollected
from stateward.data import Data
from stateward.engines import Choice, Opener, choose
from stateward.gauges import gauges
from stateward.liveness import liveness
from stateward.metered_log import MeteredLog
from stateward.metrics import Metrics
from stateward.nats_settings import nats_settings
from stateward.probing import ProberByTarget
from stateward.settings import Nats, Settings
from stateward.storing import stores

DEFAULT_PROJECT: Final = "default"
SHOWN: Final = 3  # of the streams that cannot be read, where they are only mentioned
SWEEP_AFTER: Final = 5.0  # seconds from the start: labels may show by then that the log is old


def now() -> float:
    """Seconds since the epoch: the one place where the wall clock is read."""
    return time.time()  # noqa: TID251 -- handed to everybody from here


def new_id() -> str:
    return str(uuid.uuid4())  # noqa: TID251 -- an installation is minted here


def utc() -> datetime:
    return datetime.fromtimestamp(now(), UTC)


class Running(NamedTuple):
    """A control plane that answers. `choice` is why `local` is what it is, at the first start."""

    serving: Serving
    data: Data
    token_file: Path
    first_token: str | None
    choice: Choice | None
    bus: NatsBus | None
    worker: asyncio.Task[None]
    intents: IntentService


@asynccontextmanager
async def running(settings: Settings, data: Data) -> AsyncIterator[Running]:
    """Run a control plane over a data directory that is held, while the context lasts.

    Raises:
        AddressInUse: the API's address is taken.
        LogUnavailable: the log cannot be opened.
        DataTrouble: the directory is of another installation than the log.
    """
    async with AsyncExitStack() as stack:
        rng = random.Random()
        metrics = Metrics()
        metrics.build.labels(version("stateward")).set(1)
        opened = stores(settings, data, now=now, new_id=new_id)
        log, secrets, data = await stack.enter_async_context(opened)
        projecting = Projecting(
            log,
            Snapshots(data.directory / "snapshots"),
            mismatched=metrics.snapshot_mismatches.inc,
            elsewhere=asyncio.to_thread,
        )
        with uncollected():
            desired = await projecting.restore()
        clock = asyncio.get_running_loop().time
        metered = MeteredLog(log, metrics, clock)
        tell = _Telling()
        intents = IntentService(
            metered, secrets, now=utc, installation=data.installation, appended=tell.appended
        )
        choice = await _furnish(settings, intents, desired, log)
        status = StatusMemory()
        assembled = assemble(
            World(
                log=metered,
                desired=desired,
                secrets=secrets,
                intents=intents,
                open_engine=Opener(data.directory, data.installation, now=now, rng=rng),
                prober=ProberByTarget(NetworkProber()),
                status=status,
                metrics=metrics.reconcile,
                clock=clock,
                now=now,
                rng=rng,
                halted=lambda: str(log.rewound) if log.rewound else None,
                report_seen=log.report_seen,
                appended=tell.appended,
            ),
            WorkerSettings(
                passes=settings.reconcile.concurrency,
                pass_deadline=settings.reconcile.pass_deadline,
                replay_interval=settings.replay.interval,
                replay_jitter=settings.replay.jitter,
                hints=settings.reconcile.hints,
                tail_interval=settings.reconcile.tail,
            ),
        )
        bus = _bus(settings.nats, data, intents, assembled, metrics, rng)
        announcer = Announcer(metered, bus.publish if bus else _told_nobody, after=desired.position)
        tell.to(assembled.worker.hint, announcer)
        worker = asyncio.create_task(assembled.worker.run(), name="worker")
        stack.push_async_callback(_ended, worker)
        for part, loop in (
            ("announcer", announcer.run),
            ("snapshots", lambda: projecting.keep(desired)),
            ("secrets", lambda: _swept(intents, log)),
        ):
            task = asyncio.create_task(loop(), name=part)
            stack.push_async_callback(_ended, task)
        if bus is not None:
            metrics.bus.connected(is_connected=False)
            await bus.start()
            stack.push_async_callback(bus.stop)
        metrics.observe(lambda: gauges(log, desired, assembled, clock()))
        api_tokens = Tokens(
            data.directory / "tokens.json",
            now=now,
            new_text=lambda: tokens_of_chance.token_urlsafe(32),
        )
        token_file = data.directory / "token"
        first = api_tokens.first(token_file)
        closing = asyncio.Event()
        services = Services(
            intents=intents,
            desired=desired,
            log=metered,
            status=status,
            tokens=api_tokens,
            installation=data.installation,
            version=version("stateward"),
            catch_up=assembled.worker.seen,
            io=lambda stream: _io(assembled, desired, stream),
            foreign=lambda target: listed_foreign(assembled.worker.view(target)),
            explain_plan=assembled.worker.explain,
            checks=lambda: _checks(settings, log, desired, assembled, bus, worker, clock()),
            metrics=metrics.page,
            now=now,
            new_key=lambda: tokens_of_chance.token_hex(16),
            loopback=_is_loopback(settings.api.host),
            token_place=str(token_file),
            closing=closing,
        )
        serving = await stack.enter_async_context(
            serve(build(services), settings.api.host, settings.api.port, closing=closing)
        )
        yield Running(serving, data, token_file, first, choice, bus, worker, intents)
        with suppress(OSError):
            await projecting.save(desired)


@final
class _Telling:
    """Tells of commits once those who listen are there."""

    def __init__(self) -> None:
        self._hint: Callable[[int, Sequence[str]], None] = lambda _position, _streams: None
        self._announcer: Announcer | None = None

    def to(self, hint: Callable[[int, Sequence[str]], None], announcer: Announcer) -> None:
        self._hint, self._announcer = hint, announcer
        announcer.appended()

    def appended(self, position: int, streams: Sequence[str]) -> None:
        self._hint(position, streams)
        if self._announcer is not None:
            self._announcer.appended()


def _told_nobody(_events: Sequence[object]) -> None:
    return


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _furnish(
    settings: Settings, intents: IntentService, desired: DesiredState, log: WatchedLog
) -> Choice | None:
    """At the first start: the target `local` and the project `default`."""
    if desired.position or log.rewound:
        return None
    choice = await choose(settings.engine.default, settings.engine.docker_host)
    first = [
        Apply(ref=Ref("Target", "", "local"), spec=choice.spec, labels={}),
        Apply(ref=Ref("Project", "", DEFAULT_PROJECT), spec=ProjectSpec(), labels={}),
    ]
    await intents.submit(first, actor=part_of_ours("setup"), key="first-start")
    return choice


async def _swept(intents: IntentService, log: WatchedLog) -> None:
    await asyncio.sleep(SWEEP_AFTER)
    await intents.values.sweep(lambda: log.rewound is None)


def _bus(
    settings: Nats,
    data: Data,
    intents: IntentService,
    assembled: Assembled,
    metrics: Metrics,
    rng: random.Random,
) -> NatsBus | None:
    if not settings.enabled:
        return None
    return NatsBus(
        nats_settings(settings, data.directory, data.installation[:8]),
        intents,
        actor_of=lambda name: Actor(name=f"program:{name}", role="editor"),
        hinted=assembled.worker.hint,
        installation=data.installation,
        now=utc,
        random=rng,
        metrics=metrics.bus,
    )


async def _io(
    assembled: Assembled, desired: DesiredState, stream: str
) -> tuple[ReplicaIO, Sequence[Replica]]:
    """The present replicas of an app and the way to look into them."""
    wanted = desired.app(stream)
    if wanted is None:
        raise EngineUnavailable(f"{stream} does not exist or cannot be read")
    view = assembled.worker.view(wanted.target)
    replicas = await view.look((wanted.ref.project, wanted.ref.name))
    return view.engine.io, replicas


def _checks(
    settings: Settings,
    log: WatchedLog,
    desired: DesiredState,
    assembled: Assembled,
    bus: NatsBus | None,
    worker: asyncio.Task[None],
    clock: float,
) -> list[Check]:
    """Liveness never depends on an engine or the bus; readiness says how they are."""
    checks = [
        Check("worker", not worker.done(), "the loops run", vital=True),
        *liveness(
            assembled.worker.progress,
            assembled.queue.oldest,
            clock,
            replay=settings.replay,
            reconcile=settings.reconcile,
        ),
        Check("log", log.read_only is None, log.read_only or "it takes events"),
        Check("history", log.rewound is None, str(log.rewound or "nothing is missing")),
        Check("streams", passed=True, message=_about_streams(desired.frozen)),
    ]
    for view in assembled.targets:
        name = "target" if assembled.targets.get(view.name) is view else "former-target"
        message = view.trouble or "it answers"
        checks.append(Check(f"{name}-{view.name}", passed=True, message=message))
    return [*checks, Check("bus", passed=True, message=_about(bus))]


def _about_streams(frozen: Mapping[str, str]) -> str:
    if not frozen:
        return "all can be read"
    first = "; ".join(f"{stream}: {why}" for stream, why in sorted(frozen.items())[:SHOWN])
    more = f"; and {len(frozen) - SHOWN} more" if len(frozen) > SHOWN else ""
    return f"{len(frozen)} cannot be read and are left alone: {first}{more}"


def _about(bus: NatsBus | None) -> str:
    if bus is None:
        return "there is none, as the settings say"
    status = bus.status()
    if not status.connected:
        return f"not connected: {status.reason}"
    return f"connected to {status.url}" + (f"; {status.reason}" if status.reason else "")


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
