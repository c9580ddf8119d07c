"""What answers look like, for the OpenAPI file. Nothing is built from these; tests compare."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from domain.access import Role


class Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class ObjectChange(Shape):
    """What would change of one object on a cluster; `immutable`: it is made anew."""

    object: str = Field(examples=["Deployment stw-shop/web"])
    because: Literal["missing", "changed", "edited", "unwanted", "immutable", "adopted"]
    fields: list[str]
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    refused: str = Field(description="Why the cluster would not have it, or empty.")
    target: str = Field(description="Of what a project's apps share: where; else empty.")


class Change(Shape):
    """What became of one resource. `before`, `after`, `objects` are there in dry runs only."""

    resource: str = Field(examples=["App/shop/web"])
    result: Literal["created", "configured", "deleted", "unchanged"]
    generation: int
    events: list[str] = Field(examples=[["app.defined"]])
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    objects: list[ObjectChange] | None = None


class Acknowledgement(Shape):
    """All of it is on disk, up to `position`."""

    position: int
    generation: int | None = Field(description="Of the one resource; null for a set.")
    repeated: bool = Field(description="The idempotency key was known; this is its first answer.")
    dry_run: bool
    changes: list[Change]
    warnings: list[str]


class Metadata(Shape):
    name: str
    project: str | None = None
    labels: dict[str, str]
    uid: int = Field(description="The position that created it.")
    revision: int | None = None
    generation: int = Field(description="The position of its last intent.")
    deleting: bool


class Condition(Shape):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: datetime | None


class ReplicaStatus(Shape):
    name: str
    revision: int
    slot: int
    attempt: int
    state: str
    ready: bool
    message: str
    started_at: datetime | None
    exit_code: int | None
    addresses: dict[str, str]


class Pause(Shape):
    revision: int
    reason: str
    until: datetime | None


class AppStatus(Shape):
    uid: int
    observed_generation: int
    observed_at: datetime | None
    age_seconds: float | None
    revision: int
    serving: int
    stable: int
    wanted: int
    ready: int
    updated: int
    image: str | None
    paused: Pause | None
    conditions: list[Condition]
    replicas: list[ReplicaStatus]


class TargetStatus(Shape):
    answers: bool | None
    message: str
    observed_at: datetime | None
    age_seconds: float | None
    replicas: int
    worker: str = Field(description="Who decides over it, of several workers.")


class ProjectStatus(Shape):
    apps: int
    secrets: int


class FrozenStatus(Shape):
    frozen: str = Field(description="Why its history cannot be read.")


class Resource(Shape):
    api_version: Literal["stateward/v1"]
    metadata: Metadata


class App(Resource):
    kind: Literal["App"]
    spec: dict[str, Any]
    status: AppStatus | None


class Project(Resource):
    kind: Literal["Project"]
    spec: dict[str, Any]
    status: ProjectStatus | FrozenStatus | None


class Target(Resource):
    kind: Literal["Target"]
    spec: dict[str, Any]
    status: TargetStatus | FrozenStatus | None


class SecretView(Shape):
    keys: list[str] = []
    version: int = 0


class Secret(Resource):
    kind: Literal["Secret"]
    spec: SecretView
    status: FrozenStatus | None


class Listing(Shape):
    api_version: Literal["stateward/v1"]
    position: int
    next: str | None = Field(description="The `after` of the next page; null at the end.")


class AppList(Listing):
    kind: Literal["AppList"]
    items: list[App]


class ProjectList(Listing):
    kind: Literal["ProjectList"]
    items: list[Project]


class TargetList(Listing):
    kind: Literal["TargetList"]
    items: list[Target]


class SecretList(Listing):
    kind: Literal["SecretList"]
    items: list[Secret]


class Event(Shape):
    position: int
    resource: str
    type: str
    at: datetime | None
    actor: str
    cause: str
    transition: bool
    sentence: str
    data: dict[str, Any] | None


class EventPage(Shape):
    items: list[Event]
    next: int | None
    head: int


class Transition(Event):
    because: Event | None


class Why(Shape):
    resource: str
    summary: str
    items: list[Transition]


class CopiesOfRequests(Shape):
    """An app that gets copies of so many of a hundred requests; its answers are dropped."""

    app: str = Field(description="Empty if the token may not see it.")
    percent: int


class RouteRow(Shape):
    """A row of a target's route table. `fallback` are the apps asked when this one has nobody."""

    id: str
    target: str
    url: str = Field(examples=["https://shop.example.org/api"])
    address: str = Field(
        examples=["https://shop.example.org:8443/api"],
        description="The URL with the port of the router's entry, where that is another.",
    )
    context: str = Field(examples=["x-feature: blue"], description="Of a header; empty for a base.")
    precedence: int
    app: str = Field(description="Empty if the token may not see it.")
    port: str
    fallback: list[str]
    mirror: CopiesOfRequests | None
    redirect: bool
    strip_prefix: bool
    auth: Literal["off", "soft", "hard"]
    tls: Literal["auto", "internal", "secret", "off"]
    certificate_ends: datetime | None = Field(
        description="When the certificate that the router shows for the host ends, if known."
    )
    status: str = Field(description="The reason of the app's condition Routed.")


