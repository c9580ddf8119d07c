"""How to log in at a NATS server: what was configured, and what an embedded server generates.

Nothing here is ever shown: secrets stay out of `repr`, and files of ours are readable by us only.
"""

import os
from base64 import b32decode, b32encode, b64encode
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONTROL_PLANE: Final = "stateward"
PRODUCER: Final = "producer"

_USER_PREFIX: Final = 20 << 3  # makes the first letter of an encoded user key a U


class BadCredentials(Exception):
    """The credentials cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One way to log in: user and password, or token, or a `.creds` file, or an nkey seed file."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    creds_file: Path | None = None
    nkey_seed_file: Path | None = None


class Generated(msgspec.Struct, frozen=True):
    """The passwords of an embedded server's two users."""

    control_plane: str
    producer: str


def write_private(path: Path, text: str) -> None:
    """Replace a file, readable by us only, at once or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


class Login(NamedTuple):
    """What `connect` of nats-py takes, and the public key of an nkey user."""

    options: dict[str, Any]
    public_nkey: str | None = None


def login(credentials: Credentials) -> Login:
    """How these credentials log in.

    Raises:
        BadCredentials: a file cannot be read, or is none of its kind.
    """
    if credentials.creds_file is not None:
        text = _read(credentials.creds_file)
        jwt = _section(text, "NATS USER JWT", credentials.creds_file)
        key = _key(_section(text, "USER NKEY SEED", credentials.creds_file))
        return Login({"user_jwt_cb": lambda: bytearray(jwt, "ascii"), "signature_cb": _signer(key)})
    if credentials.nkey_seed_file is not None:
        key = _key(_read(credentials.nkey_seed_file).strip())
        return Login({"signature_cb": _signer(key)}, public_nkey(key))
    if credentials.token:
        return Login({"token": credentials.token})
    if credentials.user:
        return Login({"user": credentials.user, "password": credentials.password})
    return Login({})


def public_nkey(key: Ed25519PrivateKey) -> str:
    """The name of a user who is known by this key: `U...`."""
    raw = bytes([_USER_PREFIX]) + key.public_key().public_bytes_raw()
    return b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCredentials(f"credentials file {str(path)!r} cannot be read: {error}") from error


def _section(text: str, name: str, path: Path) -> str:
    _, found, rest = text.partition(f"-----BEGIN {name}-----")
    if not found:
        raise BadCredentials(f"{str(path)!r} has no section {name!r}; expected a `.creds` file")
    return rest.partition("---")[0].strip()


def _key(seed: str) -> Ed25519PrivateKey:
    """The key of an nkey seed: two prefix bytes, 32 of the seed, two of its checksum."""
    try:
        raw = b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError as error:
        raise BadCredentials("the nkey seed is not base 32; expected `SU...`") from error
    body, checksum = raw[:-2], raw[-2:]
    if len(raw) != 36 or crc_hqx(body, 0).to_bytes(2, "little") != checksum:
        raise BadCredentials(
            "the nkey seed is damaged: its checksum does not fit; expected `SU...`"
        )
    return Ed25519PrivateKey.from_private_bytes(body[2:])


def _signer(key: Ed25519PrivateKey) -> Callable[[str], bytes]:
    return lambda nonce: b64encode(key.sign(nonce.encode()))
