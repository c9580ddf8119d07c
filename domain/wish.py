"""What a manifest asks of an App, read in parts, since most of a manifest was seen before.

A deployment changes the image, the env or the replicas. All else of a spec is its *frame*, and one
that was read before is known by its bytes. What cannot be read in parts is read as a whole, so
`domain.app` alone says what is refused, and why.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from pydantic import TypeAdapter, ValidationError

from domain import app, route, shape
from domain.app import (
    MAX_VARIABLES,
    SPEC_ADAPTER,
    AppSpec,
    Env,
    EnvValue,
    FromSecret,
    ImageName,
    KeyOfSecret,
)
from domain.autoscale import MAX_REPLICAS
from domain.refusals import BadValue
from domain.schema import Name

FRAMES: Final = 16_384  # kept, of about 2 kB each
FRAME_BYTES: Final = 4_096  # a larger one is read each time
PLAIN_BYTES: Final = 32_768  # of an env; in a larger one, a value may be too long

_BEFORE_ENV: Final = {"command", "args", "workdir"}
_AFTER_ENV: Final = {
    *("image_pull", "ports", "health", "resources"),
    *("volumes", "stop_signal", "stop_grace"),
}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_ENV: Final[TypeAdapter[Mapping[str, EnvValue]]] = TypeAdapter(Env)
_TARGET: Final[TypeAdapter[str | None]] = TypeAdapter(Name | None)
_IMAGE: Final[TypeAdapter[str | None]] = TypeAdapter(ImageName | None)

_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_texts = msgspec.json.Decoder(dict[str, str])
_counts = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)] | None)
_flags = msgspec.json.Decoder(bool | None)
_encode = msgspec.json.Encoder().encode
_sorted = msgspec.json.Encoder(order="deterministic").encode


class _Unusual(Exception):
    """Not to be read in parts."""


class Frame(msgspec.Struct, gc=False, frozen=True):
    """What seldom changes: a spec without its target, image, env, replicas and running.

    `before_env`, `after_env`, `rollout`, `autoscale` and `routes` are parts of canonical JSON.
    Rollout and routes are complete; `autoscale` and `routes` are empty if there are none.
    """

    spec: AppSpec
    before_env: bytes
    after_env: bytes
    rollout: bytes
    autoscale: bytes
    routes: bytes
    is_sound: bool


class Variables(msgspec.Struct, gc=False, frozen=True):
    """The env with its canonical JSON, and the keys of Secrets it takes, by variable."""

    values: Mapping[str, EnvValue]
    json: bytes
    taken: Mapping[str, KeyOfSecret]


class AppWish(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A spec as its owner wrote it: what is None stays as it is, or takes its default."""

    target: str | None
    image: str | None
    replicas: int | None
    running: bool | None
    variables: Variables
    frame: Frame

    @property
    def env(self) -> Mapping[str, EnvValue]:
        return self.variables.values

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the Secrets it uses."""
        pull = self.frame.spec.image_pull.secret_ref
        taken = self.variables.taken
        if pull is None and not taken:
            return frozenset()
        used = {key.name for key in taken.values()}
        return frozenset(used if pull is None else {*used, pull})

    def check(self) -> None:
        """Refuse what each field allows alone but not together; raises `BadValue`."""
        if self.image is not None:
            app.check_image(self.image)
        if not self.frame.is_sound:
            app.check(self.frame.spec)

    def template(self, target: str) -> bytes:
        """The JSON of the part whose change makes a new revision: equal parts give equal bytes."""
        image = f'"image":"{self.image}",' if self.image is not None else ""
        return b'{"target":"%b",%b%b"env":%b%b}' % (
            target.encode(),
            image.encode(),
            self.frame.before_env,
            self.variables.json,
            self.frame.after_env,
        )


def read(data: bytes) -> AppWish:
    """Read the JSON of a spec; raises pydantic's `ValidationError` when it is not one."""
    try:
        return _read_in_parts(data)
    except (msgspec.MsgspecError, ValidationError, _Unusual, UnicodeError, RecursionError):
        return of(SPEC_ADAPTER.validate_json(data))


def of(spec: AppSpec) -> AppWish:
    return AppWish(
        target=spec.target,
        image=spec.image,
        replicas=spec.replicas,
        running=spec.running,
        variables=_variables(spec.env),
        frame=_frame_of(
            replace(spec, target=None, image=None, env={}, replicas=None, running=None)
        ),
    )


def _read_in_parts(data: bytes) -> AppWish:
    parts: dict[str, Any] = _parts.decode(data)
    take = parts.pop
    env, image, target = take("env", None), take("image", None), take("target", None)
    replicas, running = take("replicas", None), take("running", None)
    rest = _encode(parts)
    return AppWish(
        target=None if target is None else _target(bytes(target)),
        image=None if image is None else _image(bytes(image)),
        replicas=None if replicas is None else _counts.decode(replicas),
        running=None if running is None else _flags.decode(running),
        variables=_NONE if env is None else _read_variables(bytes(env)),
        frame=_frame(rest) if len(rest) <= FRAME_BYTES else _read_frame(rest),
    )


def _read_frame(rest: bytes) -> Frame:
    return _frame_of(SPEC_ADAPTER.validate_json(rest))


_frame = lru_cache(maxsize=FRAMES)(_read_frame)


@lru_cache(maxsize=4096)
def _image(data: bytes) -> str | None:
    return _IMAGE.validate_json(data, strict=True)


@lru_cache(maxsize=1024)
def _target(data: bytes) -> str | None:
    return _TARGET.validate_json(data, strict=True)


@lru_cache(maxsize=16_384)
def _is_variable(name: str) -> bool:
    if _VARIABLE.fullmatch(name) is None:
        raise _Unusual  # which is not kept
    return True


def _read_variables(data: bytes) -> Variables:
    """Most are plain text: names and no NUL are all there is to see to."""
    if b"\\u0000" not in data and len(data) <= PLAIN_BYTES:
        try:
            texts = _texts.decode(data)
        except msgspec.ValidationError:
            return _variables(_ENV.validate_json(data, strict=True))
        if len(texts) <= MAX_VARIABLES and all(map(_is_variable, texts)):
            return Variables(texts, _sorted(texts), _NOTHING)
    return _variables(_ENV.validate_json(data, strict=True))


def _variables(env: Mapping[str, EnvValue]) -> Variables:
    taken = {name: v.secret_ref for name, v in env.items() if isinstance(v, FromSecret)}
    return Variables(env, _ENV.dump_json(env, by_alias=True, exclude_none=True), taken)


def _frame_of(spec: AppSpec) -> Frame:
    after_env = {*_AFTER_ENV, "publish"} if spec.publish else _AFTER_ENV  # older than which is this
    before, after = (
        SPEC_ADAPTER.dump_json(spec, by_alias=True, exclude_none=True, include=fields)[1:-1]
        for fields in (_BEFORE_ENV, after_env)
    )
    routes = route.complete(spec.routes, spec.port_protocols) if spec.routes else ()
    return Frame(
        spec=spec,
        before_env=before + b",",
        after_env=b"," + after,
        rollout=shape.rollout_json(app.complete_rollout(spec)),
        autoscale=shape.autoscale_json(spec.autoscale),
        routes=route.encode(routes),
        is_sound=_is_sound(spec),
    )


def _is_sound(frame: AppSpec) -> bool:
    try:
        app.check(frame)
    except BadValue:
        return False
    return True


_NOTHING: Final[Mapping[str, KeyOfSecret]] = {}
_NONE: Final = _variables({})
