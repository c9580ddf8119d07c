"""Orders for the renderer: some that people would write, and any that the domain lets pass."""

import json
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import assume
from hypothesis import strategies as st

from adapters.k8s.render.renderer import KubernetesRenderer
from domain import app as spec_of
from domain import names, shape, wish
from domain.app import AppSpec, FromSecret
from domain.refusals import Refusal
from domain.rules import placement
from domain.rules.placement import Place
from domain.secret import SecretText
from domain.target import K8sSettings
from reconcilers.object_ports import AppOrder, ProjectOrder

INSTALLATION: Final = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"
VALUE: Final = "hunter2-and-nobody-else"  # of every secret: nothing may show it
RENDERER: Final = KubernetesRenderer(INSTALLATION, "prod", K8sSettings())
SHOP: Final = ProjectOrder(project="shop", uid=3)
ON_K8S: Final = Place("prod", "k8s")


def complete(spec: Mapping[str, Any], *, replicas: int = 1) -> AppSpec:
    """The spec as an event would keep it, had somebody applied it to a cluster.

    Raises:
        Refusal: it would have been refused.
    """
    asked = wish.read(json.dumps(spec).encode())
    asked.check()
    placement.check_engine(asked, ON_K8S)
    frame = asked.frame
    count = replicas if asked.replicas is None else asked.replicas
    whole = shape.Shape(
        "prod", count, running=True, rollout=frame.rollout, autoscale=frame.autoscale
    )
    return spec_of.decode(shape.stored(asked.template("prod"), whole))


def order(
    spec: Mapping[str, Any],
    *,
    app: str = "web",
    project: str = "shop",
    uid: int = 17,
    revision: int = 1,
    replicas: int | None = None,
    tokens: str = "t1",
) -> AppOrder:
    """An order as the control plane would give it. `tokens` is for the values of Secrets."""
    read = complete(spec)
    pull = read.image_pull.secret_ref
    env = {
        name: SecretText(VALUE) if isinstance(value, FromSecret) else value
        for name, value in read.env.items()
    }
    used = {v.secret_ref.name for v in read.env.values() if isinstance(v, FromSecret)}
    used |= {pull} if pull else set()
    return AppOrder(
        project=project,
        app=app,
        uid=uid,
        revision=revision,
        digest="0123456789abcdef",
        image=read.image or "",
        spec=read,
        env=env,
        tokens={name: f"{tokens}-{name}" for name in used},
        pull={"username": SecretText("robot"), "password": SecretText(VALUE)} if pull else None,
        replicas=(read.replicas or 0) if replicas is None else replicas,
    )


WEB: Final[Mapping[str, Any]] = {
    "image": "registry.example.com/shop/web@sha256:" + "ab" * 32,
    "args": ["--price", "$(cost) is $5"],
    "env": {"LOG": "info", "PASSWORD": {"secretRef": {"name": "db", "key": "password"}}},
    "imagePull": {"secretRef": "registry"},
    "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}],
    "health": {"readiness": {"http": {"path": "/ready", "port": "http"}, "interval": "2500ms"}},
    "resources": {"cpu": 0.25, "memory": "0.5Gi"},
    "rollout": {"drain": "20s", "progressDeadline": "5m"},
    "stopGrace": "30s",
    "replicas": 3,
}
WORKER: Final[Mapping[str, Any]] = {"image": "worker:1", "command": ["work", "--for-ever"]}
DATABASE: Final[Mapping[str, Any]] = {
    "image": "db:16",
    "ports": [{"name": "postgres", "port": 5432}],
    "volumes": [{"name": "data", "path": "/var/lib/db", "size": "20Gi"}],
    "health": {
        "startup": {"tcp": {"port": "postgres"}, "failures": 30},
        "liveness": {"exec": {"argv": ["isready", "-U", "$USER"]}, "timeout": "5s"},
    },
    "replicas": 2,
}
ARCHIVE: Final[Mapping[str, Any]] = {
    "image": "archive:1",
    "volumes": [{"name": "files", "path": "/files", "scope": "app"}],
}
BUSY: Final[Mapping[str, Any]] = {
    "image": "busy:1",
    "ports": [{"name": "a-name-longer-than-fifteen", "port": 53, "protocol": "udp"}],
    "resources": {"memory": "256Mi"},
    "autoscale": {"min": 2, "max": 20, "cpu": 70, "memory": 85},
}

