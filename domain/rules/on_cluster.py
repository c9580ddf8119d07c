"""What an app may not ask for on a Kubernetes target, because no cluster can give it.

The rest of what a cluster may refuse depends on the cluster, and is shown when it does.
"""

from typing import Final

from domain.app import AppSpec, FromSecret
from domain.refusals import BadValue
from domain.wish import AppWish

ENV_BYTES: Final = 900 * 2**10  # of plain values: they are one object of at most 1 MiB
NAME_LENGTH: Final = 253  # of a variable: it is a key in that object


def check(spec: AppWish, where: str) -> None:
    """Raises `BadValue` for what `where`, in words, cannot run."""
    if spec.image is None:
        raise BadValue("spec.image", None, f"{where}, which needs an image")
    _check_env(spec, where)
    frame = spec.frame.spec
    if frame.stop_signal != "SIGTERM":
        rule = f"{where}, where the image's STOPSIGNAL says it: build it in, and leave this out"
        raise BadValue("spec.stopSignal", frame.stop_signal, rule)
    if frame.publish:
        rule = f"{where}, which gives apps no ports of its hosts; use a route"
        raise BadValue("spec.publish", frame.publish[0].host_port, rule)
    for index, volume in enumerate(frame.volumes):
        if ":" in volume.path:
            rule = f"{where}, which mounts at no path with a colon"
            raise BadValue(f"spec.volumes[{index}].path", volume.path, rule)
    _check_health(frame, where)


def _check_env(spec: AppWish, where: str) -> None:
    size = 0
    for name, value in spec.env.items():
        if len(name) > NAME_LENGTH:
            rule = f"{where}, where a variable's name has at most {NAME_LENGTH} characters"
            raise BadValue(f"spec.env.{name}", len(name), rule)
        if not isinstance(value, FromSecret):
            size += len(name) + len(value.encode())
    if size > ENV_BYTES:
        rule = f"{where}, where all plain values have {ENV_BYTES} bytes together; use a volume"
        raise BadValue("spec.env", f"{size} bytes", rule)


def _check_health(frame: AppSpec, where: str) -> None:
    for name in ("startup", "liveness"):
        asked = frame.checks.get(name)
        if asked and asked.successes != 1:
            rule = f"{where}, where one success is enough; only readiness can ask for more"
            raise BadValue(f"spec.health.{name}.successes", asked.successes, rule)


def replacements(before: AppSpec, after: AppSpec) -> tuple[str, ...]:
    """What has to be made anew on a cluster when one spec follows another, in sentences."""
    old, new = _slots(before), _slots(after)
    if bool(old) != bool(new):
        kinds = ("StatefulSet", "Deployment") if old else ("Deployment", "StatefulSet")
        kept = "; its claims stay" if old else ""
        sentence = (
            f"its {kinds[0]} gives way to a {kinds[1]}, since volumes of scope replica "
            f"{'went' if old else 'came'}: the old pods go when the new ones are ready{kept}"
        )
        return (sentence,)
    if old != new:
        sentence = (
            "its StatefulSet is made anew, since the claims that it makes cannot be changed: pods "
            "stay until each is replaced, claims stay, and those that are there keep their size"
        )
        return (sentence,)
    return ()


def _slots(spec: AppSpec) -> list[tuple[str, str | None]]:
    """What each replica claims for itself."""
    return [(one.name, one.size) for one in spec.volumes if one.scope == "replica"]
