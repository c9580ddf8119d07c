"""Texts that only this installation can have written, for a purpose and a while: who is signed in.

A text is for one host, so an app that sees it can use it for nothing but itself.
"""

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Literal, final

import msgspec
from cryptography.fernet import Fernet, InvalidToken

type Purpose = Literal["cookie", "ticket", "return"]

SECONDS: Final[dict[Purpose, int]] = {"cookie": 12 * 3600, "ticket": 60, "return": 900}
"""For how long a text is good: a session, the way back from the login, filling in the form."""


class _Signed(msgspec.Struct, array_like=True):
    purpose: Purpose
    host: str
    text: str


@final
class Signing:
    """Signs with one key.

    Args:
        key: at least 32 bytes that nobody else has.
        now: seconds since the epoch.
    """

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(sha256(key).digest()))
        self._now = now

    def sign(self, purpose: Purpose, host: str, text: str) -> str:
        body = msgspec.json.encode(_Signed(purpose, host, text))
        return self._fernet.encrypt_at_time(body, int(self._now())).decode()

    def read(self, purpose: Purpose, host: str, signed: str) -> str | None:
        """What was signed for this purpose and host; None if it was not, or too long ago."""
        try:
            body = self._fernet.decrypt_at_time(signed.encode(), SECONDS[purpose], int(self._now()))
        except InvalidToken:
            return None
        found = msgspec.json.decode(body, type=_Signed)
        return found.text if (found.purpose, found.host) == (purpose, host) else None
