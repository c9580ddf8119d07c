"""Custom resource definitions, and the one that Stateward's routes need."""

from tests.support.kubernetes.schema import Object

ESTABLISHED = (
    {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
    {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
)
_STRINGS = {"type": "array", "items": {"type": "string"}}
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_REFERENCE = {
    "group": {"type": "string", "default": "gateway.networking.k8s.io"},
    "kind": {"type": "string", "default": "Gateway"},
    "name": {"type": "string"},
    "namespace": {"type": "string"},
    "sectionName": {"type": "string"},
    "port": {"type": "integer", "minimum": 1},
}
_BACKEND = {
    **{name: of for name, of in _REFERENCE.items() if name != "sectionName"},
    "group": {"type": "string", "default": ""},
    "kind": {"type": "string", "default": "Service"},
    "weight": {"type": "integer", "minimum": 0, "default": 1},
    "filters": {"type": "array", "items": _ANYTHING},
}
_MATCH = {
    "path": {
        "type": "object",
        "default": {"type": "PathPrefix", "value": "/"},
        "properties": {
            "type": {"type": "string", "default": "PathPrefix"},
            "value": {"type": "string", "default": "/"},
        },
    },
    "headers": {"type": "array", "items": _ANYTHING},
    "queryParams": {"type": "array", "items": _ANYTHING},
    "method": {"type": "string"},
}


def _objects(fields: Object, required: tuple[str, ...] = ()) -> Object:
    """An atomic list of objects."""
    item = {"type": "object", "properties": fields, "required": list(required)}
    return {"type": "array", "items": item, "x-kubernetes-list-type": "atomic"}


_RULE = {
    "name": {"type": "string"},
    "matches": _objects(_MATCH),
    "filters": {"type": "array", "items": _ANYTHING},
    "backendRefs": _objects(_BACKEND, ("name",)),
    "timeouts": _ANYTHING,
    "retry": _ANYTHING,
    "sessionPersistence": _ANYTHING,
}
_SPEC = {
    "parentRefs": _objects(_REFERENCE, ("name",)),
    "hostnames": _STRINGS,
    "rules": _objects(_RULE),
}


def definition(group: str, plural: str, kind: str, schema: Object, version: str = "v1") -> Object:
    """A namespaced custom resource definition of one version, with status."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": schema}},
                }
            ],
        },
    }


HTTP_ROUTE = definition(
    "gateway.networking.k8s.io",
    "httproutes",
    "HTTPRoute",
    {"spec": {"type": "object", "properties": _SPEC}, "status": _ANYTHING},
)

TRAEFIK = tuple(
    definition("traefik.io", plural, kind, {"spec": _ANYTHING}, "v1alpha1")
    for plural, kind in (
        ("ingressroutes", "IngressRoute"),
        ("middlewares", "Middleware"),
        ("traefikservices", "TraefikService"),
    )
)
