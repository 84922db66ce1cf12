"""PostgreSQL, Redis and RabbitMQ go away, and come back: the site waits, says so, and goes on by itself.

Each site reaches its servers through relays of its own (`tests/support/relay.py`), so that they are away for it
only. Collected on the server stack only: files do not go away.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.sync.client import connect

from tests.support import stack
from tests.support.following import TERMINAL, following
from tests.support.provider import Provider, answer_for
from tests.support.relay import Relay
from tests.support.site import ROOT, Site, command, run_command, text_of

from .conftest import TOML

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Seconds in which a site has to say that it is not ready, and to be back once its server is: on a busy machine.
SAYS_NO_WITHIN, BACK_WITHIN = 12, 40
SECRET = "p4ssw0rd"


class RelayedSite(Site):
    """A site whose database and broker are behind relays. `away` names those that are away when it starts."""

    def __init__(self, home: Path, toml: str, broker: str, away: str = "") -> None:
        self.port = free_port()
        super().__init__(home, toml, web=1, workers=1, arguments=["--port", str(self.port)])
        self._broker, self._away = broker, away
        self.base = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def services(self) -> Iterator[dict[str, str]]:
        with contextlib.ExitStack() as held:
            urls = held.enter_context(stack.servers("redis", self._broker))
            # PostgreSQL trusts this machine, so that a password does no harm.
            urls["DATABASE_URL"] = urls["DATABASE_URL"].replace("postgres@", f"postgres:{SECRET}@")
            relays = {name: held.enter_context(Relay.to(url)) for name, url in urls.items()}
            self.database, self.redis = relays["DATABASE_URL"], relays["REDIS_URL"]
            self.broker = relays.get("CELERY_BROKER_URL", self.redis)
            if self._away:
                getattr(self, self._away).cut()
            yield {name: relay.url for name, relay in relays.items()}

    def ready(self) -> Health:
        return health(self.base, self.http.headers.get("authorization", ""))

    def wait_for_health(self, status: int, within: float) -> Health:
        found: Health = self.wait_for(lambda: (it := self.ready()).status == status and it, within)
        return found

    def page(self, path: str) -> httpx.Response:
        headers = {"Authorization": self.http.headers["authorization"], "Accept": "text/html"}
        return httpx.get(self.base + path, headers=headers, timeout=30, trust_env=False)


class Health(NamedTuple):
    status: int
    details: dict[str, bool]


def health(base: str, authorization: str = "") -> Health:
    """Ask as a load balancer does: an answer that takes long is none."""
    headers = {"Authorization": authorization} if authorization else {}
    try:
        answer = httpx.get(f"{base}/health/ready", headers=headers, timeout=SAYS_NO_WITHIN, trust_env=False)
    except httpx.HTTPError:
        return Health(0, {})
    return Health(answer.status_code, answer.json() if answer.content else {})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Beginning(NamedTuple):
    """A site that was started without one of its servers, and what was seen until it was ready."""

    site: RelayedSite
    live: int
    page: httpx.Response
    seconds_to_ready: float


def begin(home: Path, url: str, broker: str, away: str) -> Beginning:
    site = RelayedSite(home, TOML.format(url=url), broker, away)
    site.launch()
    try:
        site.wait_for_health(503, BACK_WITHIN)
        live = httpx.get(f"{site.base}/health/live", trust_env=False).status_code
        page = httpx.get(f"{site.base}/chat/", trust_env=False)
        getattr(site, away).mend()
        mended = time.monotonic()
        site.wait_until_ready(2 * BACK_WITHIN)
        return Beginning(site, live, page, time.monotonic() - mended)
    except BaseException:
        site.stop()
        raise


@pytest.fixture(scope="module")
def on_redis(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beginning]:
    """A site on PostgreSQL and Redis; the database is away when it starts."""
    begun = begin(tmp_path_factory.mktemp("on_redis"), provider.url, "redis", "database")
    with begun.site.stopping():
        yield begun


@pytest.fixture(scope="module")
def on_rabbitmq(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beginning]:
    """A site on PostgreSQL, RabbitMQ and Redis beside it; the broker is away when it starts."""
    begun = begin(tmp_path_factory.mktemp("on_rabbitmq"), provider.url, "rabbitmq", "broker")
    with begun.site.stopping():
        yield begun


@pytest.fixture(params=["redis", "rabbitmq"])
def begun(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"on_{request.param}")


@pytest.fixture
def site(begun: Beginning, provider: Provider) -> Iterator[RelayedSite]:
    with steady(begun.site, provider):
        yield begun.site


@pytest.fixture
def redis_site(on_redis: Beginning, provider: Provider) -> Iterator[RelayedSite]:
    with steady(on_redis.site, provider):
        yield on_redis.site


@pytest.fixture
def rabbitmq_site(on_rabbitmq: Beginning, provider: Provider) -> Iterator[RelayedSite]:
    with steady(on_rabbitmq.site, provider):
        yield on_rabbitmq.site


@contextlib.contextmanager
def steady(site: RelayedSite, provider: Provider) -> Iterator[None]:
    """Begin with all servers there and a person of the test's own; in the end the processes are the same."""
    provider.default = {"tokens_per_second": 0}
    site.become(f"user-{uuid.uuid4().hex[:8]}")
    before, seen = [*site.webs(), *site.workers()], len(site.lines)
    try:
        yield
    finally:
        for relay in (site.database, site.redis, site.broker):
            relay.mend()
    site.wait_for_health(200, BACK_WITHIN)
    said = "\n".join(site.lines[seen:])
    assert [*site.webs(), *site.workers()] == before, said
    assert "Traceback" not in said, said
    assert SECRET not in said


