"""Objects that people make with kubectl by the names of an app: what runs, data, and a way there.

They have labels and selectors of their own, so what is like ours by name is like ours in nothing
else.
"""

import random
from typing import Final

from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.cluster.merging import Body

_VERSIONS: Final = {"Deployment": "apps/v1", "Namespace": "v1"}
OFTEN: Final = 0.6
SHARED: Final = "data--shared-{}"  # the claim of an app's volume that all its replicas share


def occupy(cluster: Cluster, namespace: str, app: str, rng: random.Random) -> list[ObjectKey]:
    """Make what nobody has yet of a namespace and some objects by an app's names in it."""
    home = cluster.store.get(ObjectKey("v1", "Namespace", "", namespace))
    if home is not None and "deletionTimestamp" in home["metadata"]:
        return []
    made = [] if home is not None else [cluster.store.make(_body("Namespace", "", namespace))]
    label = {"app": f"{app}-of-others"}
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow"}
    wanted = (
        _deployment(namespace, app, label),
        _service(namespace, app, label),
        _body("ServiceAccount", namespace, app),
        _body("PersistentVolumeClaim", namespace, SHARED.format(app)) | {"spec": claim},
    )
    chosen = [body for body in wanted if rng.random() < OFTEN and _is_free(cluster, body)]
    return [ObjectKey.of(one) for one in (*made, *map(cluster.store.make, chosen))]


def again(body: Json) -> Body:
    """The same object as somebody would make it once more."""
    metadata = {n: v for n, v in body["metadata"].items() if n in ("name", "namespace", "labels")}
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": metadata,
        **({"spec": body["spec"]} if "spec" in body else {}),
    }


def _is_free(cluster: Cluster, body: Json) -> bool:
    """Whether nobody has the name, nor runs anything by it."""
    key = ObjectKey.of(body)
    rival = key._replace(kind="StatefulSet")
    is_rivalled = key.kind == "Deployment" and cluster.store.get(rival) is not None
    return cluster.store.get(key) is None and not is_rivalled


def _body(kind: str, namespace: str, name: str) -> Body:
    where = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **where, "labels": {"team": "other"}}
    return {"apiVersion": _VERSIONS.get(kind, "v1"), "kind": kind, "metadata": metadata}


def _deployment(namespace: str, app: str, label: dict[str, str]) -> Body:
    container = {"name": "theirs", "image": "theirs:1"}
    template = {"metadata": {"labels": label}, "spec": {"containers": [container]}}
    steps = {"maxSurge": 1, "maxUnavailable": 0}
    return _body("Deployment", namespace, app) | {
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": label},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": steps},
            "template": template,
        }
    }


def _service(namespace: str, app: str, label: dict[str, str]) -> Body:
    ports = [{"name": "old", "port": 81}]
    return _body("Service", namespace, app) | {"spec": {"selector": label, "ports": ports}}
