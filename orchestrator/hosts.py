"""What an address or the `Host` of a request names: this machine, an address, or somebody's name."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})


def host_of(netloc: str) -> str:
    """The host of `HOST` or `HOST:PORT` in small letters; empty: it is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def netloc_of(url: str) -> str:
    """`HOST` or `HOST:PORT` of a URL in small letters; empty: there is none."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether it names this machine wherever it is looked up, so that no foreign name server can point it here."""
    return host in _LOCAL_NAMES or host.endswith(".localhost") or is_loopback(host)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    return address == "localhost" or _matches(address, lambda ip: ip.is_loopback)


def is_number(host: str) -> bool:
    """Whether a host is written as an address, which no foreign name server can point elsewhere."""
    return _matches(host, lambda _: True)


def _matches(text: str, test: Callable[[IPv4Address | IPv6Address], bool]) -> bool:
    try:
        return test(ip_address(text))
    except ValueError:
        return False
