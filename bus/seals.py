"""Seals: a hash chain over the records of the log, one link per group commit.

A link covers the digests of its group's records, and a record's digest covers the digest of its
data. So whoever keeps the newest seal can tell whether anything below was altered, while the data
of one record may still be erased: its digest stays.
"""

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct

DIGEST_BYTES = 32

_NUMBERS = Struct(">QQII")  # position, version, and the lengths that keep the texts apart


def data_digest(data: bytes) -> bytes:
    return sha256(data).digest()


def record_digest(
    position: int, stream: str, version: int, type_: str, digest_of_data: bytes
) -> bytes:
    stream_bytes, type_bytes = stream.encode(), type_.encode()
    numbers = _NUMBERS.pack(position, version, len(stream_bytes), len(type_bytes))
    return sha256(b"".join((numbers, stream_bytes, type_bytes, digest_of_data))).digest()


def next_seal(previous: bytes, digests: Iterable[bytes]) -> bytes:
    """The seal of a group whose records have these digests, in order."""
    return sha256(b"".join((previous, *digests))).digest()
