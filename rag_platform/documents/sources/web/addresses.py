"""Which network addresses may be connected to on behalf of an address of the web.

Whoever writes a sitemap, a link or a DNS record must not lead this machine to services of its own
network. So the answer of the DNS is checked, and the checked address is the one connected to.
"""

import ipaddress
import socket
from collections.abc import Iterable

# Where clouds keep what a machine may do, outside the link-local ranges: Azure, Alibaba, Oracle,
# and Amazon's and Google's by IPv6.
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
# RFC 1918, 6598 and 4193.
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
# Ways through IPv4 that nothing needs any more: 6to4 and Teredo.
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """A host that leads to an address which must not be connected to; the message names it."""


def resolve(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses of a host, all of them checked; `private` ones only where that is told.

    One that must not be connected to spoils the answer: a name that stands for a public and an
    inner address is an attack. Raises `AddressRefused`, and OSError where the name is unknown.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    check(found, private=private)
    return found


def check(addresses: Iterable[str], *, private: bool) -> None:
    """Raises `AddressRefused` unless each may be connected to."""
    for address in addresses:
        if not is_allowed(ipaddress.ip_address(address), private=private):
            raise AddressRefused(address)


def is_allowed(address: Address, *, private: bool) -> bool:
    """Whether an address is one of the internet or, where `private` ones are allowed, of a private
    network or this machine. Link-local ones, where clouds keep credentials, never are."""
    inner = _inner(address)
    if inner in _METADATA or inner.is_multicast or inner.is_unspecified or inner.is_link_local:
        return False
    if inner.version == 6 and inner in _UNICAST:
        return inner.is_global and not any(inner in tunnel for tunnel in _TUNNELS)
    if inner.version == 4 and inner.is_global:
        return True
    return private and (inner.is_loopback or any(inner in network for network in _PRIVATE))


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return ipaddress.IPv6Address(int(address))  # without its zone
