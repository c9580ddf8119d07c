"""The control plane of one process: every part made, joined, started and stopped. No decisions."""

import asyncio
import random
import secrets as tokens_of_chance
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple, final

from adapters.files.snapshots import Snapshots
from adapters.probes.network import NetworkProber
from bus.announcing import Announcer
from bus.intents import IntentService
from bus.log import KeyReused, WatchedLog
from bus.nats.bus import NatsBus
from domain.access import Actor, part_of_ours
from domain.intents import Apply
from domain.names import Ref
from domain.project import ProjectSpec
from gateway.api import build, build_health
from gateway.ports import Check, Services
from gateway.server import Serving, serve
from gateway.tokens import Tokens
from projections.desired import DesiredState
from reconcilers.assembling import Assembled, World, assemble
from reconcilers.following import Following
from reconcilers.passing import WorkerSettings
from reconcilers.projecting import Projecting
from stateward.collecting import uncollected
from stateward.data import Data
from stateward.engines import Choice, Opener, choose
from stateward.environment import Environment, of_process
from stateward.gauges import gauges
from stateward.liveness import liveness
from stateward.logins import login_key
from stateward.metered_log import MeteredLog
from stateward.metrics import Metrics
from stateward.nats_settings import nats_settings
from stateward.probing import ProberByTarget
from stateward.roles import Company, company, serves
from stateward.routers import Routers
from stateward.settings import Settings
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
async def running(
    settings: Settings, data: Data, environment: Environment | None = None
) -> AsyncIterator[Running]:
    """Run a control plane over a data directory that is held, while the context lasts.

    Args: `environment` is where it runs, if not that of this process.

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
        shares = await company(settings, data.directory, data.installation, stack)
        is_worker = settings.serve.is_worker
        routers = Routers(
            data.directory, metered, secrets, now=utc, login=settings.login.developers
        )
        assembled = assemble(
            World(
                log=metered,
                desired=desired,
                secrets=secrets,
                intents=intents,
                open_engine=Opener(
                    data.directory,
                    data.installation,
                    now=now,
                    rng=rng,
                    environment=environment or of_process(),
                ),
                prober=ProberByTarget(NetworkProber()),
                status=shares.status,
                metrics=metrics.reconcile,
                clock=clock,
                now=now,
                rng=rng,
                halted=lambda: str(log.rewound) if log.rewound else None,
                report_seen=log.report_seen,
                appended=tell.appended,
                holding=shares.holding,
                offer=shares.offer,
                serves=serves(settings),
                name=shares.name,
                open_router=routers,
                was_routed=routers.was_begun,
                left=routers.begun,
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
        bus = _bus(settings, data, intents, assembled, shares, metrics, rng)
        announcer = Announcer(metered, bus.publish if bus else _told_nobody, after=desired.position)
        tell.to(assembled.following, announcer)
        work = assembled.worker.run if is_worker else assembled.following.run
        worker = asyncio.create_task(work(), name="worker")
        stack.push_async_callback(_ended, worker)
        for part, loop in (
            ("announcer", announcer.run),
            ("snapshots", lambda: projecting.keep(desired)),
            ("secrets", lambda: _swept(intents, log)),
        ):
            stack.push_async_callback(_ended, asyncio.create_task(loop(), name=part))
        if bus is not None:
            metrics.bus.connected(is_connected=False)
            await bus.start()
            stack.push_async_callback(bus.stop)
        inside = shares.inside(assembled, desired)
        if shares.leasing is not None:
            for part, loop in (
                ("leasing", partial(shares.leasing.run, assembled.worker)),
                ("calls", shares.serve),
            ):
                stack.push_async_callback(_ended, asyncio.create_task(loop(), name=part))
        metrics.observe(
            lambda: gauges(log, desired, assembled, clock(), shares.leasing),
            assembled.routing.ends,
            assembled.routing.serve,
        )
        api_tokens = Tokens(
            data.directory / "tokens.json",
            now=now,
            new_text=lambda: tokens_of_chance.token_urlsafe(32),
        )
        first = api_tokens.first(token_file := data.directory / "token")
        closing, stopping = asyncio.Event(), asyncio.Event()
        services = Services(
            intents=intents,
            desired=desired,
            log=metered,
            status=shares.status,
            tokens=api_tokens,
            installation=data.installation,
            version=version("stateward"),
            catch_up=assembled.following.seen,
            io=inside.open,
            foreign=inside.foreign,
            in_the_way=inside.in_the_way,
            tables=assembled.tables,
            explain_plan=inside.explain,
            preview=inside.preview,
            preview_project=inside.preview_project,
            checks=lambda: [
                *_checks(settings, log, desired, assembled, bus, worker, clock()),
                *_checks_of_several(shares, stopping),
            ],
            metrics=metrics.page,
            now=now,
            polled_router=routers.polled,
            new_key=lambda: tokens_of_chance.token_hex(16),
            loopback=settings.api.is_loopback,
            login_key=login_key(data.directory) if settings.login.developers else None,
            token_place=str(token_file),
            closing=closing,
        )
        app = build(services) if settings.serve.is_gateway else build_health(services)
        serving = await stack.enter_async_context(
            serve(app, settings.api.host, settings.api.port, closing=closing)
        )
        routers.listening(serving)
        try:
            yield Running(serving, data, token_file, first, choice, bus, worker, intents)
        finally:  # what is asked for still is answered meanwhile, and what is held goes to others
            stopping.set()
            leaving = asyncio.create_task(shares.leave(), name="leaving")
            stack.push_async_callback(_waited, leaving)
        with suppress(OSError):
            await projecting.save(desired)


@final
class _Telling:
    """Tells of commits once those who listen are there."""

    def __init__(self) -> None:
        self._to: tuple[Following, Announcer] | None = None

    def to(self, following: Following, announcer: Announcer) -> None:
        self._to = following, announcer
        announcer.appended()

    def appended(self, position: int, _streams: Sequence[str]) -> None:
        if self._to is not None:
            following, announcer = self._to
            following.hint(position)
            announcer.appended()


def _told_nobody(_events: Sequence[object]) -> None:
    return


async def _waited(task: asyncio.Task[None]) -> None:
    await task


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
    with suppress(KeyReused):  # another process of this installation was quicker
        await intents.submit(first, actor=part_of_ours("setup"), key="first-start")
    return choice


async def _swept(intents: IntentService, log: WatchedLog) -> None:
    await asyncio.sleep(SWEEP_AFTER)
    await intents.values.sweep(lambda: log.rewound is None)


def _bus(
    settings: Settings,
    data: Data,
    intents: IntentService,
    assembled: Assembled,
    shares: Company,
    metrics: Metrics,
    rng: random.Random,
) -> NatsBus | None:
    if not settings.nats.enabled:
        return None
    return NatsBus(
        nats_settings(settings.nats, data.directory, data.installation[:8]),
        intents,
        actor_of=lambda name: Actor(name=f"program:{name}", role="editor"),
        hinted=lambda position, _keys: assembled.following.hint(position),
        installation=data.installation,
        now=utc,
        random=rng,
        metrics=metrics.bus,
        is_gateway=settings.serve.is_gateway,
        parts=shares.parts,
    )


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
            assembled.following.progress,
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


def _checks_of_several(shares: Company, stopping: asyncio.Event) -> list[Check]:
    """A process that ends is asked nothing new; one without leases has nothing to do, and waits."""
    checks = []
    if stopping.is_set():
        checks.append(Check("stopping", passed=False, message="it was told to stop"))
    if shares.leasing is not None:
        held, trouble = len(shares.leasing.held), shares.leasing.trouble
        message = f"{shares.name} holds {held} partitions" + (f"; {trouble}" if trouble else "")
        checks.append(Check("leases", passed=True, message=message))
    return checks


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
