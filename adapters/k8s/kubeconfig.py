"""A kubeconfig, looked at before anybody goes by it: what is missing or broken in it is named.

The SDK reads it again, and says less: it goes on without a user that is not there, and takes no
notice of whom the user is to act as.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Never
from urllib.parse import urlsplit

import yaml
from cryptography import x509

from reconcilers.ports import EngineError

_PROGRAMS: Final = ("exec", "auth-provider")
_ACTS_AS: Final = ("as", "as-uid", "as-groups", "as-user-extra")

type Section = Mapping[str, Any]


class AccessRefused(EngineError):
    """There is no way to the cluster as configured; the configuration has to change."""


class Chosen(NamedTuple):
    """What a context leads to."""

    cluster: Section
    user: Section

    @property
    def program(self) -> tuple[str, str] | None:
        """The kind and the name of what makes its credentials, if anything does."""
        kind = next((one for one in _PROGRAMS if one in self.user), None)
        if kind is None:
            return None
        told = self.user[kind] or {}
        return kind, str(told.get("command") or told.get("name"))


def choose(path: Path, context: str | None) -> Chosen:
    """The cluster and the user of a context, or of the current one.

    Raises:
        AccessRefused: the file cannot be read, or has no such context, cluster or user.
    """
    source = f"kubeconfig {str(path)!r}"
    config = _read(path, source)
    try:
        contexts = _named(config, "contexts", "context")
        clusters = _named(config, "clusters", "cluster")
        users = _named(config, "users", "user")
    except (AttributeError, KeyError, TypeError) as error:
        raise AccessRefused(
            f"{source} is no kubeconfig: its contexts, clusters and users are lists of names with "
            "what they mean; `kubectl config view --raw --flatten` writes one"
        ) from error
    asked = context or config.get("current-context")
    has = f"it has {', '.join(sorted(contexts)) or 'none'}"
    if not asked:
        raise AccessRefused(f"{source} says no current context; name one as k8s.context: {has}")
    if asked not in contexts:
        raise AccessRefused(f"{source} has no context {asked!r}; {has}")
    found = contexts[asked]
    cluster, user = found.get("cluster"), found.get("user")
    where = f"{source} (context {asked!r})"
    if cluster not in clusters:
        raise AccessRefused(f"{where} is of a cluster {cluster!r} that is not in it; add it there")
    if user and user not in users:
        raise AccessRefused(f"{where} is of a user {user!r} that is not in it; add it there")
    return Chosen(clusters[cluster], users[user] if user else {})


def check(chosen: Chosen, source: str, beside: Path) -> None:
    """Refuse what cannot work.

    Args:
        chosen: what a context leads to.
        source: where that stands, in words.
        beside: the folder that files are named from.

    Raises:
        AccessRefused: says which field, and what to do.
    """
    cluster, user = chosen
    _check_address(str(cluster.get("server") or ""), source)
    proxy = cluster.get("proxy-url")
    if proxy and urlsplit(str(proxy)).scheme not in {"http", "https"}:
        raise AccessRefused(f"{source} has the proxy-url {proxy!r}; only http and https are known")
    acts = next((name for name in _ACTS_AS if user.get(name)), None)
    if acts is not None:
        raise AccessRefused(
            f"{source} is of a user that acts {acts} {user[acts]!r}, which is not supported: it "
            "would act as itself; give this target an account of its own"
        )
    authority = _content(cluster, "certificate-authority", source, beside)
    if authority is not None:
        _check_authority(authority, f"certificate-authority of {source}")
    _content(user, "tokenFile", source, beside)
    _check_pair(user, source, beside)


def _read(path: Path, source: str) -> Section:
    if path.is_dir():
        raise AccessRefused(f"{source} is a folder; name the file in it")
    if not path.exists():
        raise AccessRefused(f"there is no {source}; name one that exists on this host")
    try:
        config = yaml.safe_load(path.read_bytes())
    except OSError as error:
        remedy = "let the account that Stateward runs as read it"
        raise AccessRefused(f"{source} cannot be read: {error.strerror}; {remedy}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        why = getattr(error, "problem", None) or "it is no text"
        raise AccessRefused(f"{source} is no YAML{at}: {why}; correct it there") from error
    if not isinstance(config, dict):
        what = "is empty" if config is None else "is no kubeconfig: it is no map of fields"
        raise AccessRefused(
            f"{source} {what}; `kubectl config view --raw --minify --flatten` writes one"
        )
    return config


def _named(config: Section, plural: str, singular: str) -> dict[str, Section]:
    return {one["name"]: dict(one.get(singular) or {}) for one in config.get(plural) or ()}


def _check_address(address: str, source: str) -> None:
    if urlsplit(address).scheme not in {"http", "https"} or not urlsplit(address).hostname:
        raise AccessRefused(
            f"{source} has the server {address!r}, which is no URL; write https://HOST:PORT"
        )


def _content(section: Section, field: str, source: str, beside: Path) -> bytes | None:
    """What a field holds, or the file that it names."""
    data = section.get(f"{field}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise AccessRefused(
                f"{field}-data of {source} is no base64: {error}; copy it whole, on one line"
            ) from error
    name = section.get(field)
    if not name:
        return None
    try:
        return (beside / str(name)).read_bytes()
    except OSError as error:
        raise AccessRefused(
            f"{source} names the {field} {str(name)!r}, which cannot be read: {error.strerror}; "
            "bring it to this host, or `kubectl config view --raw --flatten` puts it in"
        ) from error


def _check_authority(content: bytes, what: str) -> None:
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise AccessRefused(f"{what} is no certificate in PEM; copy it again, whole") from error


def _check_pair(user: Section, source: str, beside: Path) -> None:
    certificate = _content(user, "client-certificate", source, beside)
    key = _content(user, "client-key", source, beside)
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        lacks = "client-certificate" if certificate is None else "client-key"
        _refuse_pair(source, f"it has no {lacks} beside the other")
    try:
        x509.load_pem_x509_certificate(certificate)
    except ValueError:
        _refuse_pair(source, "client-certificate is none in PEM")
    if b"PRIVATE KEY-----" not in key:
        _refuse_pair(source, "client-key is none in PEM")


def _refuse_pair(source: str, why: str) -> Never:
    raise AccessRefused(f"the user of {source} is not known by its certificate: {why}; copy both")
