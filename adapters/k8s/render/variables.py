"""An app's variables and credentials: a ConfigMap and Secrets that never change.

Their names are hashes of what they hold, so that a change is another object, a rollout, and a way
back. Of secrets only the keyed tokens are hashed: a name tells nothing of a value.
"""

import base64
import json
from typing import Any, Final, NamedTuple

import msgspec

from adapters.k8s.render.labels import Owner
from adapters.k8s.render.manifests import content_hash, manifest
from domain.app import FromSecret
from domain.secret import SecretText
from reconcilers.object_ports import AppOrder, Manifest, Stage

_DEFAULT_REGISTRY: Final = "https://index.docker.io/v1/"  # as Docker names its own in credentials


class Variables(NamedTuple):
    """The objects, and the parts of a pod that name them."""

    objects: tuple[Manifest, ...]
    env_from: list[dict[str, Any]]
    pull_secrets: list[dict[str, str]]


def variables(order: AppOrder, owner: Owner) -> Variables:
    """What an app's containers get told. `PORT` and `PORT_<NAME>` are among it, as everywhere."""
    objects: list[Manifest] = []
    sources: list[dict[str, Any]] = []
    plain = _plain(order)
    if plain:
        name = f"{owner.app}--{content_hash(plain)}"
        content = {"data": plain, "immutable": True}
        objects.append(manifest(Stage.CONFIG, owner, "v1 ConfigMap", name, content))
        sources.append({"configMapRef": {"name": name}})
    confidential = {
        name: value
        for name, value in sorted(order.env.items())
        if isinstance(value, SecretText) and name not in plain
    }
    if confidential:
        name = f"{owner.app}--{content_hash(_tokens(order))}"
        objects.append(secret(owner, name, "Opaque", confidential))
        sources.append({"secretRef": {"name": name}})
    if order.pull is None:
        return Variables(tuple(objects), sources, [])
    credentials = _credentials(order, owner)
    pulling = [{"name": credentials.key.name}]
    return Variables((*objects, credentials), sources, pulling)


def _plain(order: AppOrder) -> dict[str, str]:
    env = {name: value for name, value in order.env.items() if isinstance(value, str)}
    for port in reversed(order.spec.ports):  # so that PORT ends as that of the first
        env["PORT"] = env[f"PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    return dict(sorted(env.items()))


def _tokens(order: AppOrder) -> list[tuple[str, str, str]]:
    """For each variable from a Secret: which key of which values, as a keyed digest."""
    taken = [
        (name, value.secret_ref.key, order.tokens[value.secret_ref.name])
        for name, value in order.spec.env.items()
        if isinstance(value, FromSecret)
    ]
    return sorted(taken)


def secret(owner: Owner, name: str, kind: str, confidential: dict[str, SecretText]) -> Manifest:
    """A Secret of a type of Kubernetes' own; its name has to be another for other values."""
    content = {"type": kind, "immutable": True}
    made = manifest(Stage.CONFIG, owner, "v1 Secret", name, content)
    return msgspec.structs.replace(made, confidential=confidential)


def _credentials(order: AppOrder, owner: Owner) -> Manifest:
    assert order.pull is not None
    reference = order.spec.image_pull.secret_ref or ""
    registry = _registry(order.image)
    hashed = content_hash([registry, reference, order.tokens.get(reference, "")])
    user, password = order.pull["username"].reveal(), order.pull["password"].reveal()
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    login = {"username": user, "password": password, "auth": auth}
    text = json.dumps({"auths": {registry: login}}, sort_keys=True, separators=(",", ":"))
    return secret(
        owner,
        f"{owner.app}--pull-{hashed}",
        "kubernetes.io/dockerconfigjson",
        {".dockerconfigjson": SecretText(text)},
    )


def _registry(image: str) -> str:
    """The registry of an image as its credentials name it, with its port."""
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and (bool(set(first) & {".", ":"}) or first == "localhost")
    return first if is_host else _DEFAULT_REGISTRY
