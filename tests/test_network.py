"""The tests' own walls."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from django.conf import settings

from tests.conftest import KEYS, NetworkIsClosed


@pytest.mark.parametrize("address", [("203.0.113.1", 80), ("2001:db8::1", 80), ("1.1.1.1", 443)])
def test_no_test_reaches_another_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client:
        with pytest.raises(NetworkIsClosed):
            client.connect(address)
        with pytest.raises(NetworkIsClosed):
            client.connect_ex(address)


async def test_neither_does_an_event_loop() -> None:
    with pytest.raises(NetworkIsClosed):
        await asyncio.open_connection("203.0.113.1", 80)


def test_no_name_is_looked_up() -> None:
    with pytest.raises(socket.gaierror):
        socket.create_connection(("api.openai.com", 443), timeout=1)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


def test_no_key_is_at_hand() -> None:
    assert not [name for name in KEYS if name in os.environ]


def test_the_home_is_a_temporary_one() -> None:
    assert settings.LLMAPP_HOME != settings.BASE_DIR / "var"
    assert os.environ["LLMAPP_HOME"] == str(settings.LLMAPP_HOME)
