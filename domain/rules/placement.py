"""Where an app may run, and whether what it needs is there."""

from collections.abc import Sequence

import msgspec

from domain import names, project, target
from domain.names import Ref
from domain.refusals import BadValue, NotFound
from domain.route import Publish
from domain.routing import Routing
from domain.rules import on_cluster
from domain.rules.context import Context
from domain.wish import AppWish

DEFAULT_TARGET = "local"  # made at first start


class Place(msgspec.Struct, gc=False, frozen=True):
    name: str
    engine: str
    routing: Routing = Routing()


def target_of(context: Context, ref: Ref, named: str | None) -> Place:
    """The target that the spec names, else its project's default, else `local`.

    Raises:
        NotFound: the project or the target does not exist.
    """
    owner = names.project(ref.project)
    home = context.project(owner)
    if not home.exists:
        raise NotFound(owner, f"apply a Project named {ref.project!r} first, or in the same set")
    name = named or project.decode(home.spec).target or DEFAULT_TARGET
    on = context.target(names.target(name))
    if not on.exists:
        raise NotFound(f"Target/{name}", "`stateward get targets` lists those that do")
    spec = target.decode(on.spec)
    return Place(name, spec.engine, spec.routing or Routing())


def check_engine(spec: AppWish, on: Place) -> None:
    """Raises `BadValue` when the target's engine cannot run such a spec."""
    where = f"target {on.name} runs {on.engine}"
    if on.engine == "k8s":
        on_cluster.check(spec, where)
    elif spec.frame.autoscale:
        rule = f"{where}, which cannot scale by itself; give spec.replicas"
        raise BadValue("spec.autoscale", "set", rule)
    if on.engine == "docker" and spec.image is None:
        raise BadValue("spec.image", None, f"{where}, which needs an image")
    if on.engine == "process" and spec.image is not None:
        raise BadValue("spec.image", spec.image, f"{where}, which runs a command and no image")
    if on.engine == "process" and not spec.frame.spec.command:
        raise BadValue("spec.command", [], f"{where}, which needs a command")
    if on.engine == "process":
        _check_publish(spec.frame.spec.publish, where)
    if spec.image is None and not spec.frame.spec.command:
        raise BadValue("spec", "neither image nor command", "there is nothing to run")


def _check_publish(publish: Sequence[Publish], where: str) -> None:
    """A process listens at one place for each of its ports."""
    ports: dict[str, int] = {}
    for index, one in enumerate(publish):
        if one.port in ports:
            rule = f"{where}, where port {one.port!r} listens at {ports[one.port]} already"
            raise BadValue(f"spec.publish[{index}].hostPort", one.host_port, rule)
        ports[one.port] = one.host_port


def tokens(context: Context, ref: Ref, spec: AppWish) -> dict[str, str]:
    """The tokens of the Secrets that the spec uses, by name.

    Raises:
        NotFound: there is no such Secret in the app's project.
        BadValue: it has no such key.
    """
    found: dict[str, str] = {}
    for name in sorted(spec.secrets):
        secret = context.secret(Ref("Secret", ref.project, name))
        if not secret.exists:
            remedy = f"make it with `stateward secret set {name} KEY=VALUE -n {ref.project}`"
            raise NotFound(f"Secret/{ref.project}/{name}", remedy)
        found[name] = secret.token
        for variable, taken in spec.variables.taken.items():
            if taken.name == name:
                _check_key(variable, taken.key, secret.keys)
        if spec.frame.spec.image_pull.secret_ref == name:
            for key in ("username", "password"):
                _check_key("imagePull", key, secret.keys)
    return found


def _check_key(where: str, key: str, keys: tuple[str, ...]) -> None:
    if key not in keys:
        path = "spec.imagePull.secretRef" if where == "imagePull" else f"spec.env.{where}"
        raise BadValue(path, key, f"the Secret has only the keys {', '.join(keys)}")
