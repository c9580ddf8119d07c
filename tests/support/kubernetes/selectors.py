"""Label and field selectors: text in, a question about one object out."""

import re
from collections.abc import Callable

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.schema import Object

type Selects = Callable[[Object], bool]

_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9]?([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_EQUALS = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_AMONG = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r",(?![^(]*\))")
_FIELDS_OF = {
    "Pod": {"spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP"},
    "Secret": {"type"},
    "Namespace": {"status.phase"},
    "Event": {
        *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion")),
        "reason",
        "type",
        "source",
    },
    "ReplicaSet": {"status.replicas"},
    "Job": {"status.successful"},
}


def by_labels(text: str) -> Selects:
    """Raises: Refused, 400, when the selector is malformed."""
    asked = [_label_question(part.strip()) for part in _COMMA.split(text) if part.strip()]

    def selects(written: Object) -> bool:
        labels = written["metadata"].get("labels") or {}
        return all(holds(labels) for holds in asked)

    return selects


def _label_question(part: str) -> Selects:
    if found := _EQUALS.fullmatch(part):
        key, operator, value = found[1], found[3], found[4]
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _AMONG.fullmatch(part):
        name, values = found[1], {one.strip() for one in found[4].split(",")}
        if found[3] == "notin":
            return lambda labels: labels.get(name) not in values
        return lambda labels: labels.get(name) in values
    if found := _EXISTS.fullmatch(part):
        wanted, present = found[2], not found[1]
        return lambda labels: (wanted in labels) is present
    raise Refused(400, f"unable to parse requirement: found {part!r}, expected an operator")


def by_fields(kind: str, text: str) -> Selects:
    """Raises: Refused, 400, when the kind has no such field to select by."""
    asked: list[tuple[list[str], str, bool]] = []
    for part in filter(None, text.split(",")):
        field, operator, value = (
            re.split(r"(!=|==|=)", part, maxsplit=1) if "=" in part else (part, "", "")
        )
        if field not in {"metadata.name", "metadata.namespace", *_FIELDS_OF.get(kind, ())}:
            raise Refused(400, f"field label not supported: {field}")
        asked.append((field.split("."), value, operator != "!="))

    def selects(written: Object) -> bool:
        return all((_at(written, path) == value) is equal for path, value, equal in asked)

    return selects


def _at(written: Object, path: list[str]) -> str:
    found: object = written
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def matches(selector: Object, labels: Object) -> bool:
    """Whether a `LabelSelector` object (as in a Deployment) selects these labels."""
    wanted = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _expression(one, labels) for one in selector.get("matchExpressions") or ()
    )


def _expression(one: Object, labels: Object) -> bool:
    value, values = labels.get(one["key"]), one.get("values") or ()
    match one["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return one["key"] in labels
        case _:
            return one["key"] not in labels
