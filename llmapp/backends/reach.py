"""The way to a provider, step by step, before anything is asked of it: its name, its port, its certificate.

For whoever wants to know where it ends. Calls do not come this way: they use kept connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable
from importlib import import_module
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

PORTS = {"http": 80, "https": 443}

#: OpenSSL's numbers for a certificate that has expired, and for one of another name or address. Else it is not trusted.
VERIFIED = {10: "expired_certificate", 62: "bad_certificate", 64: "bad_certificate"}
CERTIFICATES = {*VERIFIED.values(), "untrusted_certificate"}


class Unreachable(Exception):
    """The way ends here. `code` names the reason, `detail` is the system's own words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail[:300]


def address(url: str) -> tuple[str, int, bool]:
    """Return host, port, and whether TLS is spoken there. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(url)
    return parts.hostname, parts.port or PORTS[parts.scheme], parts.scheme == "https"


async def resolve(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses behind a name. Raises `Unreachable`."""
    looking = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = await _within(seconds, looking)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(host: str, port: int, seconds: float) -> None:
    """Open a connection, and close it again. Raises `Unreachable`."""
    _reader, writer = await _within(seconds, asyncio.open_connection(host, port))
    await _close(writer)


async def secure(host: str, port: int, seconds: float) -> str:
    """Shake hands by TLS as the client does, and return its version. Raises `Unreachable`."""
    # The context that calls use; imported here, because the module costs a web process 20 MB.
    context: ssl.SSLContext = import_module("llmapp.backends.http").ssl_context()
    shaking = asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        _reader, writer = await _within(seconds, shaking)
    except Unreachable as error:
        # It had accepted a connection before: silence, or hanging up, is its answer to the greeting.
        raise Unreachable(error.code if error.code in CERTIFICATES else "no_tls", error.detail) from None
    version = writer.get_extra_info("ssl_object").version()
    await _close(writer)
    return str(version)


async def _within(seconds: float, step: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await step
    except socket.gaierror as error:
        raise Unreachable("unknown_host", str(error.strerror or error)) from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(VERIFIED.get(error.verify_code, "untrusted_certificate"), error.verify_message) from None
    except ssl.SSLError as error:
        raise Unreachable("no_tls", str(error.reason or error)) from None
    except TimeoutError:
        raise Unreachable("no_connection_in_time", "") from None
    except ConnectionRefusedError as error:
        raise Unreachable("port_closed", str(error)) from None
    except OSError as error:
        raise Unreachable("unreachable", str(error.strerror or error)) from None


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
