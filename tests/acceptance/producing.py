"""A program that hands in intents over the bus of a control plane, knowing nothing but NATS."""

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

from nats.aio.client import Client

from bus.nats.credentials import PRODUCER
from bus.nats.subjects import intent_subject, own_inbox
from domain.names import app
from tests.support.asking import PATIENCE
from tests.support.nats_server import client, envelope
from tests.support.serving import ControlPlane


def producer(plane: ControlPlane) -> AbstractAsyncContextManager[Client]:
    """A connection with the credentials that were generated for programs."""
    folder = plane.data / "nats"
    passwords = json.loads((folder / "credentials.json").read_text())
    url = f"nats://127.0.0.1:{(folder / 'port').read_text().strip()}"
    return client(
        url, user=PRODUCER, password=passwords["producer"], inbox_prefix=own_inbox(PRODUCER)
    )


async def ask(sender: Client, verb: str, name: str, data: object = None, *, key: str) -> Any:
    """Ask for something of an app of the project `default`; return the answer."""
    ref = app("default", name)
    message = envelope(verb, ref.stream, data, key=key)
    answer = await sender.request(intent_subject(PRODUCER, ref), message, timeout=PATIENCE)
    return json.loads(answer.data)
