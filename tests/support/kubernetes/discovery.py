"""What the server says about itself: its version, its groups, the kinds of each."""

from tests.support.kubernetes.kinds import Kind, Kinds
from tests.support.kubernetes.schema import Object

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2",
    "platform": "linux/amd64",
}


def answer(path: str, kinds: Kinds) -> Object | None:
    """The document at a path; None when there is none."""
    match path.strip("/").split("/"):
        case ["version"]:
            return dict(_VERSION)
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["api", "v1"]:
            return _resources("", "v1", kinds)
        case ["apis"]:
            groups = sorted({kind.group for kind in kinds if kind.group})
            found = [_group(group, kinds) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        case ["apis", group, *version] if len(version) < 2:
            return _of_group(group, version[0] if version else "", kinds)
        case _:
            return None


def _of_group(group: str, version: str, kinds: Kinds) -> Object | None:
    if not any(kind.group == group and version in {"", kind.version} for kind in kinds):
        return None
    if version:
        return _resources(group, version, kinds)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, kinds)}


def _group(group: str, kinds: Kinds) -> Object:
    versions = sorted({kind.version for kind in kinds if kind.group == group})
    told = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": told, "preferredVersion": told[-1]}


def _resources(group: str, version: str, kinds: Kinds) -> Object:
    served = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for kind in served for entry in _entries(kind)],
    }


def _entries(kind: Kind) -> list[Object]:
    shared = {"kind": kind.name, "namespaced": kind.namespaced, "singularName": kind.name.lower()}
    entries = [{"name": kind.plural, "verbs": _VERBS, **shared}]
    if kind.has_status:
        verbs = ["get", "patch", "update"]
        entries.append({"name": f"{kind.plural}/status", "verbs": verbs, **shared})
    if kind.has_scale:
        scale = {"kind": "Scale", "group": "autoscaling", "version": "v1"}
        verbs = ["get", "patch", "update"]
        entries.append({"name": f"{kind.plural}/scale", "verbs": verbs, **shared, **scale})
    if kind.name == "Pod":
        entries.append({"name": "pods/log", "verbs": ["get"], **shared})
        entries.append({"name": "pods/exec", "verbs": ["create", "get"], **shared})
    return entries
