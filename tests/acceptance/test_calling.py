"""docs/calling.md, row by row: what it shows is what these processes execute, and a real worker answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.site import ROOT, Site, text_of

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

PAGE = ROOT / "docs" / "calling.md"

ANSWER = "Two wheels and a frame."

TOML = f"""
[[providers]]
name = "scripted"
backend = "scripted"
options = {{ script = [{{ text = "{ANSWER}" }}], tokens_per_second = 20 }}

[[models]]
name = "quick"
provider = "scripted"
model = "quick"

[[agents]]
slug = "assistant"
model = "quick"
access = "authenticated"
"""

#: What a site has beside the page's examples.
APPS = """
from django.apps import AppConfig


class Desk(AppConfig):
    name = "desk"

    def ready(self):
        from . import signals
"""

PASSWORD = "correct horse battery"
MAKE = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_user("ada", "ada@example.org", {password!r}, is_staff=True)
"""
COUNT = """
from llmapp.models import Run
print("runs", *(f"{run.user.username}:{run.status}" for run in Run.objects.order_by("created_at")))
"""
MAIL = "from desk.tasks import answer_by_mail; answer_by_mail.delay({user}, 'By mail, please')"


def examples() -> dict[str, str]:
    """Return the page's files: what it shows of one in several places belongs together."""
    files: dict[str, str] = {}
    for name, lines in re.findall(r"```python\n# (desk/\S+\.py)\n(.*?)```", PAGE.read_text(), re.S):
        files[name] = f"{files.get(name, '')}\n{lines}"
    return files


def write_app(folder: Path) -> None:
    for name, text in {**examples(), "desk/__init__.py": "", "desk/apps.py": APPS}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("calling")
    write_app(folder)
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.calling.settings",
        "PYTHONPATH": f"{folder}:{ROOT}",
    }
    with Site(folder / "home", TOML, environment=environment) as made:
        made.manage("shell", "-v", "0", "-c", MAKE.format(password=PASSWORD))
        yield made


class Browser(AbstractContextManager["Browser"]):
    """Somebody who signs in by the form and posts with its token."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self.http.get("/accounts/login/").raise_for_status()

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def post(self, path: str, **form: str) -> httpx.Response:
        return self.http.post(path, data=form, headers={"X-CSRFToken": self.http.cookies["csrftoken"]})

    def sign_in(self) -> Browser:
        answer = self.post("/accounts/login/", username="ada", password=PASSWORD)
        assert answer.status_code == 302, answer.text
        return self


@contextmanager
def process(site: Site, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=site.env, cwd=ROOT, **pipes) as running:
        try:
            yield running
        finally:
            running.terminate()


def runs(site: Site) -> list[str]:
    said = site.manage("shell", "-v", "0", "-c", COUNT).stdout.splitlines()
    return next(line for line in said if line.startswith("runs")).split()[1:]


def test_the_page_has_an_example_of_each_row() -> None:
    assert {name.removeprefix("desk/") for name in examples()} == {
        "views.py",
        "signals.py",
        "tasks.py",
        "management/commands/ask.py",
    }


@pytest.mark.parametrize("path", ["/ask/", "/ask-async/"])
def test_a_view(site: Site, path: str) -> None:
    """The answer of a worker comes in the response of the request that asked for it."""
    with Browser(site.url) as browser:
        answer = browser.sign_in().post(path, text="What is a bicycle?")
    assert (answer.status_code, answer.json()) == (200, {"status": "completed", "answer": ANSWER})


def test_a_view_that_is_refused(site: Site) -> None:
    with Browser(site.url) as browser:
        answer = browser.sign_in().post("/ask/", text=" ")
    assert (answer.status_code, answer.json()) == (422, {"error": "Write a message first."})


def test_a_signal_in_a_transaction(site: Site) -> None:
    """Committed, the run is carried out; rolled back, there is neither a user nor a run, and no worker heard of one."""
    seen = len(site.lines)
    with Browser(site.url) as visitor:
        assert visitor.post("/sign-up/", name="undone", invitation="wrong").status_code == 200
        assert visitor.post("/sign-up/", name="grace", invitation="sesame").status_code == 200
    site.wait_for(lambda: "grace:completed" in runs(site), 20)
    assert not [run for run in runs(site) if run.startswith("undone")]
    # What is rolled back is not even said to be there.
    assert len([line for line in site.lines[seen:] if line.endswith(" queued")]) == 1


def test_a_management_command(site: Site) -> None:
    assert site.manage("ask", "ada", "What is a bicycle?").stdout == f"{ANSWER}\n"


def test_a_celery_task_of_the_site(site: Site) -> None:
    """In a worker of its own, it waits for another worker. In a worker that carries runs out, it is told off."""
    site.manage("shell", "-v", "0", "-c", MAIL.format(user=user_id(site)))
    with process(site, "celery", "-A", "project", "worker", "-P", "threads", "-c", "1", "-n", "desk@%h"):
        site.wait_for(lambda: ANSWER in mail(site), 30)


def user_id(site: Site) -> str:
    code = "from django.contrib.auth.models import User; print('user', User.objects.get(username='ada').pk)"
    said = site.manage("shell", "-v", "0", "-c", code).stdout.splitlines()
    return next(line for line in said if line.startswith("user")).split()[1]


def mail(site: Site) -> str:
    return "".join(path.read_text() for path in (site.home / "mail").glob("*"))


def test_a_task_that_waits_in_the_queue_of_runs_is_refused(site: Site) -> None:
    """At once, and with what to do: the worker goes on to carry runs out."""
    seen = len(site.lines)
    text = (
        MAIL.format(user=user_id(site))
        .replace("delay(", "apply_async((")
        .replace("please')", "again'), queue='llmapp')")
    )
    site.manage("shell", "-v", "0", "-c", text)
    site.wait_for_line("CannotWait", within=20, after=seen)
    site.wait_for_line("on a queue of its own", within=5, after=seen)
    site.wait_for(lambda: not [run for run in runs(site) if run.endswith(("queued", "in_progress"))], 20)


def test_wsgi(site: Site) -> None:
    """Asking, waiting and reading; and a stream that comes as it is written, not in one piece at its end."""
    with process(site, "tests.acceptance.calling.wsgi") as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        with Browser(f"http://127.0.0.1:{port}") as browser:
            use_without_a_loop(browser.sign_in())


def use_without_a_loop(browser: Browser) -> None:
    for path in ("/ask/", "/ask-async/"):
        assert browser.post(path, text="What is a bicycle?").json() == {"status": "completed", "answer": ANSWER}
    body = {"threadId": "wsgi", "messages": [{"id": "m", "role": "user", "content": "Hi"}]}
    headers = {"X-CSRFToken": browser.http.cookies["csrftoken"]}
    events, times = [], []
    with browser.http.stream("POST", "/api/agents/assistant/runs", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data:"):
                events.append(json.loads(line.removeprefix("data:")))
                times.append(time.monotonic())
    assert text_of(events) == ANSWER
    assert events[-1]["type"] == "RUN_FINISHED"
    assert times[-1] - times[0] > 0.15
    run = events[0]["runId"]
    assert browser.http.get(f"/api/runs/{run}").json()["status"] == "completed"
    rest = browser.http.get(f"/api/runs/{run}/events", headers={"Last-Event-ID": "1"}).text
    assert "id: 1\n" not in rest
    assert "RUN_FINISHED" in rest
