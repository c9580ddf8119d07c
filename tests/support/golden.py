"""Golden manifests: what the renderer makes of typical apps, as files that people like to read.

`make golden` writes them anew; look at the difference before you commit it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.k8s.render.renderer import KubernetesRenderer
from domain.target import K8sSettings
from reconcilers.object_ports import Manifest
from tests.support import k8s_orders as orders
from tests.support import k8s_routes
from tests.support.route_tables import asked_by_domain

DIRECTORY: Final = Path(__file__).parents[1] / "k8s" / "golden"
_NAMESPACED_USERS: Final = KubernetesRenderer(
    orders.INSTALLATION, "prod", K8sSettings(user_namespaces=True)
)
CASES: Final[Mapping[str, tuple[str, tuple[Manifest, ...]]]] = {
    "project": ("What the apps of a project share.", orders.RENDERER.project(orders.SHOP)),
    "web": (
        "Three replicas that serve HTTP, with a secret, and an image from a private registry.",
        orders.RENDERER.app(orders.order(orders.WEB)),
    ),
    "worker": (
        "The least that an app can be: no port, no variable, one replica.",
        orders.RENDERER.app(orders.order(orders.WORKER, app="worker")),
    ),
    "database": (
        "Two replicas with a volume each.",
        orders.RENDERER.app(orders.order(orders.DATABASE, app="db")),
    ),
    "archive": (
        "One volume that all replicas share; the old replica ends before the new one starts.",
        orders.RENDERER.app(orders.order(orders.ARCHIVE, app="archive")),
    ),
    "busy": (
        "As many replicas as the load asks for, on nodes that give each pod its own users.",
        _NAMESPACED_USERS.app(orders.order(orders.BUSY, app="busy")),
    ),
    **{
        f"routes-{way}": (
            f"All that a row can say, by {way}, as far as it can.",
            k8s_routes.rendered(way).manifests,
        )
        for way in k8s_routes.WAYS
    },
    "routes-traefik-domains": (
        "Domains with users of their own: by an address, and by middlewares of the operator.",
        k8s_routes.rendered(
            "traefik", table=asked_by_domain("infra/login", "limits/most")
        ).manifests,
    ),
    "web-routed": (
        "An app with a URL: its route, and the door for the router of the cluster.",
        orders.RENDERER.app(k8s_routes.reached(orders.order(orders.WEB))),
    ),
    "busy-stopped": (
        "The same, stopped: nothing scales what should not run.",
        _NAMESPACED_USERS.app(orders.order(orders.BUSY, app="busy", replicas=0)),
    ),
}


def text(name: str) -> str:
    """The file of a case."""
    story, manifests = CASES[name]
    return f"# {story}\n# Written by `make golden`.\n{_documents(manifests)}"


def write() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for path in DIRECTORY.glob("*.yaml"):
        path.unlink()
    for name in CASES:
        (DIRECTORY / f"{name}.yaml").write_text(text(name))


def _documents(manifests: Iterable[Manifest]) -> str:
    return "".join(f"---\n{_yaml(manifest)}" for manifest in manifests)


def _yaml(manifest: Manifest) -> str:
    body: dict[str, Any] = dict(manifest.body)
    if manifest.confidential:
        body["data"] = {name: str(value) for name, value in manifest.confidential.items()}
    shown: str = yaml.dump(body, Dumper=_Plain, sort_keys=False, width=120)
    return shown


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice, and lists one step further in."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


if __name__ == "__main__":
    write()
