"""Where a server listens, and where it refuses to."""

import socket

import pytest

from rag_platform.listening import CannotServe, address_of, is_loopback, listen

TOKEN = "a-token-of-many-letters"


@pytest.mark.parametrize(
    ("host", "token", "told"),
    [
        ("0.0.0.0", None, "Set a token in THE_TOKEN"),
        ("::", None, "THE_TOKEN"),
        ("192.0.2.1", None, "THE_TOKEN"),
        ("127.0.0.1", "short", "THE_TOKEN: has fewer than 16"),
        ("0.0.0.0", "fifteen-letters", "longer"),
        ("example.org", TOKEN, "IP address"),
        ("192.0.2.1", TOKEN, "--port"),  # no address of this machine
    ],
)
def test_it_is_not_served_to_everybody(host: str, token: str | None, told: str) -> None:
    with pytest.raises(CannotServe, match=told):
        listen(host, 0, variable="THE_TOKEN", token=token)


@pytest.mark.parametrize(
    ("host", "token", "guarded"),
    [("127.0.0.1", None, False), ("0.0.0.0", TOKEN, False), ("0.0.0.0", None, True)],
)
def test_it_is_served_to_this_machine_or_to_those_who_are_told_apart(
    host: str, token: str | None, guarded: bool
) -> None:
    def at(port: int) -> socket.socket:
        return listen(host, port, variable="THE_TOKEN", token=token, guarded=guarded)

    with at(0) as listener:
        assert listener.getsockname()[0] == host
        port = listener.getsockname()[1]
        assert address_of(listener) == f"{host}:{port}"
        with pytest.raises(CannotServe, match="--port"):
            at(port)


def test_an_address_of_the_sixth_version_stands_in_brackets() -> None:
    try:
        listener = listen("::1", 0, variable="THE_TOKEN")
    except CannotServe:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address_of(listener) == f"[::1]:{listener.getsockname()[1]}"


def test_what_only_this_machine_reaches() -> None:
    assert [*map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1"))] == [True] * 3
    assert [*map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "fe80::1"))] == [False] * 4
