"""A run that takes longer than RabbitMQ lets a message wait: the channel is closed, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import stack
from tests.support.site import Site, text_of

#: It starts a RabbitMQ of its own, and waits for one that closes channels.
pytestmark = [pytest.mark.acceptance, pytest.mark.long]

#: Seconds that RabbitMQ waits, and that an answer takes.
TIMEOUT, TAKES = 3, 10

TOML = f"""
[[providers]]
name = "scripted"
backend = "scripted"
options = {{ script = [{{ text = "{"word " * TAKES * 5}" }}], tokens_per_second = 5 }}

[[models]]
name = "slow"
provider = "scripted"
model = "slow"

[[agents]]
slug = "slow"
model = "slow"
"""


def test_a_run_outlives_the_channel_of_its_message(tmp_path: Path) -> None:
    """The worker opens another channel, carries the runs on, and takes new ones meanwhile."""
    with stack.own_rabbitmq(TIMEOUT) as url:
        environment = {"CELERY_BROKER_URL": url}
        with Site(tmp_path / "home", TOML, web=1, workers=1, environment=environment) as site:
            workers = site.workers()
            site.become("ada")
            first = site.submit("slow", "Hi")
            site.wait_for_line("PRECONDITION_FAILED", within=TAKES)
            assert site.run(first)["status"] == "in_progress"
            second = site.submit("slow", "Hi again")
            # Within the first one's time: nobody waits for it to end.
            site.wait_for_line(f"run {second} claimed", within=5)
            for run in (first, second):
                assert site.wait_until_ended(run, 40)["status"] == "completed"
                assert text_of(event for _seq, event in site.events(run)).split() == ["word"] * TAKES * 5
                claims = [line for line in site.lines if f"run {run} claimed" in line]
                assert len(claims) == 1
            assert site.workers() == workers