# --- away at the start ----------------------------------------------------------------------------


def test_a_start_without_a_database_waits_and_says_so(on_redis: Beginning) -> None:
    """One line with what and where; somebody answers 503; then the rest happens by itself, and a run works."""
    said = [line for line in on_redis.site.lines if "Waiting for" in line]
    assert len(said) == 1
    assert f"127.0.0.1:{on_redis.site.database.port}" in said[0]
    assert (on_redis.live, on_redis.page.status_code) == (200, 503)
    assert "database cannot be reached" in on_redis.page.text
    assert "Traceback" not in "\n".join(on_redis.site.lines)
    assert SECRET not in "\n".join(on_redis.site.lines)
    on_redis.site.become("ada")
    assert on_redis.site.send("openai_compatible", "Hello")[-1]["type"] == "RUN_FINISHED"


def test_a_start_without_a_broker_waits_and_says_so(on_rabbitmq: Beginning) -> None:
    """Pages are there, runs wait."""
    (said,) = (line for line in on_rabbitmq.site.lines if "cannot be reached" in line)
    assert f"127.0.0.1:{on_rabbitmq.site.broker.port}" in said
    assert (on_rabbitmq.live, on_rabbitmq.page.status_code) == (200, 302)
    assert "Traceback" not in "\n".join(on_rabbitmq.site.lines)
    on_rabbitmq.site.become("ada")
    assert on_rabbitmq.site.send("openai_compatible", "Hello")[-1]["type"] == "RUN_FINISHED"


