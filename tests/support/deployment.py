"""What ships in `deploy/kubernetes/`, as a cluster gets it, and the account that comes of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from tests.support.kubernetes.access import Rule, User, rules_of
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer

FOLDER: Final = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
ACCOUNT: Final = "system:serviceaccount:stateward:stateward"


def read(name: str) -> list[Object]:
    """The objects of one file."""
    return [one for one in yaml.safe_load_all((FOLDER / name).read_text()) if one]


def deployed() -> Iterator[Object]:
    """All that `kubectl apply -k` sends, in its order."""
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]:
        yield from read(name)


def account() -> User:
    """Whoever is bound to all the ClusterRoles that ship, and to nothing else."""
    roles = read("cluster-roles.yaml")
    return User(ACCOUNT, tuple(rule for role in roles for rule in rules_of(role)))


def bound(server: KubernetesServer, namespace: str, name: str) -> User:
    """A service account, with what ClusterRoleBindings on a cluster give to it."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    roles = [
        server.inside.get(one["roleRef"]["kind"], "", one["roleRef"]["name"])
        for one in server.inside.all("ClusterRoleBinding", "")
        if subject in one["subjects"]
    ]
    rules = (rule for role in roles if role is not None for rule in rules_of(role))
    return User(f"system:serviceaccount:{namespace}:{name}", tuple(rules))


def without(verb: str, resource: str) -> User:
    """The same, but for one verb on one resource."""

    def less(rule: Rule) -> Iterator[Rule]:
        yield replace(rule, resources=rule.resources - {resource})
        yield replace(rule, resources=rule.resources & {resource}, verbs=rule.verbs - {verb})

    whole = account()
    return User(whole.name, tuple(part for rule in whole.rules for part in less(rule)))
