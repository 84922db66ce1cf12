"""A stream that fails in the middle is cut by Daphne: nobody waits for ever or takes the half for the whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.loopback import closed_port
from tests.support.programs import BIN, Program
from tests.support.site import Site, environment_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    port = closed_port()
    command = [str(BIN / "daphne"), "-b", "127.0.0.1", "-p", str(port), "tests.acceptance.failing:application"]
    program = Program(command, environment_of(tmp_path / "home", {}))
    program.start()
    url = f"http://127.0.0.1:{port}"
    try:
        Site.wait_for(lambda: _lives(url), 40)
        yield url
    finally:
        program.stop()


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_stream_that_fails_is_cut_and_so_is_the_next_one(web: str) -> None:
    """The second shows that what looks after the connections goes on."""
    for _ in range(2):
        started = time.monotonic()
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("GET", f"{web}/fail", timeout=20, trust_env=False) as answer,
        ):
            assert b"".join(answer.iter_raw()) == b"never whole"
        assert time.monotonic() - started < 10
    assert _lives(web)