@pytest.mark.parametrize(
    "name, url, words",
    [
        ("DATABASE_URL", f"{stack.POSTGRES.rpartition('/')[0]}/llmapp_is_not_there", "does not exist"),
        ("DATABASE_URL", stack.POSTGRES.replace("postgres@", f"nobody:{SECRET}@"), "nobody"),
        ("CELERY_BROKER_URL", stack.RABBITMQ.replace("guest:guest", f"guest:{SECRET}"), "ACCESS_REFUSED"),
        ("CELERY_BROKER_URL", f"{stack.RABBITMQ}/llmapp_is_not_there", "not found"),
        ("CELERY_BROKER_URL", stack.REDIS.replace("//", f"//nobody:{SECRET}@"), "password"),
    ],
)
def test_a_refusal_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, url: str, words: str
) -> None:
    """Nobody waits for a wrong password to become right."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv(name, url)
    done = run_command(tmp_path / "home", "serve", "--port", "0")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert words in line
    assert SECRET not in done.stdout + done.stderr


def test_daphne_and_a_worker_by_themselves_wait_too(redis_site: RelayedSite) -> None:
    """Who starts them with systemd has no `serve` that waits for them."""
    port = free_port()
    with Relay.to(redis_site.env["DATABASE_URL"]) as relay:
        relay.cut()
        environment = {**redis_site.env, "DATABASE_URL": relay.url}
        daphne = ["daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "project.asgi:application"]
        celery = ["celery", "-A", "project", "worker", "-Q", "llmapp", "-P", "threads", "-n", f"alone-{port}@%h"]
        with program(daphne, environment) as web, program(celery, environment) as worker:
            Site.wait_for(lambda: health(f"http://127.0.0.1:{port}").status == 503, BACK_WITHIN)
            worker.wait_for_line("is away")
            relay.mend()
            Site.wait_for(lambda: health(f"http://127.0.0.1:{port}").status == 200, BACK_WITHIN)
            worker.wait_for_line("is there")
            relay.cut()
        # Both ended in time without it.
        assert (web.code, worker.code) == (0, 0)
        for lines in (web.lines, worker.lines):
            assert "Traceback" not in "\n".join(lines), "\n".join(lines)


class Program:
    """A program, its lines, and after its end its exit code."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.code: int | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in self.process.stdout)

    def wait_for_line(self, words: str) -> None:
        Site.wait_for(lambda: any(words in line for line in self.lines), BACK_WITHIN)


@contextlib.contextmanager
def program(arguments: list[str], environment: dict[str, str]) -> Iterator[Program]:
    running = Program(arguments, environment)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.code = running.process.wait(25)
        finally:
            running.process.kill()
            running.reader.join(5)
            assert running.process.stdout is not None
            running.process.stdout.close()


# --- the database, later ----------------------------------------------------------------------------


