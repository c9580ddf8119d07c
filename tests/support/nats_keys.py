"""Keys as NATS names them, and JWTs signed with them, as the tools of NATS would make them."""

import json
from base64 import b32encode, urlsafe_b64encode
from binascii import crc_hqx
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR, ACCOUNT, USER = 14, 0, 20
_SEED = 18


class NatsKey:
    """A key of an operator, an account or a user."""

    def __init__(self, kind: int) -> None:
        self._kind = kind << 3
        self._key = Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """`O...`, `A...` or `U...`."""
        return _encoded(bytes([self._kind]) + self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        prefix = bytes([_SEED << 3 | self._kind >> 5, (self._kind & 31) << 3])
        return _encoded(prefix + self._key.private_bytes_raw())

    def jwt(self, about: "NatsKey", name: str, claims: dict[str, Any], **more: object) -> str:
        """What this key says of another."""
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {
            "jti": name.upper(),
            "iat": 1_700_000_000,
            "iss": self.public,
            "name": name,
            "sub": about.public,
            "nats": {**claims, "version": 2},
            **more,
        }
        text = f"{_part(header)}.{_part(body)}"
        return f"{text}.{_text(self._key.sign(text.encode()))}"


class Operated(NamedTuple):
    """A server's configuration in operator mode, and its account's key, which makes users."""

    config: str
    account: NatsKey


def operated() -> Operated:
    """An operator with one account that may use JetStream, and that of the server itself."""
    operator, account, system = NatsKey(OPERATOR), NatsKey(ACCOUNT), NatsKey(ACCOUNT)
    unlimited = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    storage = ("mem_storage", "disk_storage", "streams", "consumer")
    limits = dict.fromkeys((*unlimited, *storage), -1) | {"wildcards": True}
    own = operator.jwt(operator, "operator", {"type": "operator"})
    accounts = [
        f"{key.public}: {operator.jwt(key, name, {'type': 'account', 'limits': allowed})}"
        for key, name, allowed in (
            (account, "account", limits),
            (system, "system", {limit: limits[limit] for limit in unlimited}),
        )
    ]
    return Operated(
        f"operator: {own}\nsystem_account: {system.public}\nresolver: MEMORY\n"
        f"resolver_preload: {{{', '.join(accounts)}}}",
        account,
    )


def creds_file(path: Path, account: NatsKey, **more: object) -> Path:
    """The `.creds` file of a new user of an account."""
    user = NatsKey(USER)
    claims = {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    token = account.jwt(user, "user", claims, **more)
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    return path


def _encoded(raw: bytes) -> str:
    return b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _part(value: object) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
