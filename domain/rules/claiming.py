"""Claims of an app: what it takes, what it gives back, and who may share a URL's neighbourhood.

They are written in the append of what makes them needed, on condition that the streams they were
taken in have not moved: of two who want one URL, the second is decided again and told who has it.
"""

from collections.abc import Iterable, Mapping

import msgspec

from domain import app as spec_of
from domain import claims, names, route, routing, state
from domain import events as e
from domain import intents as i
from domain import shape as shape_of
from domain.claims import Claim, Url
from domain.events import Fact
from domain.names import Ref
from domain.refusals import BadValue, Forbidden, NotFound, NotPossible, Taken
from domain.route import Publish, Route
from domain.rules import placement
from domain.rules.context import Context, Moment
from domain.rules.placement import Place
from domain.wish import AppWish

_PUBLISHES = b'"publish":['


class Reach(msgspec.Struct, gc=False, frozen=True):
    """How an app is reached: on a target, by routes and by published ports."""

    target: str = ""
    routes: tuple[Route, ...] = ()
    publish: tuple[Publish, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.routes or self.publish)


NOWHERE = Reach()


def reach(stored: bytes) -> Reach:
    """That of a stored spec, of which the whole is read only if it publishes ports."""
    if not stored:
        return NOWHERE
    shape = shape_of.of(stored)
    publish = spec_of.decode(stored).publish if publishes(stored) else ()
    return Reach(shape.target, route.decode(shape.routes), publish)


def publishes(stored: bytes) -> bool:
    """Whether an app has ports of its host; quotes inside of texts are escaped."""
    return _PUBLISHES in stored


def check(context: Context, ref: Ref, asked: Reach, on: Place) -> None:
    """Refuse what the target does not offer, and certificates that are not there.

    Raises:
        BadValue: names the field and the rule.
        NotFound: there is no such Secret.
    """
    routing.check_app(on.routing, on.name, asked.routes, asked.publish)
    for index, one in enumerate(asked.routes):
        name = one.tls.secret
        if name is None:
            continue
        secret = context.secret(Ref("Secret", ref.project, name))
        if not secret.exists:
            remedy = (
                f"make it with `stateward secret set {name} --from-file tls.crt=CHAIN.pem "
                "--from-file tls.key=KEY.pem`"
            )
            raise NotFound(f"Secret/{ref.project}/{name}", remedy)
        missing = [key for key in route.CERTIFICATE_KEYS if key not in secret.keys]
        if missing:
            rule = f"the Secret has no key {missing[0]}; a certificate has tls.crt and tls.key"
            raise BadValue(f"spec.routes[{index}].tls.secret", name, rule)


def check_mirrors(
    context: Context, ref: Ref, before: Iterable[Route], after: Reach, at: Moment
) -> None:
    """Refuse copies of requests that no app could get.

    Those that were asked for `before` are not looked at again: an app that is gone since then keeps
    no other from changing.

    Raises:
        BadValue: names the field and the rule.
        NotFound: there is no such app.
    """
    known = {one.mirror.app for one in before if one.mirror is not None}
    for index, one in enumerate(after.routes):
        if one.mirror is None or one.mirror.app in known:
            continue
        path, name = f"spec.routes[{index}].mirror.app", one.mirror.app
        if name == ref.name:
            raise BadValue(path, name, "an app gets no copies of its own requests; name another")
        there, ports = _mirrored(context, Ref("App", ref.project, name), at)
        if there != after.target:
            rule = f"it runs on {there}, and copies stay on the target of the route, {after.target}"
            raise BadValue(path, name, rule)
        if route.mirrored_port(one.port or "", ports) is None:
            rule = f"give it a tcp port {one.port!r}, or a single one, for the copies to go to"
            raise BadValue(path, name, rule)


def _mirrored(context: Context, ref: Ref, at: Moment) -> tuple[str, Mapping[str, str]]:
    """The target and the ports of another app, as they will be once this submission is decided."""
    intent = next((other for other in at.beside if other.ref == ref), None)
    if isinstance(intent, i.Apply) and isinstance(intent.spec, AppWish):
        wish = intent.spec
        on = placement.target_of(context, ref, wish.target)
        return on.name, wish.frame.spec.port_protocols
    present = context.app(ref)
    if not present.exists or isinstance(intent, i.Delete):
        raise NotFound(ref, "apply it before, or together with, what copies requests to it")
    spec = spec_of.decode(present.spec)
    return spec.target or "", spec.port_protocols