def test_a_database_that_goes_away_while_nobody_asks(redis_site: RelayedSite) -> None:
    """Pages say so in a sentence, an open page stays open, and all of it works again without a restart."""
    site = redis_site
    thread = str(uuid.uuid4())
    site.send("openai_compatible", "Before", thread)
    address = f"{site.url.replace('http', 'ws', 1)}/ws/conversations/{thread}/"
    with connect(address, additional_headers={"Authorization": site.http.headers["authorization"]}) as page:
        site.database.cut()
        went = time.monotonic()
        assert site.wait_for_health(503, SAYS_NO_WITHIN).details == {}
        answers = [site.page("/chat/"), site.page("/accounts/login/?next=/admin/"), site.page("/api/conversations/")]
        assert [answer.status_code for answer in answers] == [503, 200, 503]
        assert "database cannot be reached" in answers[0].text
        assert answers[2].json()["error"]["code"] == "unavailable"
        assert answers[0].headers["retry-after"] == answers[2].headers["retry-after"]
        assert httpx.get(f"{site.base}/health/live", trust_env=False).status_code == 200
        doctor = subprocess.run(
            command("doctor"), env=site.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert (doctor.returncode, f"127.0.0.1:{site.database.port}: Connection refused" in doctor.stdout) == (1, True)
        page.send(json.dumps({"type": "send", "id": "m1", "text": "During"}))
        assert heard(page, "error")["code"] == "unavailable"
        time.sleep(max(0.0, 5 - (time.monotonic() - went)))
        site.database.mend()
        site.wait_for_health(200, BACK_WITHIN)
        page.send(json.dumps({"type": "send", "id": "m2", "text": "After"}))
        while heard(page, "event")["event"]["type"] != "RUN_FINISHED":
            pass


def heard(page: Any, kind: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(page.recv(timeout=30))
        if frame["type"] == kind:
            return frame


@pytest.mark.parametrize("how, seconds", [("cut", 3), ("cut", 20), ("swallow", 14)])
def test_a_database_that_goes_away_in_mid_answer(
    redis_site: RelayedSite, provider: Provider, how: str, seconds: float
) -> None:
    """Also for longer than a lease: what the client got, the log and the message are the same, and it was paid once."""
    provider.default = {"tokens_per_second": 10}
    text, thread = f"Away {how} {seconds}", str(uuid.uuid4())
    before = len(provider.requests)
    run = redis_site.submit("openai_compatible", text, thread)
    with following(redis_site.base, run, redis_site.http.headers) as follower:
        Site.wait_for(lambda: len(follower.events) > 5, 10)
        getattr(redis_site.database, how)()
        went = time.monotonic()
        redis_site.wait_for_health(503, SAYS_NO_WITHIN)
        time.sleep(max(0.0, seconds - (time.monotonic() - went)))
        redis_site.database.mend()
        redis_site.wait_for_health(200, BACK_WITHIN)
        check_whole(redis_site, run, thread, text)
        follower.join(BACK_WITHIN)
    assert follower.events == redis_site.events(run)
    assert len(provider.requests) - before == 1
    provider.default = {"tokens_per_second": 0}
    assert redis_site.send("openai_compatible", "And the next")[-1]["type"] == "RUN_FINISHED"


def check_whole(site: RelayedSite, run: str, thread: str, text: str) -> None:
    """Hold that the run completed, and that its log and its message say what the provider said."""
    assert site.wait_until_ended(run, 60)["status"] == "completed"
    events = site.events(run)
    assert [seq for seq, _event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for _seq, event in events if event["type"] in TERMINAL] == ["RUN_FINISHED"]
    assert text_of(event for _seq, event in events) == answer_for(text)
    messages = site.http.get(f"/api/conversations/{thread}/messages").json()["messages"]
    assert messages[-1]["content"] == answer_for(text)


# --- the broker, later ----------------------------------------------------------------------------


def test_a_broker_that_is_away_at_a_submit(site: RelayedSite) -> None:
    """The message is stored at once, the log says that it waits, and it is handed over as soon as that is possible."""
    site.broker.cut()
    submitted = time.monotonic()
    run = site.submit("openai_compatible", "Wait for the broker")
    assert time.monotonic() - submitted < 3
    assert site.wait_for_health(503, SAYS_NO_WITHIN).details["broker"] is False
    assert site.run(run)["status"] == "queued"
    site.broker.mend()
    assert site.wait_until_ended(run, BACK_WITHIN)["status"] == "completed"
    notices = [event["value"] for _seq, event in site.events(run) if event.get("name") == "llmapp.notice"]
    assert [notice["action"] for notice in notices] == ["queue"]


def test_a_broker_that_goes_away_in_mid_answer(site: RelayedSite, provider: Provider) -> None:
    """The answer needs it for nothing; afterwards the worker takes runs again."""
    provider.default = {"tokens_per_second": 20}
    before, thread, text = len(provider.requests), str(uuid.uuid4()), "Without a broker"
    run = site.submit("openai_compatible", text, thread)
    Site.wait_for(lambda: len(provider.requests) > before, 10)
    site.broker.cut()
    check_whole(site, run, thread, text)
    site.broker.mend()
    site.wait_for_health(200, BACK_WITHIN)
    provider.default = {"tokens_per_second": 0}
    events = site.send("openai_compatible", "And the next")
    assert events[-1]["type"] == "RUN_FINISHED"
    # The broker took it at once: no connection that died in a pool was in the way.
    assert not [event for event in events if event.get("name") == "llmapp.notice"]
    # What was delivered a second time was not carried out again.
    assert len(provider.requests) - before == 2


def test_a_broker_that_says_nothing_any_more(site: RelayedSite) -> None:
    """A cable that is pulled sends no goodbye."""
    site.broker.swallow()
    submitted = time.monotonic()
    run = site.submit("openai_compatible", "Into the dark")
    assert time.monotonic() - submitted < SAYS_NO_WITHIN
    assert site.wait_for_health(503, SAYS_NO_WITHIN).details["broker"] is False
    time.sleep(3)
    site.broker.mend()
    site.wait_for_health(200, BACK_WITHIN)
    assert site.wait_until_ended(run, BACK_WITHIN)["status"] == "completed"


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_redis_beside_another_broker_is_never_waited_for(rabbitmq_site: RelayedSite, how: str) -> None:
    """A lost bell costs a moment, never a token."""
    getattr(rabbitmq_site.redis, how)()
    started = time.monotonic()
    events = rabbitmq_site.send("openai_compatible", "No layer")
    assert text_of(events) == answer_for("No layer")
    assert time.monotonic() - started < SAYS_NO_WITHIN
