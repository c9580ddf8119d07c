"""Certificates as Secrets hold them, made anew in each run."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from domain.route import CERTIFICATE_KEYS
from domain.secret import SecretText
from tests.support.nats_tls import Authority


def certified(host: str) -> Mapping[str, SecretText]:
    """The values of a Secret with a certificate of a host."""
    with tempfile.TemporaryDirectory() as folder:
        made = Authority(Path(folder)).certify("own", host)
        texts = (path.read_text() for path in (made.certificate, made.key))
        return {key: SecretText(text) for key, text in zip(CERTIFICATE_KEYS, texts, strict=True)}
