"""The main job, seen: intents become running apps, and what breaks heals by itself.

A control plane of its own, in a data directory of its own: SQLite log, embedded NATS, and Docker
if a daemon answers, else local processes. Everything it does goes over the HTTP API, and all that
it made is gone at the end. Run it with `make demo`.
"""

import asyncio
import shutil
import sys
import tempfile
import time
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import docker
import httpx
import psutil
from rich.console import Console

from adapters.docker.engine import docker_answers
from adapters.sqlite.verify import verify
from domain.target import DockerSettings
from stateward import data, logs
from stateward.control_plane import Running, running
from stateward.settings import Api, Data, Engine, Settings
from tests.support.images import APP, python_image

PATIENCE: Final = 30.0  # seconds that any one step may take
GREETER: Final = Path(__file__).with_name("greeter.py")
KEPT: Final = Path(__file__).parent.parent / "var" / "demo.jsonl"

say = Console(highlight=False).print


class Hand(Protocol):
    """What a clumsy operator does behind the control plane's back, and the apps for an engine."""

    def spec(self, greeting: str) -> dict[str, Any]: ...

    def kill(self, replica: Mapping[str, Any]) -> str: ...

    def remove(self, replica: Mapping[str, Any]) -> str: ...


class DockerHand:
    def __init__(self, host: str, installation: str) -> None:
        self._client = docker.APIClient(base_url=host)
        self._prefix = installation[:6]
        self._image = python_image(self._client)

    def spec(self, greeting: str) -> dict[str, Any]:
        return {"image": self._image, "command": list(APP), "env": {"GREETING": greeting}}

    def kill(self, replica: Mapping[str, Any]) -> str:
        name = self._name(replica)
        self._client.kill(name)
        return f"docker kill {name}"

    def remove(self, replica: Mapping[str, Any]) -> str:
        name = self._name(replica)
        self._client.remove_container(name, force=True)
        return f"docker rm -f {name}"

    def _name(self, replica: Mapping[str, Any]) -> str:
        return f"{self._prefix}.shop.{replica['name']}"


class ProcessHand:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def spec(self, greeting: str) -> dict[str, Any]:
        return {"command": [sys.executable, str(GREETER)], "env": {"GREETING": greeting}}

    def kill(self, replica: Mapping[str, Any]) -> str:
        process = self._process(replica)
        process.kill()
        return f"kill -9 {process.pid}"

    def remove(self, replica: Mapping[str, Any]) -> str:
        told = self.kill(replica)
        app, _, rest = replica["name"].partition(".")
        folder = self._directory / "replicas" / "shop" / app / rest
        # Its end is being noted in there just now: moved out of reach, or rm -r meets a new file.
        shutil.rmtree(folder.rename(self._directory / f"removed-{rest}"), ignore_errors=True)
        return f"{told}; rm -r {folder.relative_to(self._directory)}"

    def _process(self, replica: Mapping[str, Any]) -> psutil.Process:
        port = int(replica["addresses"]["http"].rpartition(":")[2])
        listening = psutil.net_connections("tcp")
        pid = next(c.pid for c in listening if c.laddr and c.laddr.port == port and c.pid)
        return psutil.Process(pid)


