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
