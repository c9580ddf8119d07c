"""Redaction: a history under other names, of which the shape stays.

One name has one pseudonym everywhere, counted by first appearance, and none can be led back to the
name. Numbers, times and positions stay; so do the words of Stateward itself. Digests are made
anew, so that the history folds and runs as the one that it was.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, final

import msgspec

from bus import codec
from bus.log import StoredEvent
from domain import app as app_spec
from domain import claims, quantities, route, shape, wish
from domain import events as e
from domain import project as project_spec
from domain import target as target_spec
from domain.app import AppSpec, Check, ExecCheck, FromSecret, HttpCheck, KeyOfSecret, TcpCheck
from domain.domains import Domain
from domain.names import Ref
from domain.refusals import BadValue
from domain.route import HeaderToSet, Route, RouteHeaders
from domain.routing import Acme, Entries

REDACTED: Final = "redacted"
OURS: Final = "SIMULATED"  # the variable whose words are read by the simulated engine alone
_PORT: Final = re.compile(r"(tcp|udp)/[0-9]{1,5}")
_HOST: Final = "Host/"
_WORD: Final = re.compile(r"[a-zA-Z]{1,20}")
_ENDING: Final = re.compile(r"#(members|status|claims)$")


@final
class Pseudonyms:
    """Gives each text of a kind its pseudonym: `app-1` to the first app, `app-2` to the second."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def of(self, kind: str, text: str, form: str = "{kind}-{number}") -> str:
        """The pseudonym of a text; the empty text is its own. `form` is followed when it is new."""
        if not text:
            return text
        known = self._known.setdefault(kind, {})
        if text not in known:
            known[text] = form.format(kind=kind, number=len(known) + 1)
        return known[text]


def redacted(history: Iterable[StoredEvent]) -> Iterator[StoredEvent]:
    """The same history under other names. What this version cannot read keeps its type alone."""
    redaction = _Redaction()
    for row in history:
        yield row._replace(stream=redaction.stream(row.stream), data=redaction.data(row))


