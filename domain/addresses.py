"""Hosts that nobody may make us ask: link-local addresses and those of clouds' metadata services.

Who can ask there as this host gets its credentials. Only what is written is judged, in every form
that a system's resolver takes for an address; what a name resolves to is not known here.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_CLOSED: Final = tuple(
    ip_network(network)
    for network in ("169.254.0.0/16", "fe80::/10", "100.100.100.200/32", "fd00:ec2::254/128")
)
RULE: Final = (
    "link-local addresses and those of metadata services are never asked; "
    "name the host, or give an address of its network"
)


@lru_cache(maxsize=1024)
def is_closed(host: str) -> bool:
    """Whether a host is written as an address that must not be asked."""
    address = _address(host.strip("[]"))
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and any(address in network for network in _CLOSED)


def is_loopback(host: str) -> bool:
    """Whether a host is written as this one."""
    address = _address(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


def registry_of(image: str) -> str:
    """The host of the registry that an image names, without its port; empty for the default."""
    first, slash, _ = image.partition("/")
    if not slash or not (set(first) & {".", ":"}):
        return ""
    return first if _address(first) is not None else first.rpartition(":")[0] or first


def host_of(url: str) -> str:
    """The host of a URL; empty if it has none. Raises `ValueError`: it is no URL."""
    return urlsplit(url).hostname or ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return _old_address(host)


def _old_address(host: str) -> IPv4Address | None:
    """An address as `inet_aton` reads it: `0xa9.254.43518`, `2852039166`; None if it is none."""
    parts = host.rstrip(".").split(".")
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *firsts, last = numbers
    if len(numbers) > 4 or any(n > 255 for n in firsts) or last >= 256 ** (5 - len(numbers)):
        return None
    shifted = sum(number << 8 * (3 - place) for place, number in enumerate(firsts))
    return IPv4Address(shifted + last)


def _number(text: str) -> int:
    lowered = text.lower()
    if lowered.startswith("0x"):
        return int(lowered, 0)
    if not lowered.isdecimal() or not lowered.isascii():
        raise ValueError(text)
    return int(lowered, 8 if lowered.startswith("0") and len(lowered) > 1 else 10)
