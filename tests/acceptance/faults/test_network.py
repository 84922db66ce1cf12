"""The network between a worker and its provider fails in mid-answer: cut, or silent as when a cable is pulled."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.following import Follower, following
from tests.support.invariants import Tables, broken
from tests.support.provider import Provider
from tests.support.relay import Relay
from tests.support.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.wide]

BACKENDS = {"openai_compatible": "", "litellm": "openai/"}
WAYS = ("cut", "swallow")
#: Seconds in which all runs have to show text, the first of a litellm that is imported too; and to end.
STARTS_WITHIN, ENDS_WITHIN = 50, 60
#: A minute and a half of it: nobody is at its end before all have begun.
LONG = "".join(f"word{n} " for n in range(900))

NEAR = """
[[providers]]
name = "near"
backend = "openai_compatible"
base_url = "{near}"
api_keys = ["sk-near"]

[[models]]
name = "near"
provider = "near"
model = "near"
"""
#: A provider behind the relay for each way in which that fails: what is known of one says nothing of the others. One
#: agent has nobody else to ask.
FAR = """
[[providers]]
name = "far-{backend}-{how}"
backend = "{backend}"
base_url = "{far}"
api_keys = ["sk-far"]
timeouts = {{ connect = 2, first_token = 15, idle = 3, total = 200 }}

[[models]]
name = "far-{backend}-{how}"
provider = "far-{backend}-{how}"
model = "{prefix}far"

[[agents]]
slug = "{backend}-{how}-alone"
model = "far-{backend}-{how}"
attempts = 2
timeout = 100

[[agents]]
slug = "{backend}-{how}-two"
model = "far-{backend}-{how}"
fallbacks = ["near"]
attempts = 6
timeout = 100
"""


@pytest.fixture(scope="module")
def relay(provider: Provider) -> Iterator[Relay]:
    with Relay("127.0.0.1", provider.port) as made:
        yield made


@pytest.fixture(scope="module")
def site(provider: Provider, relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    far, toml = f"http://127.0.0.1:{relay.port}/v1", NEAR.format(near=provider.url)
    for backend, prefix in BACKENDS.items():
        toml += "".join(FAR.format(far=far, backend=backend, prefix=prefix, how=how) for how in WAYS)
    with Site(tmp_path_factory.mktemp("far") / "home", toml) as made:
        yield made


@pytest.mark.parametrize("how", WAYS)
def test_a_network_that_fails_in_mid_answer(site: Site, provider: Provider, relay: Relay, how: str) -> None:
    """Another provider goes on in mid-sentence, and nothing is said twice; a run that has none keeps what was shown,
    and says how it ended. No run waits for ever, and no socket stays.
    """
    provider.default = {"answer": LONG}
    provider.models = {"far": {"tokens_per_second": 10}, "near": {"tokens_per_second": 0}}
    workers, asked = site.workers(), len(provider.requests)
    with contextlib.ExitStack() as held:
        held.callback(relay.mend)
        followers = {}
        for backend in BACKENDS:
            site.become(f"{backend}-{how}-{uuid.uuid4().hex[:4]}")
            for agent in (f"{backend}-{how}-alone", f"{backend}-{how}-two"):
                run = site.submit(agent, f"To {agent}")
                followers[agent] = held.enter_context(following(site.url, run, site.http.headers))
        site.wait_for(lambda: all(len(follower.text) > 20 for follower in followers.values()), STARTS_WITHIN)
        getattr(relay, how)()
        for follower in followers.values():
            follower.join(ENDS_WITHIN)
        site.wait_for(lambda: sockets_to(site, relay.port) == 0, 5)
    relay.mend()
    # The provider behind the relay hears of it when that passes on again.
    time.sleep(0.5)
    mended = time.time()
    for agent, follower in followers.items():
        check(agent, follower)
    texts = {run_of(follower): follower.text for follower in followers.values()}
    assert broken(site.env, clients=texts, requests=provider.requests[asked:], asleep_until=mended) == []
    assert statuses(site, how) == {"alone": {"incomplete"}, "two": {"completed"}}
    assert site.workers() == workers


def check(agent: str, follower: Follower) -> None:
    end = follower.events[-1][1]
    if agent.endswith("two"):
        assert follower.text == LONG
    else:
        assert LONG.startswith(follower.text)
        assert len(follower.text) < len(LONG)
        assert end["code"] in ("connection", "timeout", "stream_interrupted")


def run_of(follower: Follower) -> str:
    return str(follower.events[0][1]["runId"])


def statuses(site: Site, how: str) -> dict[str, set[str]]:
    with Tables(site.env) as tables:
        rows = tables.rows("SELECT agent_slug, status FROM llmapp_run")
    kinds = ("alone", "two")
    return {kind: {row["status"] for row in rows if row["agent_slug"].endswith(f"{how}-{kind}")} for kind in kinds}


def sockets_to(site: Site, port: int) -> int:
    """Count the connections to this port that the site's workers have, or are opening."""
    there = f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"socket:[{row[9]}]" for row in lines if row[2].endswith(there) and row[3] in ("01", "02")}
    return sum(link in wanted for pid in site.workers() for link in _links(pid))


def _links(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(link.readlink())
