"""What an API server says of names, labels and amounts, so that it need not be asked.

Written from https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and the
validation of the kinds that Stateward renders.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconcilers.object_ports import Manifest

type Json = Mapping[str, Any]

LABEL_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123
SERVICE_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035
PORT_NAME: Final = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")  # RFC 6335
VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
DATA_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
AMOUNT: Final = re.compile(r"0|[1-9][0-9]*(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_STEPS: Final = {"m": 1000, "": 1000, "k": 1000, "M": 1000, "G": 1000, "T": 1000, "P": 1000}
_BINARY: Final = {"Ki": 1024, "Mi": 1024, "Gi": 1024, "Ti": 1024, "Pi": 1024}


def complaints(manifest: Manifest) -> list[str]:
    """What a server would say against an object; empty if nothing."""
    return [*_metadata(manifest), *_data(manifest), *_content(manifest.body)]


def pod_spec(manifest: Manifest) -> Json | None:
    found: Json | None = manifest.body.get("spec", {}).get("template", {}).get("spec")
    return found


def is_canonical(amount: str) -> bool:
    """Whether a server would store an amount as it is written."""
    match = AMOUNT.fullmatch(amount)
    if match is None:
        return False
    unit = match[1] or ""
    number = int(amount.removesuffix(unit) or 0)
    step = _BINARY.get(unit) or _STEPS.get(unit)
    return number == 0 or step is None or number % step != 0


def _metadata(manifest: Manifest) -> Iterator[str]:
    metadata = manifest.body["metadata"]
    grammar = SERVICE_NAME if manifest.key.kind == "Service" else LABEL_NAME
    if grammar.fullmatch(manifest.key.name) is None:
        yield f"name {manifest.key.name}"
    if manifest.key.namespace and LABEL_NAME.fullmatch(manifest.key.namespace) is None:
        yield f"namespace {manifest.key.namespace}"
    for labels in _all(manifest.body, "labels", "matchLabels"):
        for key, value in labels.items():
            if KEY.fullmatch(key) is None or VALUE.fullmatch(value) is None:
                yield f"label {key}={value}"
    yield from (
        f"annotation {key}" for key in metadata.get("annotations", {}) if not KEY.fullmatch(key)
    )


def _data(manifest: Manifest) -> Iterator[str]:
    for key in {**manifest.body.get("data", {}), **manifest.confidential}:
        if DATA_KEY.fullmatch(key) is None:
            yield f"key {key}"


def _content(body: Json) -> Iterator[str]:
    for requests in _all(body, "requests", "limits", "hard", "defaultRequest"):
        if isinstance(requests, Mapping):
            yield from (f"amount {a}" for a in requests.values() if not is_canonical(a))
    for container in (c for found in _all(body, "containers") for c in found):
        yield from _container(container)
    for volumes in _all(body, "volumes", "volumeClaimTemplates"):
        names = [one.get("name") or one["metadata"]["name"] for one in volumes]
        yield from (f"volume {name}" for name in names if LABEL_NAME.fullmatch(name) is None)
        yield from _twice("volume", names)


def _container(container: Json) -> Iterator[str]:
    ports = container.get("ports", [])
    yield from (f"port {p['name']}" for p in ports if PORT_NAME.fullmatch(p["name"]) is None)
    yield from _twice("port", [port["name"] for port in ports])
    yield from _twice("mount", [mount["mountPath"] for mount in container.get("volumeMounts", [])])
    for probe in ("startupProbe", "livenessProbe"):
        if container.get(probe, {}).get("successThreshold", 1) != 1:
            yield f"successes of {probe}"


def _twice(what: str, names: list[str]) -> Iterator[str]:
    yield from (f"{what} {name} twice" for name in set(names) if names.count(name) > 1)


def _all(body: object, *names: str) -> Iterator[Any]:
    """All values that stand under one of these names, anywhere."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name in names:
                yield value
            yield from _all(value, *names)
    elif isinstance(body, list):
        for one in body:
            yield from _all(one, *names)
