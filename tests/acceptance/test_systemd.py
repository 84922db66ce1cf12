"""The units of `deploy/`: systemd takes them, and their commands do what they promise when one is restarted."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llmapp.conf import AppSettings
from llmapp.management.serve import CONCURRENCY
from llmapp.runs.queue import QUEUE
from tests.acceptance.conftest import TOML
from tests.acceptance.test_runs import check
from tests.support.loopback import closed_port
from tests.support.programs import BIN, Programs
from tests.support.provider import Provider, answer_for
from tests.support.proxies import DEPLOY
from tests.support.site import sse, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

UNITS = {"llmapp-web": "8000", "llmapp-worker": "a"}


def unit(name: str) -> str:
    return (DEPLOY / f"{name}@.service").read_text()


def value(name: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", unit(name), re.M)
    return str(found)


def command(name: str, instance: str) -> list[str]:
    """Return what systemd would execute; of the paths, ours stand for the example's."""
    program, *arguments = shlex.split(value(name, "ExecStart"))
    assert program.startswith("/srv/llmapp/.venv/bin/")
    return [str(BIN / Path(program).name), *(word.replace("%%", "%").replace("%i", instance) for word in arguments)]


def environment_file() -> dict[str, str]:
    lines = (DEPLOY / "llmapp.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# --- what systemd thinks of them ------------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_it(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    path = tmp_path / f"{name}@{UNITS[name]}.service"
    path.write_text(unit(name).replace("/srv/llmapp/.venv/bin", str(BIN)))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    about_it = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, about_it) == (0, [])


def test_a_worker_is_killed_only_long_after_its_runs_were_handed_back() -> None:
    assert int(value("llmapp-worker", "TimeoutStopSec")) >= AppSettings.SHUTDOWN_SECONDS + 20
    assert (value("llmapp-worker", "KillMode"), value("llmapp-worker", "KillSignal")) == ("mixed", "SIGTERM")


def test_the_commands_are_those_of_serve() -> None:
    """But for the names, and for what only a proxy needs."""
    ours = " ".join(command("llmapp-worker", "a"))
    assert f"-Q {QUEUE} -P threads -c {CONCURRENCY} " in ours
    for option in ("--without-gossip", "--without-mingle", "--without-heartbeat"):
        assert option in ours
    assert "--application-close-timeout 5" in " ".join(command("llmapp-web", "8000"))


def test_what_is_collected_is_where_the_proxies_look_for_it() -> None:
    """And not in the folder of the site's own files, which Django refuses."""
    root = Path(environment_file()["LLMAPP_STATIC_ROOT"])
    assert f"root {root.parent};" in (DEPLOY / "nginx.conf").read_text()
    assert f"{{$LLMAPP_STATIC_PARENT:{root.parent}}}" in (DEPLOY / "Caddyfile").read_text()
    assert root.name == "static"
    assert not root.is_relative_to("/srv/llmapp")


# --- what they do ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Two of each, with the example's environment: only the places are others."""
    folder = tmp_path_factory.mktemp("units")
    places = {"LLMAPP_HOME": "", "DATABASE_URL": "", "REDIS_URL": ""}
    given = {name: text for name, text in environment_file().items() if name not in places}
    given["LLMAPP_STATIC_ROOT"] = str(folder / "static")
    commands = {
        "web-1": command("llmapp-web", str(closed_port())),
        "web-2": command("llmapp-web", str(closed_port())),
        "worker-a": command("llmapp-worker", "a"),
        "worker-b": command("llmapp-worker", "b"),
    }
    with Programs(folder / "home", TOML.format(url=provider.url), commands, given) as made:
        yield made


def test_a_restart_of_everything_loses_nothing(site: Programs, provider: Provider) -> None:
    """An upgrade in the middle of an answer: the workers one after the other, then the web processes."""
    site.become(f"user-{uuid.uuid4().hex[:8]}")
    provider.default = {"tokens_per_second": 8}
    run = site.submit("openai_compatible", "Upgrade me")
    time.sleep(1)
    for name in ("worker-a", "worker-b"):
        assert site.programs[name].stop() < float(value("llmapp-worker", "TimeoutStopSec"))
        site.programs[name].start()
        time.sleep(2)
    seen, broke = follow_until_it_breaks(site, run)
    assert broke, "the web process was to be stopped in mid-answer"
    # The browser comes back to the other one, and says what it has.
    headers = {"Last-Event-ID": str(seen[-1][0])}
    site.http.base_url = httpx.URL(site.urls()[1])
    with site.http.stream("GET", f"/api/runs/{run}/events", headers=headers, timeout=60) as answer:
        seen += list(sse(answer))
    assert seen == site.events(run)
    assert [seq for seq, _ in seen] == list(range(1, len(seen) + 1))
    check([event for _, event in seen])
    assert text_of(event for _, event in seen) == answer_for("Upgrade me")
    assert site.run(run)["status"] == "completed"


def follow_until_it_breaks(site: Programs, run: str) -> tuple[list[tuple[int, dict[str, object]]], bool]:
    """Read from the first web process, and stop it when some of the answer is there."""
    seen: list[tuple[int, dict[str, object]]] = []
    try:
        with site.http.stream("GET", f"/api/runs/{run}/events", timeout=60) as answer:
            for item in sse(answer):
                seen.append(item)
                if len(seen) == 12:
                    assert site.programs["web-1"].stop() < float(value("llmapp-web", "TimeoutStopSec"))
    except httpx.TransportError:
        return seen, True
    return seen, seen[-1][1]["type"] not in ("RUN_FINISHED", "RUN_ERROR")


def test_nothing_was_said_but_what_belongs_there(site: Programs) -> None:
    assert "Traceback" not in site.said(), site.said()