# --- any ----------------------------------------------------------------------------------------

name = st.from_regex(names._NAME, fullmatch=True).filter(lambda text: "--" not in text)
_word = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
_line = _word.filter(bool) | st.sampled_from(["$(HOME)", "$$", "a$", "$(", "-c"])
_duration = st.sampled_from(["0s", "1ms", "999ms", "1s", "90s", "2h", "100000h"])
_port = st.fixed_dictionaries(
    {"name": name, "port": st.integers(1, 65535)},
    optional={"protocol": st.sampled_from(["tcp", "udp"])},
)
_volume = st.fixed_dictionaries(
    {"name": name, "path": st.sampled_from(["/tmp", "/tmp/", "/data", "/", "/a b", "/tmp/x"])},
    optional={
        "size": st.sampled_from(["4Mi", "20Gi", "5000000", "500M", "1.5Ti", "2048Ti", 2**30]),
        "scope": st.sampled_from(["replica", "app"]),
    },
)
_env = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True) | st.just("PORT"),
    _word | st.builds(lambda n: {"secretRef": {"name": n, "key": "key"}}, name),
    max_size=4,
)


@st.composite
def _check(draw: st.DrawFn, ports: list[dict[str, Any]]) -> dict[str, Any]:
    tcp = [one["name"] for one in ports if one.get("protocol") != "udp"]
    ways: list[dict[str, Any]] = [{"exec": {"argv": draw(st.lists(_line, min_size=1, max_size=3))}}]
    if tcp:
        port = draw(st.sampled_from(tcp))
        ways += [{"tcp": {"port": port}}, {"http": {"port": port, "path": "/ok"}}]
    times = {"interval": draw(_duration), "timeout": draw(_duration)}
    return {**draw(st.sampled_from(ways)), **times, "failures": draw(st.integers(1, 1000))}


@st.composite
def specs(draw: st.DrawFn) -> Mapping[str, Any]:
    """Any spec that the domain lets run on a cluster, as somebody would have written it."""
    ports = draw(st.lists(_port, max_size=3))
    checks = ("startup", "readiness", "liveness")
    asked = {
        "image": draw(st.sampled_from(["web", "web:1", "host:5000/a/b:1", "h.io/x@sha256:feed"])),
        "command": draw(st.lists(_line, max_size=2)),
        "args": draw(st.lists(_line, max_size=2)),
        "env": draw(_env),
        "ports": ports,
        "health": {n: draw(_check(ports)) for n in draw(st.sets(st.sampled_from(checks)))},
        "volumes": draw(st.lists(_volume, max_size=3)),
        "resources": draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "cpu": st.sampled_from(["1m", "0.1", "1500m", "2000", 3]),
                    "memory": st.sampled_from(["4Mi", "1Gi", "500M", "5000001", "1024Gi"]),
                },
            )
        ),
        "stopGrace": draw(_duration),
        "rollout": {
            "strategy": draw(st.sampled_from(["startFirst", "stopFirst"])),
            "maxSurge": draw(st.integers(0, 3)),
            "maxUnavailable": draw(st.integers(0, 3)),
            "progressDeadline": draw(_duration),
            "drain": draw(_duration),
        },
        "imagePull": draw(st.sampled_from([{}, {"secretRef": "pull", "policy": "Always"}])),
        "replicas": draw(st.integers(0, 5)),
        **draw(st.sampled_from([{}, {}, {"workdir": "/srv"}, {"autoscale": {"min": 2, "max": 4}}])),
    }
    try:
        complete(asked)
    except Refusal:
        assume(False)
    return asked


@st.composite
def orders(draw: st.DrawFn) -> AppOrder:
    return order(
        draw(specs()),
        app=draw(name),
        project=draw(name),
        uid=draw(st.integers(1, 2**53)),
        revision=draw(st.integers(1, 2**31)),
        replicas=draw(st.sampled_from([None, 0])),
    )
