"""Ask for two replicas over NATS, wait for the answer, then hear what comes of it."""

import asyncio
import json
import sys
from pathlib import Path

import nats

DATA = Path(sys.argv[1])  # the data directory of the control plane
ACTOR, SUBJECT = "producer", "App/shop/web"


async def main() -> None:
    directory = DATA / "nats"
    connection = await nats.connect(
        f"nats://127.0.0.1:{(directory / 'port').read_text()}",
        user=ACTOR,
        password=json.loads((directory / "credentials.json").read_text())["producer"],
        inbox_prefix=f"_INBOX.{ACTOR}".encode(),
    )
    events = await connection.subscribe("stateward.v1.event.shop.App.web.>")
    intent = {
        "specversion": "1.0",
        "type": "stateward.app.scale.v1",
        "id": f"scale-web-{sys.argv[2]}",  # the idempotency key
        "source": "/ci/deploy",
        "subject": SUBJECT,
        "data": {"replicas": int(sys.argv[2])},
    }
    answer = await connection.request(
        f"stateward.v1.intent.{ACTOR}.shop.App.web", json.dumps(intent).encode(), timeout=5
    )
    print("answer:", answer.data.decode())
    event = await events.next_msg(timeout=5)
    heard = json.loads(event.data)
    print("event:", heard["type"], "at position", heard["id"], "by", heard["data"]["actor"])

    outcomes = await connection.subscribe(f"stateward.v1.accepted.{ACTOR}.shop.App.web")
    submitted = await connection.jetstream().publish(
        f"stateward.v1.submit.{ACTOR}.shop.App.web",
        json.dumps(
            intent | {"id": "restart-1", "type": "stateward.app.restart.v1", "data": {}}
        ).encode(),
        headers={"Nats-Msg-Id": f"{ACTOR}:restart-1"},
    )
    print("kept in", submitted.stream)
    outcome = await outcomes.next_msg(timeout=5)
    print("accepted:", json.dumps(json.loads(outcome.data)["data"], separators=(",", ":")))
    await connection.close()


asyncio.run(main())