class Routes(Shape):
    items: list[RouteRow]


class PassedRow(RouteRow):
    why: str


class RouteQuestion(Shape):
    scheme: Literal["http", "https"]
    host: str
    path: str
    headers: dict[str, str]
    target: str = Field(description="Whose table was looked through; empty if none has the host.")


class RouteMatch(Shape):
    """Which row a request would hit (null: 404), and why not the other rows of its host."""

    request: RouteQuestion
    summary: str
    row: RouteRow | None
    passed: list[PassedRow]


class Revision(Shape):
    revision: int
    position: int
    at: datetime | None
    actor: str
    type: str
    image: str | None
    digest: str
    sentence: str
    current: bool
    stable: bool
    spec: dict[str, Any]


class Revisions(Shape):
    items: list[Revision]


class Plan(Shape):
    resource: str
    position: int
    actions: list[str]


class TraefikDocument(Shape):
    """A dynamic configuration of Traefik 3, as its HTTP provider takes it."""

    http: dict[str, Any] = Field(description="Routers, services and middlewares, by name.")
    tls: dict[str, Any] | None = Field(
        default=None,
        description="Certificates with their keys, only for a token of role router or an admin's.",
    )


class ForeignReplica(Shape):
    name: str = Field(examples=["3f2a1c.shop.web.r3.0.1"])
    state: str


class ForeignApp(Shape):
    """What another installation runs of one app."""

    installation: str
    project: str
    app: str
    revisions: list[int]
    running: int
    replicas: list[ForeignReplica] = Field(description="Those that have ended, too.")
    applied: bool = Field(description="An App of that name is to run on this Target here, too.")
    volumes: list[str] = Field(description="That App's here: it does not get the data of theirs.")
    adopting: bool = Field(description="That App takes over from this installation.")


class ForeignApps(Shape):
    target: str
    items: list[ForeignApp]


class ObjectNamed(Shape):
    """An object of a cluster as it is now: one made anew has another uid."""

    api_version: str
    kind: str
    namespace: str = ""
    name: str
    uid: str


class ObjectInTheWay(Shape):
    """An object that is not ours, and has a name that the App needs."""

    object: ObjectNamed
    installation: str = Field(description="Whose it is; empty: of no Stateward.")
    managers: list[str] = Field(description="Who has set fields of it.")
    outcome: str = Field(
        examples=["taken over"],
        description="What adopting it does: `taken over`, `made anew`, or `ended` in the end.",
    )
    fields: list[str] = Field(description="Those that never change, so it is made anew.")
    data: bool = Field(description="It holds data, and is only taken over with `volumes`.")


class ObjectsInTheWay(Shape):
    resource: str
    items: list[ObjectInTheWay]


class ExecRequest(Shape):
    argv: list[str] = Field(min_length=1, max_length=256)
    replica: str | None = None
    timeout_seconds: float = Field(default=30.0, gt=0, le=3600)


class TerminalSize(Shape):
    columns: int = Field(ge=1, le=65535)
    rows: int = Field(ge=1, le=65535)


class Conversation(Shape):
    """The first message of a WebSocket to `exec`."""

    argv: list[str] = Field(min_length=1, max_length=256)
    replica: str | None = None
    terminal: TerminalSize | None = None
    input: bool = False


class ExecAnswer(Shape):
    replica: str
    exit_code: int
    stdout: str
    stderr: str


class Explanation(Shape):
    api_version: str
    kind: str
    description: str
    # Named apart, because a pydantic model already has a member `schema`.
    json_schema: dict[str, Any] = Field(alias="schema")


class Version(Shape):
    version: str
    api_version: str
    installation: str
    position: int


class WhoAmI(Shape):
    actor: str
    role: Role
    projects: list[str]


class TokenRequest(Shape):
    name: str
    role: Role
    projects: list[str] = Field(default=[], max_length=1000)
    expires_in: str | None = Field(default=None, description="A duration: 24h.")


class TokenView(Shape):
    name: str
    role: Role
    projects: list[str]
    actor: str
    created_at: datetime
    expires_at: datetime | None


class NewToken(TokenView):
    token: str = Field(description="Shown this once.")


class TokenList(Shape):
    items: list[TokenView]


class CheckView(Shape):
    name: str
    ok: bool
    message: str


class Health(Shape):
    ok: bool
    checks: list[CheckView]
