"""Contexts: which server a command speaks to, with which token, about which project.

`client.yaml` holds them by name, readable by its owner alone. `STATEWARD_SERVER`, `_TOKEN` and
`_PROJECT` win over it; with nothing configured, it is the control plane of this machine.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from domain.secret import SecretText
from gateway.documents import BadDocument, read_file
from stateward.cli.trouble import BadUse, Trouble
from stateward.environment import Environment

LOCAL_SERVER: Final = "http://127.0.0.1:7440"
_FIELDS: Final = ("server", "token", "tokenFile", "project")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One place to speak to. The token stands here or, better, in a file of its own."""

    server: str = LOCAL_SERVER
    token: SecretText | None = None
    token_file: Path | None = None
    project: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contents of `client.yaml`. Every change gives a new one; `write` keeps it."""

    path: Path
    current: str = ""
    by_name: Mapping[str, Context] = field(default_factory=dict)

    def get(self, name: str) -> Context:
        """The context of that name.

        Raises:
            BadUse: there is none.
        """
        found = self.by_name.get(name)
        if found is None:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise BadUse(f"there is no context {name!r} in {self.path}; it has {known}")
        return found

    def use(self, name: str) -> "Contexts":
        self.get(name)
        return replace(self, current=name)

    def put(self, name: str, context: Context) -> "Contexts":
        """With one more, or another, context; the first becomes the current one."""
        return replace(self, current=self.current or name, by_name={**self.by_name, name: context})

    def without(self, name: str) -> "Contexts":
        self.get(name)
        rest = {known: context for known, context in self.by_name.items() if known != name}
        return replace(self, current="" if self.current == name else self.current, by_name=rest)

    def write(self) -> None:
        """Keep it, whole or not at all, readable by its owner alone."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        try:
            with os.fdopen(
                os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                yaml.safe_dump(_written(self), file, sort_keys=False, allow_unicode=True)
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a command uses: `origin` says where the server's address comes from."""

    server: str
    token: SecretText | None
    project: str
    origin: str


def read(path: Path) -> Contexts:
    """Read `client.yaml`; none is like an empty one.

    Raises:
        Trouble: it cannot be read or is not what `write` writes.
    """
    try:
        documents = read_file(path)
    except FileNotFoundError:
        return Contexts(path)
    except BadDocument as error:
        raise Trouble(str(error)) from None
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}") from error
    if not documents:
        return Contexts(path)
    return _understood(path, documents[0].value)


def connection(
    environment: Environment, *, context: str = "", server: str = "", project: str = ""
) -> Connection:
    """What to use: flag > environment > context > the control plane of this machine.

    Raises:
        BadUse: the named context does not exist.
        Trouble: `client.yaml` or a token file cannot be read.
    """
    contexts = read(environment.client_config)
    name = context or environment.get("STATEWARD_CONTEXT") or contexts.current
    chosen = contexts.get(name) if name else Context()
    given = server or environment.get("STATEWARD_SERVER")
    token = environment.get("STATEWARD_TOKEN")
    address = checked_server(given or chosen.server)
    return Connection(
        server=address,
        token=SecretText(token) if token else _token(chosen, environment, address),
        project=project or environment.get("STATEWARD_PROJECT") or chosen.project,
        origin=_origin(server, environment, name),
    )


def _origin(server: str, environment: Environment, name: str) -> str:
    if server:
        return "--server"
    if environment.get("STATEWARD_SERVER"):
        return "STATEWARD_SERVER"
    return f"context {name}" if name else "the default"


def checked_server(server: str) -> str:
    if not server.startswith(("http://", "https://")):
        raise BadUse(
            f"{server!r} is no address of a server; write http://HOST:PORT or https://HOST"
        )
    return server.rstrip("/")


def _token(context: Context, environment: Environment, address: str) -> SecretText | None:
    """The token for an address; one that belongs to another server is never sent there."""
    belongs = address == context.server.rstrip("/")
    if belongs and context.token is not None:
        return context.token
    file = context.token_file if belongs else None
    if file is None and address == LOCAL_SERVER:
        file = environment.data_directory / "token"
        if not os.access(file, os.R_OK):
            return None
    if file is None:
        return None
    try:
        return SecretText(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"the token file {file} cannot be read: {error}") from error


def _understood(path: Path, value: Any) -> Contexts:
    if not isinstance(value, dict) or not isinstance(value.get("contexts", {}), dict):
        raise Trouble(f"{path}: it has `current:` and `contexts:`; see `stateward context set`")
    by_name = {}
    for name, fields in value.get("contexts", {}).items():
        if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
            raise Trouble(f"{path}: context {name!r} has text fields: {', '.join(_FIELDS)}")
        unknown = [given for given in fields if given not in _FIELDS]
        if unknown:
            known = ", ".join(_FIELDS)
            raise Trouble(f"{path}: context {name!r} has no field {unknown[0]!r}; it has {known}")
        by_name[name] = Context(
            server=fields.get("server", LOCAL_SERVER),
            token=SecretText(fields["token"]) if "token" in fields else None,
            token_file=Path(fields["tokenFile"]) if "tokenFile" in fields else None,
            project=fields.get("project", ""),
        )
    return Contexts(path, str(value.get("current") or ""), by_name)


def _written(contexts: Contexts) -> dict[str, Any]:
    return {
        "current": contexts.current,
        "contexts": {name: _fields(context) for name, context in contexts.by_name.items()},
    }


def _fields(context: Context) -> dict[str, str]:
    fields = {
        "server": context.server,
        "token": context.token.reveal() if context.token else "",
        "tokenFile": str(context.token_file or ""),
        "project": context.project,
    }
    return {name: text for name, text in fields.items() if text}
