"""Where the hosts of replicas are: what the resolvers answer with are addresses alone."""

import asyncio
import ipaddress
import socket
from contextlib import suppress

import structlog

_log = structlog.get_logger(__name__)


async def addresses(hosts: set[str]) -> dict[str, str]:
    """The IP address of each host; one that has none is left out, and said."""
    found = {}
    loop = asyncio.get_running_loop()
    for host in sorted(hosts):
        with suppress(ValueError):
            found[host] = str(ipaddress.ip_address(host))
            continue
        try:
            answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            _log.warning("the host of a replica has no address", host=host, reason=str(error))
        else:
            found[host] = str(answers[0][4][0])
    return found
