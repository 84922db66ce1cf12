"""One site of one web process and one worker with room for a crowd, and a provider of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.acceptance.conftest import TOML
from tests.support.provider import Provider
from tests.support.site import Site

from .crowd import Crowd, people

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.acceptance.load.settings"}

#: Room in the worker: more than any test asks for, so that nobody waits for a place.
CONCURRENCY = 320

#: An agent whose runs may be held for long.
AGENTS = """
[[agents]]
slug = "direct"
model = "direct"
timeout = 900
"""


#: A provider that is waited for: where one test process plays it and all of its clients, it is not the fastest.
TIMEOUTS = "timeouts = { connect = 60, first_token = 120, idle = 300, total = 600 }"


def configuration(provider: Provider) -> str:
    lines = (TOML.format(url=provider.url) + AGENTS).splitlines()
    return "\n".join(TIMEOUTS if line.startswith("timeouts") else line for line in lines)


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="session")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("load") / "home"
    arguments = ["--concurrency", str(CONCURRENCY)]
    with Site(
        home, configuration(provider), demo=True, web=1, workers=1, arguments=arguments, environment=SETTINGS
    ) as made:
        made.become("ada")
        yield made


@pytest.fixture(autouse=True)
def _steady(provider: Provider) -> Iterator[None]:
    """Begin each test with a provider that answers at once. What a test left held goes on."""
    provider.default = {"tokens_per_second": 0}
    provider.reset()
    provider.hold()
    yield
    provider.release()


@pytest.fixture
async def crowd(site: Site) -> AsyncIterator[Crowd]:
    async with Crowd(site) as made:
        yield made


@pytest.fixture(scope="session")
def tokens(site: Site) -> list[str]:
    return people(site, 60)
