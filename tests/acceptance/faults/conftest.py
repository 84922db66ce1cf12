"""A site without workers, for tests that start them themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import TOML
from tests.support.loopback import closed_port
from tests.support.programs import BIN, Programs
from tests.support.provider import Provider

from .workers import WithoutWorkers


@pytest.fixture(scope="module")
def bare_site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A site with one web process."""
    web = [str(BIN / "daphne"), "-v", "0", "-b", "127.0.0.1", "-p", str(closed_port()), "project.asgi:application"]
    home = tmp_path_factory.mktemp("bare") / "home"
    with WithoutWorkers(home, TOML.format(url=provider.url), {"web": web}) as made:
        yield made
