"""An object as it is wanted against the same object as it is: what differs, and whose it is.

What nobody asked for is left out of the comparison, for servers fill in defaults. So an addition of
somebody else is no difference; it is told by who manages it, as far as the object says so.
Paths read like `spec.template.spec.containers[web].image`.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ for how lists are merged
and how `managedFields` is written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from reconcilers.object_ports import HANDOVER, MANAGER, Json

# Lists whose items are somebody, and by which fields; all others are one value.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
# Maps that are one value: a label more selects something else.
_WHOLE: Final = frozenset({"selector", "podSelector", "namespaceSelector"})
_CLUSTER: Final = frozenset(
    {
        *("kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet"),
        *("cloud-controller-manager", "cluster-autoscaler", "endpointslice-controller"),
    }
)
_IMMUTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "Deployment": ("spec.selector",),
    "StatefulSet": (
        *("spec.selector", "spec.serviceName", "spec.podManagementPolicy"),
        "spec.volumeClaimTemplates",
    ),
    "Service": ("spec.clusterIP",),
}
_SEALED: Final = ("data", "binaryData", "immutable")  # of what says of itself that it is immutable


class Addition(NamedTuple):
    """Fields that a manager other than us, and not the cluster itself, put into an object."""

    manager: str
    fields: tuple[str, ...]


def differing(wanted: Json, live: Json) -> tuple[str, ...]:
    """The paths of what is wanted and is not so, in order.

    Of a Secret only the metadata is compared: its name says what it holds, and its values are not
    kept here.
    """
    if wanted["kind"] == "Secret":
        wanted = {"metadata": wanted["metadata"]}
    return tuple(_differing(wanted, live, ""))


def as_made(wanted: Json, live: Json) -> Json:
    """What is wanted, with the values that it has there instead; what is not there is left out."""
    if wanted["kind"] == "Secret":
        wanted = {"kind": wanted["kind"], "metadata": wanted["metadata"]}
    made: Json = _as_made(wanted, live, "")
    return made


def immutable(live: Json, fields: Sequence[str]) -> tuple[str, ...]:
    """Those of the paths that a server will never change: the object has to be made anew."""
    fixed = _IMMUTABLE.get(live["kind"], ())
    if live.get("immutable"):
        fixed = (*fixed, *_SEALED)
    return tuple(path for path in fields if path.startswith(fixed)) if fixed else ()


def additions(wanted: Json, live: Json) -> tuple[Addition, ...]:
    """What others added, by manager; nothing where the object does not say who manages it."""
    managed = list(_managed(live))
    if not managed:
        return ()
    stated = set(_paths(wanted, ""))
    found: dict[str, list[str]] = {}
    for manager, path in managed:
        theirs = found.setdefault(manager, [])
        if path not in stated and not any(path.startswith(f"{above}.") for above in theirs):
            theirs.append(path)
    return tuple(Addition(who, tuple(paths)) for who, paths in sorted(found.items()) if paths)


def editors(live: Json, fields: Sequence[str]) -> tuple[str, ...]:
    """Who manages these paths, besides us; an autoscaler is the cluster itself, through `scale`."""
    managed = [*_managed(live), *_scaled(live)]
    return tuple(sorted({who for who, path in managed if any(_meet(path, f) for f in fields)}))


def managers(live: Json) -> tuple[str, ...]:
    """Who has set any field of it, but for its status."""
    entries = live["metadata"].get("managedFields") or ()
    return tuple(sorted({one["manager"] for one in entries if not one.get("subresource")}))


def _meet(path: str, field: str) -> bool:
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _differing(wanted: object, live: object, at: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            yield at
            return
        for name, value in wanted.items():
            there = live.get(name)
            if value == there:
                continue  # nearly always, and cheap
            path = _below(at, name)
            if there is None or name in _WHOLE:
                yield path
            else:
                yield from _differing(value, there, path)
    elif isinstance(wanted, list):
        yield from _differing_lists(wanted, live, at)
    elif wanted != live:
        yield at


def _differing_lists(wanted: list[Any], live: object, at: str) -> Iterator[str]:
    if not isinstance(live, list):
        yield at
        return
    keys = _keys(at, wanted)
    if not keys:
        pairs = zip(wanted, live, strict=False)
        if len(wanted) != len(live) or any(any(_differing(w, one, at)) for w, one in pairs):
            yield at
        return
    there = {_named(item, keys): item for item in live if isinstance(item, Mapping)}
    for item in wanted:
        name = _named(item, keys)
        path = f"{at}[{name}]"
        if name in there:
            yield from _differing(item, there[name], path)
        else:
            yield path


def _as_made(wanted: Any, live: Any, at: str) -> Any:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return {
            name: live[name] if name in _WHOLE else _as_made(value, live[name], _below(at, name))
            for name, value in wanted.items()
            if live.get(name) is not None
        }
    if isinstance(wanted, list) and isinstance(live, list) and (keys := _keys(at, wanted)):
        there = {_named(item, keys): item for item in live if isinstance(item, Mapping)}
        names = ((item, _named(item, keys)) for item in wanted)
        return [_as_made(item, there[n], f"{at}[{n}]") for item, n in names if n in there]
    return live


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _keys(at: str, items: Sequence[Any]) -> tuple[str, ...]:
    """By which fields the items of a list are somebody; empty: the list is one value."""
    field = at.rpartition(".")[2]
    if field == "ports" and items and isinstance(items[0], Mapping):
        if "containerPort" in items[0]:
            return ("containerPort", "protocol")
        return ("port", "protocol") if "targetPort" in items[0] else ()
    return _KEYS.get(field, ())


def _named(item: Json, keys: tuple[str, ...]) -> str:
    return ",".join(str(item.get(key, "TCP" if key == "protocol" else "")) for key in keys)


def _paths(wanted: object, at: str) -> Iterator[str]:
    """Every path that something stands at."""
    if at:
        yield at
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            yield from _paths(value, _below(at, name))
    elif isinstance(wanted, list) and (keys := _keys(at, wanted)):
        for item in wanted:
            yield from _paths(item, f"{at}[{_named(item, keys)}]")


def _managed(live: Json) -> Iterator[tuple[str, str]]:
    """(manager, path) of all that others manage, outer paths first."""
    for entry in live.get("metadata", {}).get("managedFields", ()):
        manager = entry.get("manager", "unknown")
        if manager in {MANAGER, HANDOVER} or manager in _CLUSTER or entry.get("subresource"):
            continue
        for path in _leaves(entry.get("fieldsV1", {}), ""):
            if not path.startswith("status"):
                yield manager, path


def _scaled(live: Json) -> Iterator[tuple[str, str]]:
    """The same of the number of pods, where that was set on its own."""
    for entry in live.get("metadata", {}).get("managedFields", ()):
        if entry.get("subresource") == "scale":
            for path in _leaves(entry.get("fieldsV1", {}), ""):
                yield f"{entry.get('manager', 'unknown')} (scale)", path


def _leaves(fields: Json, at: str) -> Iterator[str]:
    """The paths of a set of fields: what has nothing below it, and items that are theirs."""
    below = {name: inner for name, inner in fields.items() if name != "."}
    if at and (not below or "." in fields):
        yield at
    for name, inner in below.items():
        sort, _, text = name.partition(":")
        if sort == "f":
            yield from _leaves(inner, _below(at, text))
        elif sort == "k":
            values = json.loads(text).values()
            yield from _leaves(inner, f"{at}[{','.join(map(str, values))}]")
        elif at:
            yield at  # an element of a list that is one value
