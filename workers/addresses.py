"""Which addresses an agent of the kind `http` may connect to: those of the internet, and those that it lists.

A name says nothing: whoever owns it may point it to this machine, to its network, or to what hands out the credentials
of a cloud. So the address is checked, and the caller connects to the very address that was (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from orchestrator import Fatal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# So strict that no two programs could disagree on which part is the host.
_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[!-\"$-\[\]-~]*)?")
_PORTS = {"http": 80, "https": 443}
_NAT64 = ip_network("64:ff9b::/96")
#: What hands out the credentials of a cloud's machine and is not link-local: AWS and Google over IPv6, Azure, Alibaba.
_CLOUDS = frozenset(map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200")))
_EXAMPLES = ip_network("3fff::/20")  # RFC 9637; Python knows it from 3.13 on
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@dataclass(frozen=True, slots=True)
class Url:
    """An address of the web. `host` is in small letters and without the brackets around an address of IPv6."""

    text: str
    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        found = _URL.fullmatch(text)
        if not found:
            raise ValueError("must be http(s)://HOST[:PORT]/PATH in ASCII, without a user name or a fragment")
        scheme, host, port = found[1], found[2].lower().strip("[]"), int(found[3] or _PORTS[found[1]])
        if (is_numeric(host) or ":" in host) and as_address(host) is None:
            raise ValueError(f"{host} is no address; write it as 10.1.2.3 or [fd00::1]")
        if not 0 < port < 65536:
            raise ValueError(f"there is no port {port}")
        return cls(text, scheme, host, port)

    @property
    def place(self) -> str:
        """For messages: without the query, which may hold what is nobody's business."""
        return self.text.partition("?")[0]


def host_or_network(text: str) -> str:
    """An entry of `hosts`: a name, an address or a network, in small letters. Raises ValueError."""
    host = text.lower()
    if _network(host) is None and (not _NAME.fullmatch(host) or is_numeric(host)):
        raise ValueError(f"{text!r} is no name, no address (10.1.2.3) and no network (10.0.0.0/8)")
    return host


def is_numeric(host: str) -> bool:
    """Whether a resolver reads it as an address: also 2130706433, 0x7f.1 and 0177.0.0.1, which are all 127.0.0.1."""
    last = host.rpartition(".")[2]
    return last.isdecimal() or last.startswith("0x")


def as_address(host: str) -> Address | None:
    """The address that is written there, the way everybody writes it; None: it is something else."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def listed(hosts: Iterable[str]) -> tuple[Network, ...]:
    """The networks among `hosts`. `localhost` is a name that can mean nothing else."""
    found = [network for host in hosts if (network := _network(host)) is not None]
    return (*found, *(_LOOPBACK if "localhost" in hosts else ()))


async def resolved(url: Url, networks: Collection[Network]) -> list[Address]:
    """The addresses of its host that may be asked, in the order of the resolver.

    Args:
        networks: what may be asked besides the internet. Without TLS it is all that may.
    Raises:
        Fatal: none of them may. OSError: nobody knows the host.
    """
    answers = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys(ip_address(answer[4][0]) for answer in answers))
    allowed = [address for address in found if _may_be_asked(address, networks, url.scheme == "https")]
    if not allowed:
        raise Fatal(f"{url.place} is at {found[0]}, {_why_not(found[0])}")
    return allowed


def _may_be_asked(address: Address, networks: Iterable[Network], tls: bool) -> bool:
    meant = _meant(address)
    if _is_never(meant):
        return False
    return (tls and _is_on_the_internet(meant)) or any(meant in network for network in networks)


def _is_never(address: Address) -> bool:
    """Link-local addresses, and some others, answer with the credentials of a cloud's machine; the rest is nobody's."""
    nobodys = address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_loopback)
    return address.is_link_local or address in _CLOUDS or nobodys


def _is_on_the_internet(address: Address) -> bool:
    old = isinstance(address, IPv6Address) and address.is_site_local  # fec0::/10
    return address.is_global and not old and address not in _EXAMPLES


def _why_not(address: Address) -> str:
    meant = _meant(address)
    if _is_never(meant):
        return "which is never asked"
    if _is_on_the_internet(meant):
        return "which is asked by https:// only, unless `hosts` lists that address"
    return "which is not on the internet: list that address, or its network, in `hosts` if it is meant"


def _meant(address: Address) -> Address:
    """The IPv4 address that is packed into one of IPv6, or the address."""
    if isinstance(address, IPv4Address):
        return address
    inside = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return address.ipv4_mapped or address.sixtofour or inside or address


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
