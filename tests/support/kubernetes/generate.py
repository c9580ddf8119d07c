"""Writes `schemas.json`: the fields and types of the built-in kinds, as the SDK's models know them.

`python -m tests.support.kubernetes.generate` after an upgrade of the SDK. The file has one line per
type: a field maps to `string`, `integer`, `quantity`..., `[]T` a list, `{}T` a map, `#Name` another
type, `!` behind it for required.
"""

import datetime
import json
import types
import typing
from pathlib import Path

from kubernetes.client import models
from pydantic import BaseModel
from pydantic.fields import FieldInfo

TARGET = Path(__file__).parent / "schemas.json"
MODELS = {
    "Namespace": "V1Namespace",
    "Pod": "V1Pod",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
    "Secret": "V1Secret",
    "ConfigMap": "V1ConfigMap",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "ResourceQuota": "V1ResourceQuota",
    "LimitRange": "V1LimitRange",
    "Event": "CoreV1Event",
    "Deployment": "V1Deployment",
    "StatefulSet": "V1StatefulSet",
    "ReplicaSet": "V1ReplicaSet",
    "ControllerRevision": "V1ControllerRevision",
    "Job": "V1Job",
    "CronJob": "V1CronJob",
    "NetworkPolicy": "V1NetworkPolicy",
    "Ingress": "V1Ingress",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "ClusterRole": "V1ClusterRole",
    "ClusterRoleBinding": "V1ClusterRoleBinding",
}
SCALARS: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    bytes: "string",
    datetime.datetime: "string",
}
QUANTITIES = {
    "limits",
    "requests",
    "hard",
    "used",
    "capacity",
    "allocatedResources",
    "min",
    "max",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
    "sizeLimit",
    "averageValue",
    "divisor",
    "overhead",
}


class Collected:
    def __init__(self) -> None:
        self.types: dict[str, dict[str, str]] = {}

    def add(self, model: type[BaseModel]) -> str:
        if model.__name__ not in self.types:
            fields = self.types[model.__name__] = {}
            for name, info in model.model_fields.items():
                wire = info.serialization_alias or name
                fields[wire] = self._field(wire, info)
        return f"#{model.__name__}"

    def _field(self, wire: str, info: FieldInfo) -> str:
        found = self._type(info.annotation)
        if wire in QUANTITIES and found in {"string", "{}string"}:
            found = found.replace("string", "quantity")
        return found + ("!" if info.is_required() else "")

    def _type(self, annotation: object) -> str:
        origin, given = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._type(given[0])
        if origin in {typing.Union, types.UnionType}:
            kinds = sorted({self._type(one) for one in given if one is not type(None)})
            return kinds[0] if len(kinds) == 1 else "integer|string"
        if origin in {list, dict}:
            return ("[]" if origin is list else "{}") + self._type(given[-1])
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.add(annotation)
        return SCALARS.get(typing.cast("type", annotation), "any")


def main() -> None:
    collected = Collected()
    kinds = {kind: collected.add(getattr(models, name)) for kind, name in MODELS.items()}
    lines = [
        *(f"  {json.dumps(name)}: {json.dumps(root)}" for name, root in kinds.items()),
        *(f"  {json.dumps(name)}: {json.dumps(collected.types[name])}" for name in collected.types),
    ]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
