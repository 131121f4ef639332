"""Which network addresses are connected to."""

import ipaddress
import socket
from typing import Any

import pytest

from rag_platform.documents.sources.web.addresses import AddressRefused, is_allowed, resolve

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "64:ff9b:1::a00:1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), private=False)
    assert is_allowed(ipaddress.ip_address(address), private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_only_where_that_is_told(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), private=False)
    assert is_allowed(ipaddress.ip_address(address), private=True)


@pytest.mark.parametrize("address", NEVER)
def test_never(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), private=False)
    assert not is_allowed(ipaddress.ip_address(address), private=True)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"])
def test_names_of_this_machine(host: str) -> None:
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1|::1"):
        resolve(host, 80, private=False)
    assert set(resolve(host, 80, private=True)) <= {"127.0.0.1", "::1"}


def test_one_bad_answer_spoils_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
            for address in ("93.184.216.34", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        resolve("docs.example", 80, private=False)
    assert resolve("docs.example", 80, private=True) == ["93.184.216.34", "10.0.0.1"]
