"""Settings of the control plane: frozen, typed, and each from one known layer.

`stateward.layers` puts them together from flags, environment, file and defaults. Parts of the
control plane are handed the values they need; none looks here by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic_settings import NoDecode

from domain import quantities
from domain.secret import SecretText

FROZEN: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _seconds(value: object) -> object:
    if isinstance(value, str):
        return quantities.seconds(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a bare number has no unit; write {value}s")
    return value


def _secret(value: object) -> SecretText:
    if isinstance(value, SecretText):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("it is text; quote it")
    return SecretText(value)


def _log_url(value: object) -> SecretText:
    """A whole address is a secret: there may be a password in it."""
    url = _secret(value)
    if not url.reveal().startswith(("postgresql://", "postgres://")):
        raise ValueError("write postgresql://USER@HOST:PORT/DATABASE")
    return url


def _listed(value: object) -> object:
    """Texts as they come from flags and variables: separated by commas, in one or in several."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=86_400)]
"""Written with its unit: `10s`, `1m30s`, `500ms`."""
Role = Literal["gateway", "worker"]
Secret = Annotated[SecretText, PlainValidator(_secret)]
File = Annotated[Path, AfterValidator(_absolute)]
Address = Annotated[str, Field(pattern=r"^(nats|tls)://[^\s/,]+$")]
"""Of a NATS server: `nats://HOST:PORT`, or `tls://HOST:PORT` where nothing may go in the clear."""


class Api(BaseModel):
    """Where the HTTP API listens; port 0 takes a free one."""

    model_config = FROZEN
    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=7440, ge=0, le=65535)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this host reaches it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class Data(BaseModel):
    """Where everything is kept."""

    model_config = FROZEN
    directory: File


class Log(BaseModel):
    """In the data directory; or, by `url`, in a PostgreSQL database that `migrate` has prepared.

    `synchronous: NORMAL` may lose the newest events of the directory's log in a power cut, though
    none in a crash.
    """

    model_config = FROZEN
    url: Annotated[SecretText, PlainValidator(_log_url)] | None = None
    synchronous: Literal["FULL", "NORMAL"] = "FULL"


class Secrets(BaseModel):
    """The key that their values are encrypted with, by default `secret.key` of the data directory.

    Control planes that share a PostgreSQL log share the key: give each the same file.
    """

    model_config = FROZEN
    key_file: File | None = None


class Nats(BaseModel):
    """The bus: a server of our own, or the cluster of `servers`, or none. `replicas` is on how many
    servers of a cluster each stream is kept.
    """

    model_config = FROZEN
    enabled: bool = True
    embedded: bool = True
    servers: Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_listed)] = ()
    replicas: int = Field(default=1, ge=1, le=5)
    tls_ca: File | None = None
    tls_certificate: File | None = None
    tls_key: File | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    credentials_file: File | None = None
    nkey_file: File | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        ways = [self.user, self.token, self.credentials_file, self.nkey_file]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give one of user, token, credentials_file and nkey_file")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.enabled and not self.servers and not self.embedded:
            raise ValueError("give servers, or embedded: true, or enabled: false")
        if not self.servers and any(way is not None for way in (*ways, self.tls_ca, self.tls_key)):
            raise ValueError("credentials and TLS are for external servers; give servers")
        if not self.servers and self.replicas > 1:
            raise ValueError("the embedded server is one: give the servers of a cluster")
        return self

    @property
    def starts_server(self) -> bool:
        """Whether a server of our own is wanted: `servers` take its place."""
        return self.enabled and self.embedded and not self.servers


class Replay(BaseModel):
    """The timer that looks at everything again; `jitter` is a share of the interval."""

    model_config = FROZEN
    interval: Seconds = 10.0
    jitter: float = Field(default=0.1, ge=0, le=0.5)


class Reconcile(BaseModel):
    """How many passes at once, how long one may take, how often the log is read unasked (0s: only
    by the replay tick).
    """

    model_config = FROZEN
    concurrency: int = Field(default=16, ge=1, le=1024)
    pass_deadline: Seconds = 60.0
    tail: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=86_400)] = 2.0
    hints: bool = True


class Serve(BaseModel):
    """What this process is for: `gateway`, where people and programs come in, `worker`, or both.

    Only processes that share a log in PostgreSQL and an external NATS can be one alone.
    """

    model_config = FROZEN
    roles: Annotated[tuple[Role, ...], NoDecode, BeforeValidator(_listed)] = ("gateway", "worker")

    @property
    def is_gateway(self) -> bool:
        return "gateway" in self.roles

    @property
    def is_worker(self) -> bool:
        return "worker" in self.roles


class Worker(BaseModel):
    """Of several workers: which `targets` this one serves (names or patterns; `*` are all that are
    not processes), how it is called, and after which time without a word others take over.
    """

    model_config = FROZEN
    targets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ("*",)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = None
    lease_ttl: Annotated[float, BeforeValidator(_seconds), Field(ge=2, le=300)] = 10.0


class Engine(BaseModel):
    """What the target `local` is made of at the first start: `auto` is Docker if it answers, `k8s`
    the cluster in whose pod this runs.
    """

    model_config = FROZEN
    default: Literal["auto", "docker", "k8s", "process", "simulated"] = "auto"
    docker_host: Annotated[str, Field(pattern=r"^(unix|tcp|https?)://\S+$")] | None = None


class Login(BaseModel):
    """Who the users of apps are, where a route asks for it.

    `developers` opens a login that believes everybody: for trying out, on a loopback address only.
    """

    model_config = FROZEN
    developers: bool = False


class Logging(BaseModel):
    """`auto` is text on a terminal, and one JSON object a line everywhere else."""

    model_config = FROZEN
    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseModel):
    """All of them."""

    model_config = FROZEN
    api: Api = Api()
    data: Data
    log: Log = Log()
    secrets: Secrets = Secrets()
    nats: Nats = Nats()
    replay: Replay = Replay()
    reconcile: Reconcile = Reconcile()
    serve: Serve = Serve()
    worker: Worker = Worker()
    engine: Engine = Engine()
    login: Login = Login()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _is_of_use(self) -> Self:
        shared = self.log.url is not None and self.nats.enabled and bool(self.nats.servers)
        if not self.serve.roles:
            raise ValueError("serve.roles is empty; give gateway, worker or both")
        if len(set(self.serve.roles)) < 2 and not shared:
            raise ValueError(
                "a process that is a gateway or a worker alone shares log.url (PostgreSQL) and "
                "nats.servers with others; give both, or leave out serve.roles"
            )
        if self.login.developers and not self.api.is_loopback:
            raise ValueError(
                f"login.developers lets anybody be anybody, and api.host {self.api.host} is reached"
                " from elsewhere; give api.host 127.0.0.1, or leave out login.developers"
            )
        return self


SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
