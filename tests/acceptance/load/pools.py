"""A site without `serve`: a web process and workers started by hand, in whatever pool."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import TOML
from tests.support.loopback import closed_port
from tests.support.programs import BIN, Program, Programs
from tests.support.provider import Provider
from tests.support.site import Site

from .conftest import AGENTS, SETTINGS


def by_hand(home: Path, provider: Provider, workers: dict[str, list[str]]) -> Programs:
    """`workers`: a name for each, and its pool: ["-P", "prefork", "-c", "4"]."""
    web = [str(BIN / "daphne"), "-b", "127.0.0.1", "-p", str(closed_port()), "-v", "0", "project.asgi:application"]
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    celery = [str(BIN / "celery"), "-A", "project", "worker", *alone]
    commands = {
        "web": web,
        # A name that nobody else has, on a broker that others use too.
        **{name: [*celery, "-n", f"{name}-{home.parent.name}@%h", *pool] for name, pool in workers.items()},
    }
    return Programs(home, TOML.format(url=provider.url) + AGENTS, commands, dict(SETTINGS))


def start_and_wait(worker: Program) -> None:
    """Start a worker again, and wait until it is there."""
    said = len(worker.lines)
    worker.start()
    try:
        Site.wait_for(lambda: any("is there" in line for line in worker.lines[said:]), 40)
    except AssertionError:
        raise AssertionError("\n".join(worker.lines[-40:])) from None
