"""Tokens: who may come in, as which actor, until when.

Only a token's SHA-256 is kept; its text is shown once, when it is made. The file is replaced
atomically and readable by its owner alone. A token that is revoked is refused at once.
"""

import hmac
import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, final

import msgspec

from domain.access import Actor, Role
from domain.names import check_name
from domain.refusals import BadValue, InUse, NotFound

MAX_TOKENS: Final = 10_000
FIRST: Final = "admin"


class Token(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is known about a token. Times are seconds since the epoch; no projects means all."""

    name: str
    role: Role
    digest: str
    created_at: float
    projects: tuple[str, ...] = ()
    expires_at: float | None = None

    @property
    def actor(self) -> Actor:
        return Actor(name=f"user:{self.name}", role=self.role, projects=frozenset(self.projects))


class _File(msgspec.Struct):
    tokens: list[Token]


@final
class Tokens:
    """The tokens of one installation.

    Args:
        path: the file that keeps them.
        now: seconds since the epoch.
        new_text: makes the text of a token, with at least 256 bits nobody can guess.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], float], new_text: Callable[[], str]
    ) -> None:
        self._path = path
        self._now = now
        self._new_text = new_text
        self._by_digest: dict[str, Token] = {}
        if path.exists():
            kept = msgspec.json.decode(path.read_bytes(), type=_File)
            self._by_digest = {token.digest: token for token in kept.tokens}

    def who(self, text: str) -> Actor | None:
        """The actor whose token this is; None if it is unknown, expired or revoked."""
        digest = _digest(text)
        token = self._by_digest.get(digest)
        if token is None or not hmac.compare_digest(token.digest, digest):
            return None
        if token.expires_at is not None and token.expires_at <= self._now():
            return None
        return token.actor

    def all(self) -> Sequence[Token]:
        return sorted(self._by_digest.values(), key=lambda token: token.name)

    def issue(
        self,
        name: str,
        role: Role,
        *,
        projects: Sequence[str] = (),
        lifetime_seconds: float | None = None,
    ) -> tuple[Token, str]:
        """Make a token and return it with its text, which is not kept.

        Raises:
            Refusal: the name is taken or cannot be used.
        """
        check_name(name, "name")
        if any(token.name == name for token in self._by_digest.values()):
            raise InUse(f"the name {name!r}", (f"a token of user:{name}",), "revoke that first")
        if len(self._by_digest) >= MAX_TOKENS:
            raise BadValue("name", name, f"there are already {MAX_TOKENS} tokens; revoke some")
        text = self._new_text()
        return self._keep(name, role, text, projects, lifetime_seconds), text

    def revoke(self, name: str) -> None:
        """Forget a token.

        Raises:
            NotFound: there is none of this name.
            InUse: it is the last one that may make others.
        """
        found = next((t for t in self._by_digest.values() if t.name == name), None)
        if found is None:
            raise NotFound(f"token {name!r}", "`stateward token list` shows those that do")
        rest = [token for token in self._by_digest.values() if token is not found]
        if _rules(found) and not any(_rules(t) and t.expires_at is None for t in rest):
            remedy = "make another admin token first"
            raise InUse(f"token {name!r}", ("whoever administers this installation",), remedy)
        self._write(rest)
        self._by_digest = {token.digest: token for token in rest}

    def first(self, place: Path) -> str | None:
        """Make the first token and write its text to `place` (mode 0600); None if there are some.

        The text is on disk before the token counts, so a crash in between loses neither.
        """
        if self._by_digest:
            return None
        try:
            text = place.read_text().strip()
        except FileNotFoundError:
            text = ""
        if not text:
            text = self._new_text()
            _replace(place, f"{text}\n".encode())
        self._keep(FIRST, "admin", text, (), None)
        return text

    def _keep(
        self,
        name: str,
        role: Role,
        text: str,
        projects: Sequence[str],
        lifetime_seconds: float | None,
    ) -> Token:
        now = self._now()
        token = Token(
            name=name,
            role=role,
            digest=_digest(text),
            created_at=now,
            projects=tuple(sorted({check_name(project, "projects") for project in projects})),
            expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
        )
        self._write([*self._by_digest.values(), token])
        self._by_digest[token.digest] = token
        return token

    def _write(self, tokens: Sequence[Token]) -> None:
        _replace(self._path, msgspec.json.encode(_File(list(tokens))))


def _rules(token: Token) -> bool:
    return token.role == "admin" and not token.projects


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, wholly or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
