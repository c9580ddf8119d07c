"""What a URL of the API means: which kind, where, which object, which subresource, which verb."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.kinds import Kind, Kinds

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Target:
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target_of(path: str, kinds: Kinds) -> Target | None:
    """What a path leads to; None when no objects are there."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 2:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    if not rest or (kind := kinds.find(group, version, rest[0])) is None:
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if kind.name == "Namespace":
        namespace = name
    return Target(kind, namespace, name, subresource)


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """The verb as RBAC names it.

    Raises:
        Refused: 405, the method means nothing there.
    """
    if target.subresource in {"exec", "attach", "portforward"}:
        return "create" if method == "POST" else "get"
    if method == "GET":
        if query.get("watch") in {"true", "1"}:
            return "watch"
        return "get" if target.name else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    if method in _VERBS:
        return _VERBS[method]
    raise Refused(405, "the server does not allow this method on the requested resource")