def check_count(replicas: int, path: str) -> None:
    """Raises `BadValue` when more than one replica would publish the same port."""
    if replicas > 1:
        rule = "a port of the host leads to one replica; publish none, or use a route"
        raise BadValue(path, replicas, rule)


def check_ports(routes: Iterable[Route], ports: Mapping[str, str], revision: int) -> None:
    """Raises `NotPossible` when a former revision has not the ports of the present routes."""
    for one in routes:
        if ports.get(one.port or "") != "tcp":
            raise NotPossible(
                f"revision {revision} has no tcp port {one.port!r}, which the route "
                f"{one.host}{one.path} leads to; apply its spec with routes that fit"
            )


def moved(context: Context, ref: Ref, before: Reach, after: Reach, at: Moment) -> tuple[Fact, ...]:
    """The claims that are given back and taken when an app is reached otherwise.

    Raises:
        Taken: another app has what is wanted.
        Forbidden: another app has URLs around it, and the actor has no rights on that app.
        BadValue: the app itself wants it twice.
    """
    if before == after or not (before or after):
        return ()
    had = claims.wanted(before.target, before.routes, before.publish)
    want = claims.wanted(after.target, after.routes, after.publish)
    _distinct(want)
    kept = {(one.stream, one.text) for one in had}
    facts = released(ref, had, at, spare={(one.stream, one.text) for one in want})
    taken: dict[str, list[Claim]] = {}
    for one in want:
        if (one.stream, one.text) not in kept:
            taken.setdefault(one.stream, []).append(one)
    for stream in sorted(taken):
        held = context.claims(stream)
        for one in taken[stream]:
            _check(context, held, ref, one, at)
        texts = tuple(one.text for one in taken[stream])
        facts.append(Fact(stream, e.ClaimsTaken(**at.stamp, owner=ref.stream, claims=texts)))
    return tuple(facts)


def released(
    ref: Ref, had: Iterable[Claim], at: Moment, *, spare: Iterable[tuple[str, str]] = ()
) -> list[Fact]:
    """Give back what an app has, but for what it keeps."""
    spared, given = set(spare), dict[str, list[str]]()
    for one in had:
        if (one.stream, one.text) not in spared:
            given.setdefault(one.stream, []).append(one.text)
    return [
        Fact(
            stream,
            e.ClaimsReleased(**at.stamp, owner=ref.stream, claims=tuple(given[stream])),
        )
        for stream in sorted(given)
    ]


def of(ref: Ref, stored: bytes, at: Moment) -> list[Fact]:
    """Give back all that a stored spec has: its app goes."""
    had = reach(stored)
    return released(ref, claims.wanted(had.target, had.routes, had.publish), at)


def _gives_up(context: Context, owner: str, one: Claim, at: Moment) -> bool:
    """Whether an intent that is decided together with this one ends the owner's claim."""
    intent = next((other for other in at.beside if other.ref.stream == owner), None)
    if isinstance(intent, i.Delete):
        return True
    if not isinstance(intent, i.Apply) or not isinstance(intent.spec, AppWish):
        return False
    target = placement.target_of(context, intent.ref, intent.spec.target).name
    frame = intent.spec.frame
    wanted = claims.wanted(target, route.decode(frame.routes), frame.spec.publish)
    return (one.stream, one.text) not in {(other.stream, other.text) for other in wanted}


def _distinct(want: Iterable[Claim]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in want:
        if (one.stream, one.text) in seen:
            raise BadValue(one.field, one.text, "an earlier one of this app has it already")
        seen.add((one.stream, one.text))


def _check(context: Context, held: state.Claims, ref: Ref, one: Claim, at: Moment) -> None:
    owner = held.held.get(one.text)
    if owner is not None and owner != ref.stream and not _gives_up(context, owner, one, at):
        what = "port" if claims.is_port(one.text) else "URL"
        remedy = (
            f"take another {what}, let {owner} give it up first, or apply both apps in one "
            "submission, which hands it over"
        )
        raise Taken(one.field, one.text, owner, remedy)
    if claims.is_port(one.text):
        return
    url = Url.parse(one.text)
    for text, other in held.held.items():
        if other == ref.stream or not url.overlaps(Url.parse(text)):
            continue
        if not at.may("apply", names.Ref.parse(other)):
            raise Forbidden(
                f"{one.field}: {one.text} overlaps {text} of {other}, on which {at.actor} has no "
                "rights; take another path or host, or ask who owns it to apply this",
                resource=other,
                claim=one.text,
            )
