"""What `stateward doctor` finds out about workers that share a log: which live, who holds what.

It reads the bucket of the leases over NATS, and writes nothing there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from bus.lease_survey import Survey, Surveyed
    from bus.nats.session import Server
    from stateward.settings import Settings

SECONDS: Final = 3.0  # for an answer of one server


class WorkerFinding(NamedTuple):
    """About one worker, or about all. Without a remedy all is well."""

    name: str
    found: str
    remedy: str = ""


def workers(settings: "Settings") -> Sequence[WorkerFinding]:
    """What is the case; nothing where a process works alone."""
    from stateward.roles import is_shared  # noqa: PLC0415 -- only where there may be several

    if not is_shared(settings):
        return []
    from bus.lease_session import LeaseSettings  # noqa: PLC0415 -- the same
    from stateward.nats_settings import nats_settings  # noqa: PLC0415 -- the same

    chosen = nats_settings(settings.nats, Path(), "doctor")
    patience = LeaseSettings(ttl=settings.worker.lease_ttl).patience
    found = asyncio.run(_surveyed(chosen.external, patience))
    if isinstance(found, str):
        remedy = "as the user of a worker, the leases may be read: look at the settings of nats"
        return [WorkerFinding("workers", f"they cannot be seen: {found}", remedy)]
    return told(found, patience)


def told(survey: "Survey", patience: float) -> Sequence[WorkerFinding]:
    """A survey in words."""
    found = [_of_worker(one, survey.parts, patience) for one in survey.workers]
    if not any(one.state != "silent" for one in survey.workers):
        remedy = "start one: stateward serve --roles worker, with this log and this NATS"
        found.append(WorkerFinding("workers", "none lives, so nothing is changed", remedy))
    free = {target: count for target, count in survey.free.items() if count}
    if free:
        remedy = "wait a moment; else start a worker that serves it: worker.targets"
        held = _parts(free, survey.parts)
        found.append(WorkerFinding("leases", f"nobody holds {held}", remedy))
    return found


def _of_worker(one: "Surveyed", parts: Mapping[str, int], patience: float) -> WorkerFinding:
    name, holds = f"worker {one.worker}", _parts(one.holds, parts) or "nothing"
    if one.state == "silent":
        ago = f"for {one.silent_seconds:.0f} s" if one.silent_seconds < float("inf") else "any more"
        remedy = f"others that serve it take it within {patience:.0f} s; else see worker.targets"
        return WorkerFinding(name, f"not heard of {ago}, and still holds {holds}", remedy)
    leaving = "is ending, and " if one.state == "leaving" else ""
    return WorkerFinding(name, f"{leaving}holds {holds}; heard of {one.silent_seconds:.1f} s ago")


def _parts(held: Mapping[str, int], parts: Mapping[str, int]) -> str:
    """As `fleet (21 of 64), local`."""
    return ", ".join(
        target if parts[target] == 1 else f"{target} ({count} of {parts[target]})"
        for target, count in sorted(held.items())
    )


async def _surveyed(servers: Sequence["Server"], patience: float) -> "Survey | str":
    """What the first server says that can; else why none does."""
    from bus.nats.session import NatsUnavailable  # noqa: PLC0415 -- nats-py takes its time

    reason = "no server is configured"
    for server in servers:
        try:
            async with asyncio.timeout(SECONDS):
                return await _read(server, patience)
        except TimeoutError:
            reason = f"{server.url} gives no answer, or this user may not read the leases"
        except NatsUnavailable as error:
            reason = str(error)
    return reason


async def _read(server: "Server", patience: float) -> "Survey":
    from bus.lease_survey import Survey, survey  # noqa: PLC0415 -- nats-py takes its time
    from bus.nats.client import NatsSession  # noqa: PLC0415 -- the same
    from bus.nats.lease_records import NOT_FOUND, LeaseRecords  # noqa: PLC0415 -- the same
    from bus.nats.session import JetStreamRefused  # noqa: PLC0415 -- the same

    session = await NatsSession.open(server)
    try:
        records = LeaseRecords(session)
        await records.listen()
        try:
            found = await records.read()
        except JetStreamRefused as refused:
            if refused.code != NOT_FOUND:
                raise
            return Survey((), {}, {})  # nobody ever worked here
        ages = {key: max(found.now - written, 0.0) for key, written in found.written.items()}
        return survey(found.entries, ages, patience)
    finally:
        await session.close()
