"""PostgreSQL and Redis are restarted, crash, forget everything or take nothing, with runs queued and in progress.

With servers of the test's own. That they cannot be reached for a while is in `test_outages.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.acceptance.conftest import TOML
from tests.support.following import Follower, following
from tests.support.invariants import Tables, broken
from tests.support.provider import Provider, answer_for
from tests.support.site import Site
from tests.support.stack import OwnPostgres, OwnRedis

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

#: Seconds in which a run has to end once its servers are there again.
ENDS_WITHIN = 60


class OwnSite(Site):
    """A site on a PostgreSQL and a Redis of its own."""

    def __init__(self, home: Path, toml: str) -> None:
        super().__init__(home, toml, web=1, workers=2)
        self.postgres, self.redis = OwnPostgres(), OwnRedis()

    @contextlib.contextmanager
    def services(self) -> Iterator[dict[str, str]]:
        with self.postgres, self.redis:
            yield {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url}

    def says(self, words: str, after: int) -> bool:
        return any(words in line for line in self.lines[after:])


@pytest.fixture(scope="module")
def own_site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSite]:
    with OwnSite(tmp_path_factory.mktemp("own") / "home", TOML.format(url=provider.url)) as made:
        yield made


@pytest.fixture
def site(own_site: OwnSite, provider: Provider) -> Iterator[OwnSite]:
    """Begin with a person of the test's own; in the end all invariants hold, and nobody has lost a process."""
    provider.default = {"tokens_per_second": 25}
    own_site.become(f"user-{uuid.uuid4().hex[:8]}")
    before, seen, asked = set(own_site.webs()), len(own_site.lines), len(provider.requests)
    yield own_site
    provider.default = {"tokens_per_second": 0}
    own_site.wait_for(lambda: own_site.http.get("/health/ready").status_code == 200, ENDS_WITHIN)
    assert own_site.send("openai_compatible", "And the next")[-1]["type"] == "RUN_FINISHED"
    assert broken(own_site.env, requests=provider.requests[asked:]) == []
    said = "\n".join(own_site.lines[seen:])
    assert set(own_site.webs()) == before, said
    assert "Traceback" not in said, said


def text() -> str:
    """Return what nobody has said before: requests are told apart by it."""
    return f"Number {uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def in_mid_answer(site: OwnSite, said: str) -> Iterator[Follower]:
    """Follow a run, and begin once it has shown some tokens. In the end it has ended well, as seen by all."""
    run = site.submit("openai_compatible", said)
    with following(site.url, run, site.http.headers) as follower:
        site.wait_for(lambda: len(follower.events) > 10, 20)
        yield follower
        follower.join(ENDS_WITHIN)
    assert follower.text == answer_for(said)
    assert follower.events == site.events(run)
    assert site.run(run)["status"] == "completed"
    assert broken(site.env, clients={run: follower.text}) == []


# --- PostgreSQL -------------------------------------------------------------------------------------


def test_postgres_restarts_in_mid_answer(site: OwnSite, provider: Provider) -> None:
    """Client, log and message have each token once, and the provider is asked once: the run goes on."""
    asked, seen = len(provider.requests), len(site.lines)
    with in_mid_answer(site, text()) as follower:
        site.postgres.stop("fast")
        site.postgres.start()
    assert (len(provider.requests) - asked, follower.reloads) == (1, 0)
    assert not site.says("lost entries", seen)


def test_postgres_crashes_in_mid_answer(site: OwnSite, provider: Provider) -> None:
    """What was not waited for is gone from the log, and its worker writes it again, under the same numbers."""
    asked, seen = len(provider.requests), len(site.lines)
    for crashes in range(1, 6):
        with in_mid_answer(site, text()) as follower:
            site.postgres.stop("immediate")
            site.postgres.start()
        assert (len(provider.requests) - asked, follower.reloads <= 1) == (crashes, True)
        # Now and then all of it was on the disk by chance: another commit had waited for it.
        if site.says("lost entries", seen):
            return
    raise AssertionError("five crashes lost nothing")


