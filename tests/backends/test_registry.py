"""Which backend, and which client: one for each endpoint and version."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest

from llmapp.backends import BACKENDS, Clients, UnknownBackend, backend_class
from llmapp.backends.base import Backend, Endpoint
from llmapp.backends.scripted import Scripted
from llmapp.core.timeouts import Timeouts

ENDPOINT = Endpoint(id=1, version=1, name="p", backend="closing", timeouts=Timeouts(total=0.05))
MORE = {"closing": f"{__name__}.Closing"}


class Closing(Scripted):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("alias", BACKENDS)
def test_every_alias_leads_to_a_backend(alias: str) -> None:
    """The table has no dead path."""
    assert issubclass(backend_class(alias), Backend)


@pytest.mark.parametrize("alias, more", [("nonsense", {}), ("x", {"x": "llmapp.backends.base.Endpoint"})])
def test_what_is_no_backend(alias: str, more: dict[str, str]) -> None:
    """An unknown name and a class of another kind are refused."""
    with pytest.raises(UnknownBackend):
        backend_class(alias, more)


async def test_one_client_for_an_endpoint() -> None:
    """Equal endpoints share it, others do not."""
    clients = Clients(MORE)
    client = clients.get(ENDPOINT)
    assert clients.get(replace(ENDPOINT, name="renamed")) is client
    assert clients.get(replace(ENDPOINT, id=2)) is not client
    await clients.aclose()
    assert isinstance(client, Closing)
    assert client.closed


async def test_an_old_version_is_closed_when_nobody_can_use_it_any_more() -> None:
    """Saving a provider's settings does not cut the streams of others."""
    clients = Clients(MORE)
    old, new = clients.get(ENDPOINT), clients.get(replace(ENDPOINT, version=2))
    assert isinstance(old, Closing)
    assert isinstance(new, Closing)
    assert not old.closed
    await asyncio.sleep(0.15)
    assert (old.closed, new.closed) == (True, False)
    assert clients.get(replace(ENDPOINT, version=2)) is new
    await clients.aclose()


def test_importing_the_package_imports_no_client() -> None:
    """A web process that lists the backends pays for none of them, and even the litellm one loads litellm late."""
    code = (
        "import sys, llmapp.backends, llmapp.calls.executor, llmapp.backends.litellm\n"
        "assert 'litellm' not in sys.modules\n"
        "assert not any(name.startswith('django') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
