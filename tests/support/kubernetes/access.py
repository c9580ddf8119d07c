"""Who may do what: tokens name users, and users have rules like those of a Role."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.requests import Request

ANYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Verbs on resources (`pods`, `pods/log`, `*`) of API groups, in one namespace or in all."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    namespace: str = ""

    def allows(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        return (
            bool(self.verbs & {verb, ANYTHING})
            and bool(self.groups & {group, ANYTHING})
            and bool(self.resources & {resource, ANYTHING})
            and self.namespace in {"", namespace}
        )


EVERYTHING = Rule(
    verbs=frozenset({ANYTHING}), groups=frozenset({ANYTHING}), resources=frozenset({ANYTHING})
)


def rules_of(role: Mapping[str, Any], namespace: str = "") -> tuple[Rule, ...]:
    """The rules of a Role (with its namespace) or a ClusterRole, as written in a manifest."""
    return tuple(
        Rule(
            verbs=frozenset(rule["verbs"]),
            groups=frozenset(rule.get("apiGroups", ())),
            resources=frozenset(rule.get("resources", ())),
            namespace=namespace,
        )
        for rule in role["rules"]
    )


@dataclass(frozen=True, slots=True)
class User:
    name: str
    rules: tuple[Rule, ...] = (EVERYTHING,)


class Access:
    """The users of one server, by token.

    `used` is what each was allowed: the verb, the group, and the resource.
    """

    def __init__(self, users: Mapping[str, User]) -> None:
        self.users = dict(users)
        self.used: dict[str, set[tuple[str, str, str]]] = {}

    def authenticated(self, authorization: str) -> User:
        """Raises: Refused, 401, when no user has that token."""
        token = authorization.partition(" ")[2]
        user = self.users.get(token)
        if user is None:
            raise Refused(401, "Unauthorized")
        return user

    def authorise(self, user: User, request: Request) -> None:
        """Raises: Refused, 403, naming the verb that the user lacks."""
        for verb in _verbs(request):
            self._authorise(user, request, verb)

    def _authorise(self, user: User, request: Request, verb: str) -> None:
        kind = request.kind
        resource = "/".join(filter(None, (kind.plural, request.subresource)))
        if any(rule.allows(verb, kind.group, resource, request.namespace) for rule in user.rules):
            self.used.setdefault(user.name, set()).add((verb, kind.group, resource))
            return
        subject = f'{kind.qualified} "{request.name}"' if request.name else f"{kind.qualified}"
        where = (
            f'in the namespace "{request.namespace}"'
            if request.namespace and kind.namespaced
            else "at the cluster scope"
        )
        said = (
            f'{subject} is forbidden: User "{user.name}" cannot {verb} resource "{resource}" '
            f'in API group "{kind.group}" {where}'
        )
        details = {"name": request.name, "group": kind.group, "kind": kind.plural}
        raise Refused(403, said, details=details)


def _verbs(request: Request) -> Iterable[str]:
    yield request.verb
    if request.creates_by_apply or (request.subresource == "exec" and request.verb == "get"):
        yield "create"
