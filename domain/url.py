"""Hosts and paths of URLs, in the one form in which they are compared and claimed. Pure.

A host is in lower case, and international names as they are asked for (`xn--bcher-kva`). A path has
no slash at its end, and nothing escaped that may stand as it is: routers take `/%61pi` for `/api`,
so both would be one URL of two owners.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_INTERNATIONAL: Final = "xn--"
_JOINERS: Final = "\u200c\u200d"  # letters of some scripts are written with them
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
        if label.startswith(_INTERNATIONAL) and not _is_international(label):
            raise ValueError(f"{label} is no international name")
    return text


def as_asked_for(host: str) -> str:
    """A host as browsers ask for it; raises `ValueError` when it is no name of one."""
    if host.isascii():
        return host.lower()
    labels = [_encoded(label).lower() for label in host.replace("\u3002", ".").split(".")]
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("it is no name of a host")
    return ".".join(labels)


def _encoded(label: str) -> str:
    """A label in small letters, as browsers since IDNA 2008 have it: `ß` is a letter, not `ss`."""
    if label.isascii():
        return label
    plain = unicodedata.normalize("NFKC", label.lower())
    if plain.isascii():
        return plain
    printed = plain.translate(dict.fromkeys(map(ord, _JOINERS)))
    if not printed.isprintable() or " " in printed:
        raise ValueError("it is no name of a host")
    return _INTERNATIONAL + plain.encode("punycode").decode("ascii")


def _is_international(label: str) -> bool:
    try:
        text = label.removeprefix(_INTERNATIONAL).encode().decode("punycode")
        return not text.isascii() and _encoded(text) == label
    except ValueError:
        return False


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
