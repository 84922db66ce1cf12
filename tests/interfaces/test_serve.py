"""`llmapp serve`, with its real processes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.support import stack
from tests.support.site import READY_WITHIN, Site, run_command

pytestmark = pytest.mark.acceptance


def get(url: str, browser: Any = None) -> tuple[int, str]:
    """Return status and final address."""
    try:
        with (browser or urllib.request.build_opener()).open(url, timeout=10) as answer:
            return answer.status, answer.url
    except urllib.error.HTTPError as error:
        with error:
            return error.code, url


def test_a_site_from_its_start_to_its_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Site(home, demo=True) as site:
        assert site.seconds_to_ready < READY_WITHIN
        first = [*site.webs(), *site.workers()]
        assert len(first) == 2 * stack.of_each()

        # The link signs in once.
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert get(site.sign_in_link, browser) == (200, f"{site.url}/chat/")
        assert get(site.sign_in_link)[0] == 410

        # Static files come without collectstatic, and pages need a sign-in.
        assert get(f"{site.url}/static/admin/css/base.css")[0] == 200
        assert site.http.get("/chat/").headers["location"].startswith("/accounts/login/")

        # The command `doctor` finds nothing wrong.
        site.manage("llmapp", "doctor")

        # A second one on this home is refused, in one line.
        assert str(home) in refused(home, "--port", "0")

        # What dies comes back.
        for pid in first:
            seen = len(site.lines)
            os.kill(pid, signal.SIGKILL)
            assert "SIGKILL" in site.wait_for_line(" ended (", within=5, after=seen)
        site.wait_for(lambda: len({*site.webs(), *site.workers()} - set(first)) == len(first), 10)

        assert site.stop(signal.SIGINT) == 0
        assert not [*site.webs(), *site.workers()]
        assert site.lines[-1] == "stopped"
    assert not [line for line in site.lines if "Traceback" in line]
    for name in ("secret_key", "encryption_keys"):
        assert stat.S_IMODE((home / "secrets" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "secrets").stat().st_mode) == 0o700
    assert not [path for path in home.rglob("*") if path.stat().st_mode & 0o077]


def test_the_children_end_when_it_is_killed(tmp_path: Path) -> None:
    with Site(tmp_path / "home") as site:
        assert len([*site.webs(), *site.workers()]) == 2 * stack.of_each()
        site.process.kill()
        site.process.wait()
        site.wait_for(lambda: not [*site.webs(), *site.workers()], 10)


def test_a_file_is_applied_first(tmp_path: Path) -> None:
    with Site(tmp_path / "home", '[[providers]]\nname = "play"\nbackend = "scripted"\n') as site:
        assert site.lines.index(site.wait_for_line("created")) < site.lines.index(site.wait_for_line("ready http"))
        # There is no door that `--demo` did not open.
        assert get(f"{site.url}/demo/x/")[0] == 404


def refused(home: Path, *arguments: str) -> str:
    """Return the one line that says why it does not start."""
    done = run_command(home, "serve", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in refused(tmp_path / "home", "--port", port)
    assert not (tmp_path / "home" / "db.sqlite3").exists()


def test_a_file_with_a_fault_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text("[[agents]]\nslug = 'a'\n")
    assert "[[agents]]" in refused(tmp_path / "home", "--port", "0", "--config", str(tmp_path / "agents.toml"))
    assert not (tmp_path / "home" / "db.sqlite3").exists()


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(tmp_path / "file" / "home", "--port", "0")


def test_a_sign_in_link_is_for_this_machine_only(tmp_path: Path) -> None:
    assert "--demo" in refused(tmp_path / "home", "--demo", "--host", "0.0.0.0", "--port", "0")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--port", "99999"], "99999"),
        (["--host", "203.0.113.1", "--port", "0"], "203.0.113.1"),
        (["--concurrency", "0", "--port", "0"], "--concurrency"),
        (["--web", "0", "--port", "0"], "--web"),
        (["--workers", "-1", "--port", "0"], "--workers"),
        (["--config", "/nowhere.toml", "--port", "0"], "/nowhere.toml"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in refused(tmp_path / "home", *arguments)


def test_the_promise_of_the_readme_is_kept() -> None:
    assert READY_WITHIN <= 20