def test_postgres_crashes_and_the_worker_with_it(site: OwnSite, provider: Provider) -> None:
    """Nobody has the lost tokens any more. A reader that holds them begins anew, and has the right text in the end."""
    said = text()
    run = site.submit("openai_compatible", said)
    with following(site.url, run, site.http.headers) as follower:
        site.wait_for(lambda: len(follower.events) > 10, 20)
        worker = site.worker_of(run)
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.05)
        held = follower.events[-1][0]
        site.postgres.stop("immediate")
        os.kill(worker, signal.SIGKILL)
        site.postgres.start()
        there = rows_of(site, run)
        follower.join(ENDS_WITHIN)
    assert follower.text == answer_for(said)
    assert follower.reloads == (1 if there < held else 0)
    assert broken(site.env, clients={run: follower.text}) == []
    with Tables(site.env) as tables:
        (row,) = tables.rows("SELECT executions, status FROM llmapp_run WHERE id = %s", uuid.UUID(run))
    assert row == {"executions": 2, "status": "completed"}


def rows_of(site: OwnSite, run: str) -> int:
    with Tables(site.env) as tables:
        (row,) = tables.rows("SELECT count(*) AS count FROM llmapp_runevent WHERE run_id = %s", uuid.UUID(run))
    return int(row["count"])


def test_what_has_ended_has_ended_after_a_crash(site: OwnSite, provider: Provider) -> None:
    """The end waits for the disk, though the tokens before it do not: a crash at this moment takes nothing."""
    provider.default = {"tokens_per_second": 0}
    said = text()
    run = site.submit("openai_compatible", said)
    site.wait_until_ended(run, 20)
    site.postgres.stop("immediate")
    site.postgres.start()
    site.wait_for(lambda: site.http.get(f"/api/runs/{run}").status_code == 200, ENDS_WITHIN)
    assert site.run(run)["status"] == "completed"
    assert broken(site.env, clients={run: answer_for(said)}) == []


def test_a_database_that_is_read_only_for_a_while(site: OwnSite, provider: Provider) -> None:
    """As in a failover: the answer waits, and nothing of it is lost; who sends a message is told to wait."""
    seen, asked = len(site.lines), len(provider.requests)
    with in_mid_answer(site, text()):
        read_only(site, "on")
        site.wait_for(lambda: site.says("takes nothing", seen), 20)
        refused = site.http.post(
            "/api/agents/openai_compatible/runs", json={"messages": [{"id": "m", "role": "user", "content": "Now?"}]}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        time.sleep(3)
        read_only(site, "off")
    assert len(provider.requests) - asked == 1
    assert site.says("takes what is written again", seen)


def read_only(site: OwnSite, how: str) -> None:
    with site.postgres.superuser("postgres") as server:
        server.execute(f"ALTER DATABASE site SET default_transaction_read_only = {how}")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'site'")


# --- Redis ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flushed", "restarted", "restarted a little later"])
def test_redis_forgets_everything(site: OwnSite, provider: Provider, how: str) -> None:
    """Of three runs one is in progress and two may be queued: all end, and each is asked for once."""
    asked, said = len(provider.requests), [text() for _ in range(3)]
    runs = [site.submit("openai_compatible", said[0])]
    site.wait_for(lambda: len(provider.requests) > asked, 20)
    runs += [site.submit("openai_compatible", said[1])]
    if how == "flushed":
        with redis.Redis.from_url(site.redis.url) as client:
            client.flushall()
    else:
        site.redis.kill()
        time.sleep(2 if "later" in how else 0)
        site.redis.start()
    runs += [site.submit("openai_compatible", said[2])]
    for run in runs:
        assert site.wait_until_ended(run, ENDS_WITHIN)["status"] == "completed"
    assert len(provider.requests) - asked == 3
    assert broken(site.env, clients=dict(zip(runs, map(answer_for, said), strict=True))) == []
