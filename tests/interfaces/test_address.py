"""Where a request comes from: what counts as one network, and that nobody can make another one up."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from llmapp.api import address

#: (the peer, X-Forwarded-For, proxies of ours, who it is)
CLIENTS = [
    ("10.0.0.1", "", 0, "10.0.0.1"),
    ("10.0.0.1", "203.0.113.9", 0, "10.0.0.1"),  # nobody told us of a proxy
    ("10.0.0.1", "203.0.113.9", 1, "203.0.113.9"),
    ("10.0.0.1", "1.2.3.4, 203.0.113.9", 1, "203.0.113.9"),  # the client made one up
    ("10.0.0.1", "1.2.3.4,5.6.7.8 ,203.0.113.9", 1, "203.0.113.9"),
    ("10.0.0.1", "203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
    ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
    ("10.0.0.1", "1.2.3.4", 2, "10.0.0.1"),  # it came past one of the two
    ("10.0.0.1", "", 1, "10.0.0.1"),
    ("10.0.0.1", "203.0.113.9,", 1, "10.0.0.1"),
]


@pytest.mark.parametrize("peer, forwarded, proxies, client", CLIENTS)
def test_the_client_is_whom_our_outermost_proxy_talked_to(peer: str, forwarded: str, proxies: int, client: str) -> None:
    assert address.client_of(peer, forwarded, proxies) == client


NETWORKS = [
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9:4711", "203.0.113.9"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
    ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
    ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("", ""),
    ("unknown", "unknown"),
]


@pytest.mark.parametrize("text, network", NETWORKS)
def test_what_counts_as_one_network(text: str, network: str) -> None:
    assert address.network(text) == network


def scope(peer: Any, *forwarded: str) -> dict[str, Any]:
    return {"client": peer, "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded]}


def request(peer: str, forwarded: str) -> Any:
    return RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})


@pytest.mark.parametrize("proxies", [0, 1])
def test_a_socket_and_a_request_from_one_place_have_one_mark(settings: Any, proxies: int) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "TRUSTED_PROXIES": proxies}
    mark = address.of_request(request("10.0.0.1", "1.2.3.4, 203.0.113.9"))
    assert mark == address.of_scope(scope(["10.0.0.1", 5000], "1.2.3.4", "203.0.113.9"))
    assert mark != address.of_scope(scope(["10.0.0.2", 5000], "203.0.113.8"))


@pytest.mark.parametrize("forged", ["203.0.113.1", "203.0.113.2, 203.0.113.3", "nonsense"])
@pytest.mark.parametrize("proxies", [0, 1])
def test_a_header_of_the_client_s_changes_nothing(settings: Any, proxies: int, forged: str) -> None:
    settings.LLMAPP = {**settings.LLMAPP, "TRUSTED_PROXIES": proxies}
    # What the proxy appends to it.
    honest, added = ("203.0.113.9", ", 203.0.113.9") if proxies else ("", "")
    assert address.of_request(request("10.0.0.1", honest)) == address.of_request(request("10.0.0.1", forged + added))


def test_the_mark_says_nothing_and_depends_on_the_secret_key(settings: Any) -> None:
    mark = address.of_request(request("203.0.113.9", ""))
    assert len(mark) == 32
    assert "203" not in mark or "113" not in mark
    settings.SECRET_KEY = "another one"
    assert address.of_request(request("203.0.113.9", "")) != mark


def test_a_server_that_knows_no_peer_gives_one_mark_to_all() -> None:
    assert address.of_scope({"headers": []}) == address.of_scope(scope(None)) == address.of_scope(scope(["", None]))
