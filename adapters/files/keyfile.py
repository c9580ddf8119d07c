"""The key of the secrets, in a file, and what is done with it: encrypting, decrypting, tokens.

Each ciphertext is bound to its resource and token, so stored rows cannot be swapped. The file is
made at the first start and never again: without the right key nothing is read or made up.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.files.durable import replace_file
from bus.secrets import SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText

KEY_FILE: Final = "secret.key"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # what AES-GCM is made for
TOKEN_DIGITS: Final = 32


class Locked(Exception):
    """There is no key, or not the right one: the message says which and what to do."""


class Sealed(NamedTuple):
    """Values as they may be stored, under their token."""

    token: str
    nonce: bytes
    ciphertext: bytes


@final
class Keys:
    """Two keys from the one in the file: what encrypts must not also make tokens.

    `tag` tells which key it is, and nothing about it.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(_derive(key, b"stateward secrets: encryption"))
        self._token_key = _derive(key, b"stateward secrets: tokens")
        self.tag = _derive(key, b"stateward secrets: which key")

    def token(self, values: Mapping[str, SecretText]) -> str:
        """The keyed digest of values; equal ones have equal tokens."""
        return self._token(_canonical(values))

    def seal(self, ref: Ref, values: Mapping[str, SecretText]) -> Sealed:
        """Encrypt values of one resource."""
        plain = _canonical(values)
        token = self._token(plain)
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(token, nonce, self._cipher.encrypt(nonce, plain, _bound_to(ref, token)))

    def unseal(self, ref: Ref, sealed: Sealed, places: str) -> Mapping[str, SecretText]:
        """Decrypt what `seal` made.

        Raises:
            SecretUnavailable: it was made with another key, of another resource, or changed;
                `places` names where both are.
        """
        token, nonce, ciphertext = sealed
        try:
            plain = self._cipher.decrypt(nonce, ciphertext, _bound_to(ref, token))
        except InvalidTag as error:
            raise SecretUnavailable(
                f"the values of {ref} {places}: one of the two was changed; apply the Secret "
                "again, or restore both from the same backup"
            ) from error
        pairs = msgspec.json.decode(plain, type=list[tuple[str, str]])
        return {name: SecretText(text) for name, text in pairs}

    def _token(self, plain: bytes) -> str:
        return hmac.new(self._token_key, plain, hashlib.sha256).hexdigest()[:TOKEN_DIGITS]


def unlock(path: Path, tag: bytes | None, store: str) -> Keys:
    """Load the key at `path`; make it if neither it nor a store exists.

    Args:
        path: of the file.
        tag: of the key that the store was written with, None of a new store.
        store: names the store in messages.

    Raises:
        Locked: the key is missing, or another one.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        if tag is not None:
            raise Locked(
                f"the key {path} is missing, so the secrets in {store} cannot be read; put the "
                "key back, or move both away and apply the Secrets again"
            ) from None
        key = os.urandom(KEY_BYTES)
        replace_file(path, key)
    keys = Keys(key)
    if len(key) != KEY_BYTES or (tag is not None and not hmac.compare_digest(tag, keys.tag)):
        raise Locked(
            f"{path} is not the key that {store} was written with; put the right key back, "
            "or move both away and apply the Secrets again"
        )
    return keys


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()


def _canonical(values: Mapping[str, SecretText]) -> bytes:
    return msgspec.json.encode(sorted((name, text.reveal()) for name, text in values.items()))


def _bound_to(ref: Ref, token: str) -> bytes:
    return f"{ref.stream} {token}".encode()
