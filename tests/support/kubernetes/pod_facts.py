"""What controllers read off pods and their owners."""

from tests.support.kubernetes.schema import Object


def owner_reference(owner: Object) -> Object:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(labels: Object) -> Object:
    return {"pod-template-hash": labels["pod-template-hash"]}


def image_of(pod: Object) -> str:
    image: str = pod["spec"]["containers"][0]["image"]
    return image


def revision_of(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get("controller-revision-hash", ""))


def is_ready(pod: Object) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in pod.get("status", {}).get("conditions") or ()
    )


def is_of(owner: Object, metadata: Object) -> bool:
    """Whether an orphan is a workload's by its labels; a StatefulSet's by its name, too."""
    wanted = owner["spec"].get("selector", {}).get("matchLabels") or {}
    labels = metadata.get("labels") or {}
    if not wanted or any(labels.get(name) != value for name, value in wanted.items()):
        return False
    name, _, number = str(metadata["name"]).rpartition("-")
    if owner["kind"] != "StatefulSet":
        return True
    return number.isdigit() and name == str(owner["metadata"]["name"])
