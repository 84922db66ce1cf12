"""Where a request comes from, as a mark: enough to count by, and not enough to find anybody.

The mark is a keyed hash of the network address, of an IPv6 address its first 64 bits, which are one connection's.
The address itself is not stored. Behind proxies, `LLMAPP["TRUSTED_PROXIES"]` says how many add to
`X-Forwarded-For`: each appends whom it talked to, so what a client makes up stands to the left of that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from llmapp.conf import app_settings

SALT = "llmapp.address"
#: An IPv4 address, or an IPv6 one in brackets, as some proxies write them.
WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+")


def of_request(request: HttpRequest) -> str:
    return _mark(request.META.get("REMOTE_ADDR") or "", request.headers.get("X-Forwarded-For", ""))


def of_scope(scope: Mapping[str, Any]) -> str:
    peer, *_port = scope.get("client") or [""]
    # A header that is there twice is one with a comma.
    forwarded = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return _mark(str(peer or ""), ",".join(forwarded))


def _mark(peer: str, forwarded: str) -> str:
    text = network(client_of(peer, forwarded, app_settings.TRUSTED_PROXIES))
    return salted_hmac(SALT, text, algorithm="sha256").hexdigest()[:32]


def client_of(peer: str, forwarded: str, proxies: int) -> str:
    """Return the address that the outermost of our proxies talked to; without proxies the peer's."""
    hops = [hop.strip() for hop in forwarded.split(",")]
    # With fewer hops than proxies the request came another way, and says nothing that can be trusted.
    return hops[-proxies] if 0 < proxies <= len(hops) and hops[-proxies] else peer


def network(address: str) -> str:
    """Return what an address is counted by. What is no address, such as a socket's path, is taken as it is."""
    if (found := WITH_PORT.fullmatch(address)) is not None:
        address = found["six"] or found["four"]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
