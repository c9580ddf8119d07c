"""State that intents are decided against: the fold of one stream. `evolve` is total and pure.

Every state knows whether its resource exists, its `uid` (the position of the event that created
it) and its `generation` (the position of its last intent).
"""

from collections.abc import Iterable, Mapping

import msgspec

from domain import events as e


class App(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """An App. After a delete, `revision` stays: its numbers are never used twice."""

    exists: bool = False
    uid: int = 0
    generation: int = 0
    revision: int = 0
    digest: str = ""
    spec: bytes = b""
    labels: dict[str, str] = {}
    secrets: dict[str, str] = {}
    image: str | None = None
    paused: e.Pause | None = None


class Project(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    exists: bool = False
    uid: int = 0
    generation: int = 0
    spec: bytes = b""
    labels: dict[str, str] = {}


class Target(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    exists: bool = False
    uid: int = 0
    generation: int = 0
    spec: bytes = b""
    labels: dict[str, str] = {}


class Secret(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A Secret. After a delete, `version` stays, and the next one is higher."""

    exists: bool = False
    uid: int = 0
    generation: int = 0
    version: int = 0
    token: str = ""
    keys: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class Members(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """The streams of the resources that belong to a project or run on a target."""

    members: frozenset[str] = frozenset()


class Claims(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """Who has the claims of one host, or of the ports of one target: apps by claim."""

    held: Mapping[str, str] = {}


type State = App | Project | Target | Secret | Members | Claims


def evolve_app(state: App, position: int, event: e.Event) -> App:
    match event:
        case e.AppEvent():
            return App(
                exists=True,
                uid=event.uid or position,
                generation=event.generation or position,
                revision=event.revision,
                digest=event.digest,
                spec=bytes(event.spec),
                labels=event.labels,
                secrets=event.secrets,
                image=event.image,
                paused=event.paused,
            )
        case e.AppDeleted():
            return App(uid=state.uid, generation=position, revision=event.revision)
        case _:
            return state


def evolve_project(state: Project, position: int, event: e.Event) -> Project:
    match event:
        case e.ProjectDefined(uid=uid, spec=spec, labels=labels):
            return Project(
                exists=True,
                uid=uid or position,
                generation=position,
                spec=bytes(spec),
                labels=labels,
            )
        case e.ProjectDeleted():
            return Project(uid=state.uid, generation=position)
        case _:
            return state


def evolve_target(state: Target, position: int, event: e.Event) -> Target:
    match event:
        case e.TargetDefined(uid=uid, spec=spec, labels=labels):
            return Target(
                exists=True,
                uid=uid or position,
                generation=position,
                spec=bytes(spec),
                labels=labels,
            )
        case e.TargetDeleted():
            return Target(uid=state.uid, generation=position)
        case _:
            return state


def evolve_secret(state: Secret, position: int, event: e.Event) -> Secret:
    match event:
        case e.SecretSet():
            return Secret(
                exists=True,
                uid=event.uid or position,
                generation=position,
                version=event.version,
                token=event.token,
                keys=event.keys,
                labels=event.labels,
            )
        case e.SecretDeleted(version=version):
            return Secret(uid=state.uid, generation=position, version=version)
        case _:
            return state


def evolve_members(state: Members, _position: int, event: e.Event) -> Members:
    match event:
        case e.MemberJoined(member=member):
            return Members(members=state.members | {member})
        case e.MemberLeft(member=member):
            return Members(members=state.members - {member})
        case _:
            return state


def evolve_claims(state: Claims, _position: int, event: e.Event) -> Claims:
    held = dict(state.held)
    _claim(held, event)
    return Claims(held=held)


def _claim(held: dict[str, str], event: e.Event) -> None:
    match event:
        case e.ClaimsTaken(owner=owner, claims=claims):
            held |= dict.fromkeys(claims, owner)
        case e.ClaimsReleased(owner=owner, claims=claims):
            for claim in claims:
                if held.get(claim) == owner:
                    del held[claim]
        case _:
            pass


def initial(stream: str) -> State:
    """The state of a stream without events."""
    if stream.endswith("#members"):
        return Members()
    if stream.endswith("#claims"):
        return Claims()
    match stream.partition("/")[0]:
        case "App":
            return App()
        case "Project":
            return Project()
        case "Target":
            return Target()
        case "Secret":
            return Secret()
        case other:
            raise ValueError(f"no resource is of kind {other!r}")


def evolve(state: State, position: int, event: e.Event) -> State:
    """Fold one event into the state of its stream. An event of another kind changes nothing."""
    match state:
        case App():
            return evolve_app(state, position, event)
        case Project():
            return evolve_project(state, position, event)
        case Target():
            return evolve_target(state, position, event)
        case Secret():
            return evolve_secret(state, position, event)
        case Members():
            return evolve_members(state, position, event)
        case Claims():
            return evolve_claims(state, position, event)


def fold(stream: str, history: Iterable[tuple[int, e.Event]], onto: State | None = None) -> State:
    """The state after a stream's (position, event) pairs, oldest first, on top of `onto`."""
    start = initial(stream) if onto is None else onto
    if isinstance(start, Members):
        return _fold_members(start, history)
    if isinstance(start, Claims):
        held = dict(start.held)
        for _, event in history:
            _claim(held, event)
        return Claims(held=held)
    folded: State = start
    for position, event in history:
        folded = evolve(folded, position, event)
    return folded


def _fold_members(start: Members, history: Iterable[tuple[int, e.Event]]) -> Members:
    """As one `evolve_members` after the other, without a copy of all members for each."""
    members = set(start.members)
    for _, event in history:
        match event:
            case e.MemberJoined(member=member):
                members.add(member)
            case e.MemberLeft(member=member):
                members.discard(member)
            case _:
                pass
    return Members(members=frozenset(members))