class Shop:
    """The sample project, through the HTTP API."""

    def __init__(self, client: httpx.AsyncClient, hand: Hand) -> None:
        self._client, self._hand = client, hand

    def manifest(self, app: str, greeting: str, replicas: int) -> dict[str, Any]:
        check = {"http": {"path": "/", "port": "http"}, "interval": "5s"}
        spec = self._hand.spec(greeting) | {
            "replicas": replicas,
            "ports": [{"name": "http", "port": 8080}],
            "health": {"readiness": check},
            "stopGrace": "2s",
        }
        return {
            "apiVersion": "stateward/v1",
            "kind": "App",
            "metadata": {"name": app, "project": "shop"},
            "spec": spec,
        }

    async def apply(self, *manifests: Mapping[str, Any]) -> dict[str, Any]:
        return await self._answer("POST", "/api/v1/apply", json=list(manifests))

    async def act(self, app: str, verb: str, **how: Any) -> dict[str, Any]:
        path = f"/api/v1/projects/shop/apps/{app}/actions/{verb}"
        return await self._answer("POST", path, json=how)

    async def get(self, app: str) -> dict[str, Any]:
        return await self._answer("GET", f"/api/v1/projects/shop/apps/{app}")

    async def events(self) -> list[dict[str, Any]]:
        answer = await self._answer("GET", "/api/v1/events", params={"limit": 500})
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def delete(self) -> None:
        await self._answer("DELETE", "/api/v1/projects/shop", params={"cascade": "true"})

    async def replicas(self, app: str) -> list[dict[str, Any]]:
        """Those that run and are ready."""
        status = (await self.get(app)).get("status") or {}
        return [one for one in status.get("replicas", ()) if one["ready"]]

    async def serves(self, app: str, greeting: str, count: int) -> bool:
        """Whether so many replicas are ready and each answers with the greeting."""
        ready = await self.replicas(app)
        if len(ready) != count:
            return False
        for one in ready:
            try:
                answer = await self._client.get(f"http://{one['addresses']['http']}/", timeout=1)
            except httpx.TransportError:
                return False
            if answer.text.strip() != greeting:
                return False
        return True

    async def _answer(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = await self._client.request(method, path, **more)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> float:
    """Wait until something holds; return how many seconds that took."""
    began = time.perf_counter()
    while not await holds():
        if time.perf_counter() - began > PATIENCE:
            raise SystemExit(f"the demo failed: after {PATIENCE:.0f} s still not so: {what}")
        await asyncio.sleep(0.02)
    return time.perf_counter() - began


def life(replica: dict[str, Any]) -> tuple[str, str]:
    """A replica that was taken away comes back under its name, at another time."""
    return replica["name"], replica["startedAt"]


def step(text: str) -> None:
    say(f"\n[bold cyan]▸ {text}[/]")


def healed(text: str, seconds: float) -> None:
    say(f"  [green]✓[/] {text} [bold]after {seconds:.2f} s[/]")


async def tell(control_plane: Running, shop: Shop, hand: Hand) -> None:
    """The story."""
    step("Apply a project with two apps: web with two replicas, api with one")
    project = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "shop"}}
    answer = await shop.apply(
        project, shop.manifest("web", "hello", 2), shop.manifest("api", "42", 1)
    )
    for change in answer["changes"]:
        say(f"  {change['resource']} {change['result']} (position {change['generation']})")
    took = await until(lambda: shop.serves("web", "hello", 2), "web answers")
    healed("web answers over HTTP from 2 replicas", took)
    healed("api answers, too,", await until(lambda: shop.serves("api", "42", 1), "api answers"))

    for deed in (hand.kill, hand.remove):
        victim = (await shop.replicas("web"))[0]
        step(f"Behind its back: {deed(victim)}")
        gone = life(victim)

        async def replaced(gone: tuple[str, str] = gone) -> bool:
            lives = [life(one) for one in await shop.replicas("web")]
            return gone not in lives and await shop.serves("web", "hello", 2)

        healed("two replicas answer again", await until(replaced, "web is healed"))

    step("Stop the bus, and go on giving intents")
    bus = control_plane.bus
    if bus is None:
        raise SystemExit("the demo failed: there is no bus to stop")
    await bus.stop()
    say("  the NATS server has ended; intents are acknowledged once they are on disk")
    answer = await shop.act("web", "scale", replicas=4)
    say(f"  scale web to 4: accepted at position {answer['position']}")
    answer = await shop.apply(shop.manifest("api", "43", 1))
    say(f"  a new revision of api: accepted at position {answer['position']}")
    took = await until(lambda: shop.serves("web", "hello", 4), "web has four replicas")
    healed("web answers from 4 replicas", took)
    took = await until(lambda: shop.serves("api", "43", 1), "api is rolled out")
    healed("the new api answers", took)
    await bus.start()
    say("  the bus runs again")

    step("What happened, and why")
    await asyncio.sleep(0.5)
    history(await shop.events())

    step("Keep the history, to see it again under faults")
    await keep_history(control_plane.data.directory)

    step("Delete the project; nothing may be left")
    healed("the engine confirms that nothing is left", await removed(shop))
    report = verify(control_plane.data.directory)
    verdict = f"{report.events} events, every seal holds" if report.sound else report.problem
    say(f"  [green]✓[/] the history verifies: {verdict}")


async def keep_history(directory: Path) -> None:
    """Export the log while the apps are still wanted, beside the server, as anybody may."""
    KEPT.parent.mkdir(exist_ok=True)
    command = ("-m", "stateward", "export", str(directory), "-o", str(KEPT))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    await process.communicate()
    where = KEPT.relative_to(KEPT.parent.parent)
    say(f"  it is in {where}; run it with faults:")
    say(f"  [bold].venv/bin/stateward simulate --history {where} --seeds 10[/]", soft_wrap=True)


async def removed(shop: Shop) -> float:
    """Delete the project and wait until the engine has confirmed it for every app."""
    apps = {e["resource"] for e in await shop.events() if e["resource"].startswith("App/")}
    await shop.delete()

    async def over() -> bool:
        events = await shop.events()
        return apps == {e["resource"] for e in events if e["type"] == "removal.completed"}

    return await until(over, "all is removed")


def history(events: list[dict[str, Any]]) -> None:
    for event in events:
        cause = event["cause"]
        because = f"for #{cause} " if cause.isdigit() else ""
        say(
            f"  [dim]#{event['position']:<3} {event['at'][11:19]}[/] [bold]{event['resource']}[/] "
            f"{event['sentence']} [dim]({because}by {event['actor']})[/]",
            soft_wrap=True,
        )


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[tuple[Running, Shop, Hand]]:
    """A control plane, a client and a hand for the engine that is there."""
    docker_trouble = docker_answers(DockerSettings().host)
    settings = Settings(
        data=Data(directory=directory),
        api=Api(port=0),
        engine=Engine(default="docker" if docker_trouble is None else "process"),
    )
    with data.opened(directory, new_id=lambda: str(uuid.uuid4())) as held:  # noqa: TID251
        async with running(settings, held) as control_plane:
            url = control_plane.serving.url
            reason = docker_trouble or f"a Docker daemon answers at {DockerSettings().host}"
            say(f"control plane at {url}, data in {directory}")
            say(f"apps run on [bold]{settings.engine.default}[/]: {reason}", soft_wrap=True)
            hand: Hand
            if docker_trouble is None:
                say("making an image from this machine's Python (once a machine) …")
                hand = await asyncio.to_thread(DockerHand, DockerSettings().host, held.installation)
            else:
                hand = ProcessHand(directory)
            token = control_plane.first_token or control_plane.token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
                if control_plane.bus is not None:
                    await control_plane.bus.ready()
                yield control_plane, Shop(client, hand), hand


async def main() -> None:
    logs.configure("text", "error")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="stateward-demo-") as place:
        async with stage(Path(place)) as (control_plane, shop, hand):
            try:
                await tell(control_plane, shop, hand)
            except (
                BaseException
            ):  # Apps outlive their control plane; these must not outlive the demo.
                with suppress(httpx.HTTPError, SystemExit):
                    await removed(shop)
                raise
    took = f"Done in {time.perf_counter() - began:.0f} s."
    say(f"\n[bold green]{took}[/] Try it yourself: the tour in README.md.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