@final
class _Redaction:
    """The pseudonyms of one history."""

    def __init__(self) -> None:
        self._names = Pseudonyms()

    # -- names --------------------------------------------------------------------------------

    def stream(self, stream: str) -> str:
        """`App/app-1/...#status` for `App/...#status`; something else for what is no resource."""
        ending = _ENDING.search(stream)
        resource = stream[: ending.start()] if ending else stream
        if resource.startswith(_HOST):
            return claims.host_stream(self._host(resource.removeprefix(_HOST)))
        try:
            ref = Ref.parse(resource)
        except BadValue:
            return self._names.of("stream", stream)
        return self._ref(ref).stream + (ending[0] if ending else "")

    def _ref(self, ref: Ref) -> Ref:
        if ref.kind == "Project":
            return ref._replace(name=self._project(ref.name))
        name = self._names.of(ref.kind.lower(), ref.name)
        return ref._replace(project=self._project(ref.project), name=name)

    def _project(self, name: str) -> str:
        return self._names.of("project", name)

    def _target(self, name: str) -> str:
        return self._names.of("target", name)

    def _secret(self, name: str) -> str:
        return self._names.of("secret", name)

    def _key(self, name: str) -> str:
        """The keys of a Secret for an image's registry are words of ours."""
        return name if name in ("username", "password") else self._names.of("key", name)

    def _actor(self, actor: str) -> str:
        kind, colon, name = actor.partition(":")
        if kind == "system":
            return actor
        if kind in ("user", "program") and colon:
            return f"{kind}:{self._names.of('actor', name)}"
        return self._names.of("actor", actor)

    def _cause(self, event: e.Event) -> str:
        """Of a transition it is a position; of an intent, a key that may be a name."""
        is_position = isinstance(event, e.Transition) and event.cause.isdigit()
        return event.cause if is_position else self._names.of("cause", event.cause)

    def _labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        of = self._names.of
        return {of("label", key): of("word", value) for key, value in labels.items()}

    def _tokens(self, tokens: Mapping[str, str]) -> dict[str, str]:
        return {self._secret(n): self._names.of("token", token) for n, token in tokens.items()}

    def _image(self, image: str | None) -> str | None:
        return image and self._names.of("image", image)

    # -- events -------------------------------------------------------------------------------

    def data(self, row: StoredEvent) -> bytes:
        try:
            event = codec.decode(row.type, row.data)
            return codec.encode(self._event(event))
        except (codec.Undecodable, ValueError):
            return b"{}"

    def _event(self, event: e.Event) -> e.Event:
        changed = self._of_kind(event)
        return msgspec.structs.replace(
            event, actor=self._actor(event.actor), cause=self._cause(event), **changed
        )

    def _of_kind(  # noqa: C901, PLR0911, PLR0912 -- one answer a kind
        self, event: e.Event
    ) -> dict[str, object]:
        """The fields of one kind of event under other names."""
        match event:
            case e.AppEvent():
                return self._app_event(event)
            case e.AppDeleted(target=target, drain=drain, stop_grace=grace):
                return {
                    "target": self._target(target),
                    "drain": drain and _duration(drain),
                    "stop_grace": _duration(grace),
                }
            case e.ProjectDefined(spec=spec, labels=labels):
                return {"spec": self._project_spec(spec), "labels": self._labels(labels)}
            case e.TargetDefined(spec=spec, labels=labels):
                return {"spec": self._target_spec(spec), "labels": self._labels(labels)}
            case e.SecretSet(token=token, keys=keys, labels=labels):
                return {
                    "token": self._names.of("token", token),
                    "keys": tuple(map(self._key, keys)),
                    "labels": self._labels(labels),
                }
            case e.MemberJoined(member=member) | e.MemberLeft(member=member):
                return {"member": self.stream(member)}
            case (
                e.ClaimsTaken(owner=owner, claims=texts)
                | e.ClaimsReleased(owner=owner, claims=texts)
            ):
                return {"owner": self.stream(owner), "claims": tuple(map(self._claim, texts))}
            case e.RolloutStalled() | e.HealthChanged() | e.ReplicaRenamed():
                return {"message": REDACTED}
            case e.ReplicaHealed():
                return {"reason": REDACTED}
            case e.RouterRepaired(fields=fields):
                return {"fields": tuple(f if _WORD.fullmatch(f) else REDACTED for f in fields)}
            case e.RolloutCompleted(target=target):
                return {"target": target and self._target(target)}
            case e.DriftRepaired(fields=fields):
                return {
                    "fields": tuple(f if _WORD.fullmatch(f) else REDACTED for f in fields),
                    "object": REDACTED if event.object else "",
                    "by": tuple(REDACTED for _ in event.by),
                }
            case _:
                return {}

    def _app_event(self, event: e.AppEvent) -> dict[str, object]:
        tokens = self._tokens(event.secrets)
        spec, digest = respecified(bytes(event.spec), tokens, self._app_spec)
        changed: dict[str, object] = {
            "digest": digest,
            "spec": msgspec.Raw(spec),
            "labels": self._labels(event.labels),
            "secrets": tokens,
            "image": self._image(event.image),
        }
        if event.paused is not None:
            image = self._image(event.paused.image)
            changed["paused"] = msgspec.structs.replace(
                event.paused,
                reason=event.paused.reason and REDACTED,
                image=image,
                target=event.paused.target and self._target(event.paused.target),
            )
        if isinstance(event, e.AppSecretRotated):
            changed["secret"] = self._secret(event.secret)
        if isinstance(event, e.AppAdopted):
            changed["objects"] = tuple(map(self._foreign, event.objects))
        return changed

    def _foreign(self, one: e.ForeignObject) -> e.ForeignObject:
        of = self._names.of
        return e.ForeignObject(
            api_version=of("version", one.api_version),
            kind=of("kind", one.kind),
            namespace=of("namespace", one.namespace),
            name=of("object", one.name),
            uid=of("uid", one.uid),
        )

    def _project_spec(self, data: msgspec.Raw) -> msgspec.Raw:
        spec = project_spec.decode(bytes(data))
        target = spec.target and self._target(spec.target)
        return msgspec.Raw(project_spec.encode(replace(spec, description="", target=target)))

    def _target_spec(self, data: msgspec.Raw) -> msgspec.Raw:
        spec = target_spec.decode(bytes(data))
        docker = spec.docker
        if docker is not None:
            scheme = docker.host.partition("://")[0]
            host = self._names.of("host", docker.host)
            docker = replace(docker, host=f"{scheme}://{host}")
        k8s = spec.k8s
        if k8s is not None:
            context = k8s.context and self._names.of("context", k8s.context)
            k8s = replace(
                k8s,
                kubeconfig=self._path(k8s.kubeconfig),
                context=context,
                namespace_prefix=f"{self._names.of('prefix', k8s.namespace_prefix)}-",
            )
        routing = spec.routing and replace(
            spec.routing,
            domains=tuple(map(self._domain, spec.routing.domains)),
            acme=Acme(),
            entries=Entries(),
            image=self._image(spec.routing.image),
            cluster=None,
        )
        hidden = replace(spec, description="", docker=docker, k8s=k8s, routing=routing)
        return msgspec.Raw(target_spec.encode(hidden))

    def _domain(self, domain: Domain) -> Domain:
        def pattern(text: str) -> str:
            below = "*." if text.startswith("*.") else ""
            return below + self._host(text.removeprefix("*."))

        exclude = tuple(map(pattern, domain.exclude))
        return replace(
            domain,
            pattern=pattern(domain.pattern),
            exclude=exclude,
            verify=None,
            middlewares=None,
        )

    # -- specs of apps ------------------------------------------------------------------------

    def _app_spec(self, spec: AppSpec) -> AppSpec:
        of = self._names.of
        pull = spec.image_pull
        if pull.secret_ref:
            pull = replace(pull, secret_ref=self._secret(pull.secret_ref))
        env = dict(self._variable(name, value) for name, value in spec.env.items())
        return replace(
            spec,
            target=spec.target and self._target(spec.target),
            image=self._image(spec.image),
            image_pull=pull,
            command=tuple(of("argument", word) for word in spec.command),
            args=tuple(of("argument", word) for word in spec.args),
            workdir=self._path(spec.workdir),
            env=app_spec.in_order(env),
            ports=tuple(replace(port, name=of("port", port.name)) for port in spec.ports),
            volumes=tuple(
                replace(v, name=of("volume", v.name), path=self._path(v.path) or "/")
                for v in spec.volumes
            ),
            health=replace(
                spec.health,
                **{name: self._check(check) for name, check in spec.checks.items()},
            ),
            routes=tuple(map(self._route, spec.routes)),
            publish=tuple(replace(one, port=of("port", one.port)) for one in spec.publish),
        )

    def _variable(self, name: str, value: str | FromSecret) -> tuple[str, str | FromSecret]:
        if name == OURS:
            return name, value
        variable = self._names.of("variable", name, "VARIABLE_{number}")
        if isinstance(value, str):
            return variable, self._names.of("value", value)
        ref = value.secret_ref
        secret = KeyOfSecret(name=self._secret(ref.name), key=self._key(ref.key))
        return variable, replace(value, secret_ref=secret)

    def _path(self, path: str | None) -> str | None:
        return path and (path if path == "/" else self._names.of("path", path, "/path-{number}"))

    def _host(self, host: str) -> str:
        return self._names.of("host", host)

    def _claim(self, text: str) -> str:
        if _PORT.fullmatch(text):
            return text
        if claims.is_port(text):
            return self._names.of("claim", text)
        url = claims.Url.parse(text)
        header, _, value = url.context.partition(": ")
        context = header and f"{self._header(header)}: {self._names.of('value', value)}"
        path = self._path(url.path) or "/"
        return str(url._replace(host=self._host(url.host), path=path, context=context))

    def _header(self, name: str) -> str:
        return self._names.of("header", name, "x-{kind}-{number}")

    def _headers(self, headers: tuple[HeaderToSet, ...]) -> tuple[HeaderToSet, ...]:
        of = self._names.of
        return tuple(
            HeaderToSet(name=self._header(h.name), value=of("value", h.value)) for h in headers
        )

    def _route(self, one: Route) -> Route:
        of, tls = self._names.of, one.tls
        return replace(
            one,
            host=self._host(one.host),
            path=self._path(one.path) or "/",
            port=one.port and of("port", one.port),
            tls=replace(tls, secret=tls.secret and self._secret(tls.secret)),
            contexts=tuple(
                replace(c, header=self._header(c.header), value=of("value", c.value))
                for c in one.contexts
            ),
            headers=RouteHeaders(
                request=self._headers(one.headers.request),
                response=self._headers(one.headers.response),
            ),
        )

    def _check(self, check: Check) -> Check:
        of = self._names.of
        match check:
            case Check(http=HttpCheck() as http):
                path = self._path(http.path) or "/"
                return replace(check, http=replace(http, path=path, port=of("port", http.port)))
            case Check(tcp=TcpCheck() as tcp):
                return replace(check, tcp=replace(tcp, port=of("port", tcp.port)))
            case Check(exec=ExecCheck() as executed):
                argv = tuple(of("argument", word) for word in executed.argv)
                return replace(check, exec=replace(executed, argv=argv))
            case _:
                return check


def _duration(text: str) -> str:
    """A duration, and nothing that only stands in its place."""
    try:
        return quantities.duration(text)
    except ValueError:
        return "0s"


def respecified(
    stored: bytes, tokens: Mapping[str, str], change: Callable[[AppSpec], AppSpec]
) -> tuple[bytes, str]:
    """A stored spec of an app after a change, and the digest that it has with these tokens.

    Raises:
        ValueError: it is no spec.
    """
    spec = change(app_spec.decode(stored))
    target = spec.target or ""
    template = wish.of(spec).template(target)
    kept = msgspec.structs.replace(
        shape.of(stored), target=target, routes=route.encode(spec.routes)
    )
    return shape.stored(template, kept), app_spec.digest(template, tokens)
