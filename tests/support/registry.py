"""A registry of images on this machine: Debian's, open, behind a password, or behind tokens."""

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.support.caddies import free_port
from tests.support.requirements import find_program

USER: Final = "alice"
PASSWORD: Final = "wonder"
# of the password, by bcrypt, the only kind that it takes
_HTPASSWD: Final = f"{USER}:$2b$04$99OSmvWLxJLXnxGYcl4fvemaPvGJtZ57QCElKGSGe0C92NvcxPYLS\n"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_PATIENCE: Final = 30.0  # seconds


class Registry:
    """`host` is what images of it begin with. Whoever pushes shows `headers`."""

    def __init__(self, host: str, headers: Mapping[str, str]) -> None:
        self.host = host
        self._http = httpx.Client(base_url=f"http://{host}/v2", headers=headers)

    def push(self, name: str, content: str) -> str:
        """Push an image with nothing in it but its settings, and return its digest."""
        repository, _, tag = name.partition(":")
        config = json.dumps({"architecture": "amd64", "os": "linux", "author": content}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [],
        }
        begun = self._http.post(f"/{repository}/blobs/uploads/")
        there = httpx.URL(begun.headers["Location"])
        there = there.copy_merge_params({"digest": _digest(config)})
        done = self._http.put(there, content=config)
        body = json.dumps(manifest).encode()
        stored = self._http.put(
            f"/{repository}/manifests/{tag}", content=body, headers={"Content-Type": _MANIFEST}
        )
        assert (done.status_code, stored.status_code) == (201, 201), stored.text
        return _digest(body)

    def answers(self) -> bool:
        try:
            return self._http.get("/").status_code in {200, 401}
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()


@asynccontextmanager
async def registry(folder: Path) -> AsyncIterator[Registry]:
    """One that anybody may read."""
    async with _serving(folder, {}, {}) as served:
        yield served


@asynccontextmanager
async def registry_with_password(folder: Path) -> AsyncIterator[Registry]:
    known = folder / "known"
    known.write_text(_HTPASSWD)
    auth = {"htpasswd": {"realm": "tests", "path": str(known)}}
    async with _serving(folder, auth, _basic()) as served:
        yield served


@asynccontextmanager
async def registry_with_tokens(folder: Path) -> AsyncIterator[Registry]:
    """One that wants tokens of a server beside it, which wants the password."""
    key, certificate = ec.generate_private_key(ec.SECP256R1()), folder / "issuer.pem"
    made = _certificate(key)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    issuer = _Issuer(key, made)
    async with issuer.serving() as realm:
        told = {"realm": realm, "service": "tests", "issuer": "tests"}
        auth = {"token": {**told, "rootcertbundle": str(certificate)}}
        shown = {"Authorization": f"Bearer {issuer.token('shop/web', ['pull', 'push'])}"}
        async with _serving(folder, auth, shown) as served:
            yield served


@asynccontextmanager
async def _serving(
    folder: Path, auth: Mapping[str, Any], headers: Mapping[str, str]
) -> AsyncIterator[Registry]:
    host = f"127.0.0.1:{free_port()}"
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": host, "secret": "of tests"},
        **({"auth": auth} if auth else {}),
    }
    path = folder / "registry.yaml"
    path.write_text(json.dumps(config))  # which is YAML, too
    program = find_program("docker-registry")
    assert program is not None, "its requirement was asked for"
    process = subprocess.Popen(
        [str(program), "serve", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    served = Registry(host, headers)
    try:
        until = time.monotonic() + _PATIENCE
        while not served.answers():
            assert process.poll() is None, "the registry ended at once"
            assert time.monotonic() < until, "the registry does not answer"
            time.sleep(0.02)
        yield served
    finally:
        served.close()
        process.terminate()
        process.wait()


class _Issuer:
    """Who gives tokens to whoever knows the password."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._chain = [_plain(certificate.public_bytes(serialization.Encoding.DER))]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/token", self._give)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}/token"
        finally:
            await runner.cleanup()

    async def _give(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != _basic()["Authorization"]:
            return web.Response(status=401)
        _, repository, actions = request.query["scope"].split(":")
        assert request.query["service"] == "tests"
        return web.json_response({"token": self.token(repository, actions.split(","))})

    def token(self, repository: str, actions: list[str]) -> str:
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        claims = {
            **dict.fromkeys(("iss", "aud", "sub", "jti"), "tests"),
            "nbf": now - 60,
            "exp": now + 600,
            "access": [{"type": "repository", "name": repository, "actions": actions}],
        }
        signed = ".".join(_web(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_web(r.to_bytes(32) + s.to_bytes(32))}"


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)  # of a certificate that has to be valid for the program's own clock
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _basic() -> dict[str, str]:
    return {"Authorization": f"Basic {_plain(f'{USER}:{PASSWORD}'.encode())}"}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _plain(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _web(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
