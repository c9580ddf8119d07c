"""What people ask in a simulated world: manifests and intents, drawn from a seed.

Every app has a readiness check; what its program does is in its `SIMULATED` variable.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, final

from bus import manifests
from bus.intents import Asked
from domain import intents as i
from domain.names import Ref, app, project

PROJECTS: Final = ("shop", "blog")
SECRET_MARK: Final = "marked-as-secret"  # noqa: S105 -- every secret value holds it; see `sinks`
ROUTELESS: Final = 0.2  # of all specs in worlds with routes
HOSTS: Final = 12
SHARING: Final = 0.4  # of all specs in worlds where others have claims by names of apps
PROBE: Final = {"http": {"path": "/", "port": "http"}, "interval": "10s"}


def written_as(
    kind: str, name: str, spec: Mapping[str, Any], project: str = "shop"
) -> dict[str, Any]:
    """A manifest as somebody would have written it."""
    metadata = {"name": name} | ({} if kind in ("Project", "Target") else {"project": project})
    return {
        "apiVersion": manifests.API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def manifest(kind: str, name: str, spec: Mapping[str, Any], project: str = "shop") -> Asked:
    """A manifest as it is handed in."""
    return manifests.read(json.dumps(written_as(kind, name, spec, project)).encode())


def app_spec(image: str, how: str = "", **more: Any) -> dict[str, Any]:
    """The spec of an app with a port and a readiness check."""
    return {
        "image": image,
        "env": {"SIMULATED": how} if how else {},
        "ports": [{"name": "http", "port": 8080}],
        "health": {"readiness": PROBE},
        "rollout": {"progressDeadline": "2m"},
    } | more


@final
class Routes:
    """Draws by which URLs apps on `targets` are reached, and what their programs do besides."""

    def __init__(self, rng: random.Random, targets: Sequence[str], hosts: int = HOSTS) -> None:
        self._rng, self._targets, self._hosts = rng, targets, hosts

    def of(self, target: str) -> Sequence[Mapping[str, Any]]:
        """The routes of an app on a target: often the only ones of their URL, at times not."""
        rng = self._rng
        if target not in self._targets or rng.random() < ROUTELESS:
            return ()
        route: dict[str, Any] = {"host": f"h{rng.randrange(self._hosts)}.localhost"}
        draw = rng.random()
        if draw < 0.3:
            route["path"] = rng.choice(["/api", "/api/v2"])
        elif draw < 0.5:
            route["contexts"] = [{"header": "x-feature", "value": rng.choice(["blue", "green"])}]
        return (route,)

    def how(self) -> str:
        """Many programs take a while until they are ready, or until they obey."""
        return self._rng.choice(["", "", "unready=2", "unready=7", "unready=4,slow=3"])

    def drain(self) -> str:
        return self._rng.choice(["0s", "0s", "3s"])


@final
class People:
    """Draws what is asked next. `apps` are the names they may use, `images` what those may run,
    on `targets` and `clusters`.
    """

    def __init__(
        self,
        rng: random.Random,
        apps: Sequence[Ref],
        targets: Sequence[str],
        images: Sequence[str] = (),
        clusters: Sequence[str] = (),
    ) -> None:
        self._rng, self.apps, self._targets = rng, apps, (*targets, *clusters)
        self._clusters = clusters
        self.routes: Routes | None = None
        """By which URLs apps are reached; by none without it."""
        self.keeping: random.Random | None = None
        """How many former revisions stay; none without it."""
        self._last: dict[Ref, dict[str, Any]] = {}
        self.daemons: Sequence[str] = ()
        """Those of the targets whose keys have one worker together."""
        self.sharing: random.Random | None = None
        """Which volumes are one for all replicas of their app; none without it."""
        self._images = images or [f"web:{number}" for number in range(1, 8)]
        self._numbers = count(1)
        self._draws: list[tuple[int, Callable[[Ref], Asked]]] = [
            (8, self.apply),
            (4, lambda ref: i.Scale(ref=ref, replicas=self._rng.randrange(5))),
            (1, lambda ref: i.Stop(ref=ref)),
            (2, lambda ref: i.Start(ref=ref)),
            (2, lambda ref: i.Restart(ref=ref)),
            (2, lambda ref: i.Undo(ref=ref)),
            (1, lambda ref: i.Refresh(ref=ref)),
            (1, lambda ref: i.Hold(ref=ref, reason="a sale")),
            (2, lambda ref: i.Resume(ref=ref)),
            (1, lambda ref: i.Delete(ref=ref, volumes=self._rng.random() < 0.5)),
            (1, self.secret),
        ]

    def wander(self, rng: random.Random) -> None:
        """From now on apps are also moved as they are: all is as it was, but the place."""

        def move(ref: Ref) -> Asked:
            last = self._last.get(ref)
            if last is None:
                return self.apply(ref)
            places = [one for one in self._targets if one != last["target"]]
            spec = self._last[ref] = {**last, "target": rng.choice(places)}
            return manifest("App", ref.name, spec, ref.project)

        self._draws.append((6, move))

    def come_and_go(self, rng: random.Random) -> None:
        """From now on projects are deleted with all that is in them, and made again."""

        def end(ref: Ref) -> Asked:
            whole = project(ref.project)
            return i.Delete(ref=whole, cascade=True, volumes=rng.random() < 0.5)

        self._draws.append((1, end))
        self._draws.append((3, lambda ref: manifest("Project", ref.project, {})))

    def furniture(self) -> list[Asked]:
        """The targets, projects and secrets that everything else needs."""
        made = [manifest("Target", name, {"engine": self._engine(name)}) for name in self._targets]
        for name in sorted({ref.project for ref in self.apps}):
            made.append(manifest("Project", name, {}))
            made.append(self.secret(app(name, "any")))
        return made

    def _engine(self, target: str) -> str:
        if target in self._clusters:
            return "k8s"
        return "docker" if target in self.daemons else "simulated"

    def draw(self) -> Asked:
        """The next thing that somebody wants."""
        ref = self._rng.choice(self.apps)
        weights = [weight for weight, _ in self._draws]
        (_, chosen) = self._rng.choices(self._draws, weights)[0]
        return chosen(ref)

    def letter(self) -> tuple[str, Ref, object]:
        """What a program asks next over the bus: verb, resource and data."""
        ref = self._rng.choice(self.apps)
        draw = self._rng.random()
        if draw < 0.5:
            written = written_as("App", ref.name, self.spec(""), ref.project)
            return "apply", ref, written
        if draw < 0.9:
            return "scale", ref, {"replicas": self._rng.randrange(5)}
        return self._rng.choice(["start", "restart"]), ref, {}

    def apply(self, ref: Ref, how: str = "") -> Asked:
        spec = self.spec(how)
        if not how:
            self._last[ref] = spec
        return manifest("App", ref.name, spec, ref.project)

    def spec(self, how: str) -> dict[str, Any]:
        """The spec of an app, with what its program does."""
        rng = self._rng
        more: dict[str, Any] = {"target": rng.choice(self._targets)}
        if rng.random() < 0.5:
            more["replicas"] = rng.randrange(1, 5)
        if self.sharing is not None and self.sharing.random() < SHARING:
            more["volumes"] = [{"name": "data", "path": "/data", "scope": "app"}]
        elif rng.random() < 0.2:
            more["volumes"] = [{"name": "data", "path": "/data"}]
        spec = app_spec(self.image(), how, **more)
        if rng.random() < 0.3:
            spec["env"]["PASSWORD"] = {"secretRef": {"name": "db", "key": "password"}}
        if rng.random() < 0.2:
            spec["rollout"] |= {"maxUnavailable": 1, "maxSurge": rng.randrange(3)}
        if self.keeping is not None:
            spec["rollout"]["keep"] = self.keeping.choice([0, 1, 1, 2])
        if self.routes is not None:
            self._add_routes(spec, self.routes)
        return spec

    @staticmethod
    def _add_routes(spec: dict[str, Any], routes: Routes) -> None:
        spec["routes"] = list(routes.of(spec["target"]))
        spec["rollout"]["drain"] = routes.drain()
        if "SIMULATED" not in spec["env"]:
            spec["env"]["SIMULATED"] = routes.how()

    def secret(self, ref: Ref) -> Asked:
        value = f"{SECRET_MARK}-{next(self._numbers)}"
        return manifest("Secret", "db", {"data": {"password": value}}, ref.project)

    def image(self) -> str:
        return self._rng.choice(self._images)
