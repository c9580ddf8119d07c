"""A replica that answers over UDP at a port of the host."""

import asyncio
import socket
from typing import Final

import msgspec

from domain.app import Port
from domain.route import Publish
from reconcilers.ports import StartReplica
from tests.contracts.engine_world import PATIENCE

UDP_ECHO: Final = """
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", int(os.environ["PORT"])))
while True:
    said, client = server.recvfrom(64)
    server.sendto(said, client)
"""
_AGAIN: Final = 0.1  # seconds, for what was sent before it listened is lost


def udp_echo(order: StartReplica) -> StartReplica:
    """The order with a UDP port, published at one of the host that is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.bind(("127.0.0.1", 0))
        number = trial.getsockname()[1]
    publish = (Publish(port="dns", protocol="udp", host_port=number),)
    ports = (Port(name="dns", port=5353, protocol="udp"),)
    return msgspec.structs.replace(order, ports=ports, publish=publish)


async def udp_answer(order: StartReplica) -> bytes:
    """What comes back from the port of the host."""
    [one] = order.publish
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", one.host_port))
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await loop.sock_sendall(client, b"who?")
                    async with asyncio.timeout(_AGAIN):
                        return await loop.sock_recv(client, 64)
                except (ConnectionRefusedError, TimeoutError):
                    await asyncio.sleep(_AGAIN / 2)
