"""Hosts and paths of URLs, in the one form in which they are compared and claimed. Pure.

A host is in lower case, and international names as they are asked for (`xn--bcher-kva`). A path has
no slash at its end, and nothing escaped that may stand as it is: routers take `/%61pi` for `/api`,
so both would be one URL of two owners.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import idna

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_INTERNATIONAL: Final = "xn--"
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNESCAPED: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]")


@lru_cache(maxsize=16_384)
def host_name(text: str) -> str:
    """Return a host; raises `ValueError` with the rule that it does not follow."""
    if not text.isascii():
        raise ValueError(f"write it as it is asked for: {as_asked_for(text)}")
    if text != text.lower():
        raise ValueError(f"hosts are in lower case: {text.lower()}")
    if text.startswith(".") or text.endswith("."):
        raise ValueError("a host neither begins nor ends with a dot")
    if len(text) > 253:
        raise ValueError("a host has at most 253 characters")
    for label in text.split("."):
        if _LABEL.fullmatch(label) is None:
            raise ValueError(
                "a host is labels of 1 to 63 letters, digits, - and _, parted by dots, "
                "without a wildcard, a scheme, a path or a port"
            )
    return text


def as_asked_for(host: str) -> str:
    """A host as browsers ask for it; raises `ValueError` when it is no name of one."""
    if host.isascii():
        return host.lower()
    try:
        labels = idna.uts46_remap(host, std3_rules=False).split(".")
        labels = [one if one.isascii() else idna.alabel(one).decode() for one in labels]
    except idna.IDNAError as error:
        raise ValueError(f"it is no name of a host: {error}") from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("it is no name of a host")
    return ".".join(labels)


def check_international(host: str) -> None:
    """Refuse a host with a label that is none by IDNA 2008; raises `ValueError` with the rule.

    As with `check_claimable`, only who sets a route is asked for this.
    """
    for label in host.split("."):
        if not label.startswith(_INTERNATIONAL):
            continue
        try:
            idna.ulabel(label)
        except idna.IDNAError as error:
            raise ValueError(f"{label} is no international name: {error}") from None


@lru_cache(maxsize=16_384)
def path_prefix(text: str) -> str:
    """Return a path without a slash at its end, and with escapes in upper case.

    Raises:
        ValueError: with the rule that it does not follow.
    """
    if not text.startswith("/"):
        raise ValueError("a path begins with /")
    if "?" in text or "#" in text:
        raise ValueError("a path has no query and no fragment")
    trimmed = text.removesuffix("/")
    if not trimmed:
        return "/"
    for segment in trimmed[1:].split("/"):
        if segment in ("", ".", ".."):
            raise ValueError("a path has no empty part, and none that is . or ..")
        if _SEGMENT.fullmatch(segment) is None:
            raise ValueError("a path is written escaped, such as /a%20b")
    return _ESCAPE.sub(lambda escape: escape[0].upper(), trimmed)


def plain(path: str) -> str:
    """A path without needless escapes: what may stand as it is does."""
    return _ESCAPE.sub(_plain, path)


def _plain(escape: re.Match[str]) -> str:
    meant = chr(int(escape[0][1:], 16))
    return meant if _UNESCAPED.fullmatch(meant) else escape[0].upper()


def check_claimable(path: str) -> None:
    """Refuse a path that routers take for another one; raises `ValueError` with the rule.

    Only who sets a route is asked for this: what was stored stays readable.
    """
    if path.endswith("/*"):
        above = path.removesuffix("/*") or "/"
        raise ValueError(f"a path covers all that is below it, so write it as {above}")
    if (other := plain(path)) != path:
        raise ValueError(f"a path escapes nothing that may stand as it is: {path_prefix(other)}")
    try:
        meant = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("what a path escapes is UTF-8, such as /%C3%BC") from None
    if "%2F" in path or not meant.isprintable():
        raise ValueError("a path escapes no slash and no control character: routers differ in them")
