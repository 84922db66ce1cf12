"""The real processes, with real providers on loopback behind two backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stack
from tests.support.provider import Provider
from tests.support.site import Site

#: How a site is deployed is tried on servers, and as the rest that has nothing to do with the broker, with one of them.
DEPLOYED = ["behind_proxies", "test_compose.py", "test_systemd.py", "test_uvicorn.py"]
WITHOUT_BROKER = ["test_backup.py", "test_removal.py", "test_cut_streams.py", "test_calling.py", "test_wedged.py"]
#: Only servers go away. These tests have both brokers.
AWAY = ["test_outages.py"]
#: These bring servers of their own, or have to do with the database's clock, which SQLite does not have.
OWN = ["faults/test_restarted_servers.py", "faults/test_wrong_clocks.py"]
#: And these fill the disk with the database's file, or have to do with the provider only.
ON_FILES = ["faults/test_full_disk.py", "faults/test_network.py"]
#: Under load each test has the stack that it says most about; streams and stops are tried on both.
LOAD_ON_FILES = [f"load/test_{name}.py" for name in ("idle_connections", "slow_readers", "reloads", "reloaded_pages")]
LOAD_ON_SERVERS = [f"load/test_{name}.py" for name in ("soak", "return", "rolling_restarts")]

collect_ignore = {
    "embedded": [*DEPLOYED, *AWAY, *OWN, *LOAD_ON_SERVERS],
    "redis": [*ON_FILES, *LOAD_ON_FILES],
    "rabbitmq": [*DEPLOYED, *WITHOUT_BROKER, *AWAY, *OWN, *ON_FILES, "load"],
}[stack.broker() if stack.on_servers() else "embedded"]

TOML = """
[[providers]]
name = "direct"
backend = "openai_compatible"
base_url = "{url}"
api_keys = ["sk-acceptance-direct"]
timeouts = {{ connect = 5, first_token = 20, idle = 10, total = 120 }}

[[providers]]
name = "through-litellm"
backend = "litellm"
base_url = "{url}"
api_keys = ["sk-acceptance-litellm"]
timeouts = {{ connect = 5, first_token = 30, idle = 10, total = 120 }}

[[models]]
name = "direct"
provider = "direct"
model = "gpt-direct"
input_price = "1"
output_price = "2"

[[models]]
name = "through-litellm"
provider = "through-litellm"
model = "openai/gpt-through-litellm"

[[agents]]
slug = "openai_compatible"
model = "direct"

[[agents]]
slug = "litellm"
model = "through-litellm"
"""


def fault(name: str) -> str:
    """Configure an agent whose provider has this fault, by the name of its model."""
    return f"""
[[models]]
name = "{name}"
provider = "direct"
model = "{name}"

[[agents]]
slug = "{name}"
model = "{name}"
attempts = 1
"""


FAULTS = ("cut", "clean-cut", "html", "bad-json", "no-choices", "bad-key", "slow")
BACKENDS = ("openai_compatible", "litellm")


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="session")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home: Path = tmp_path_factory.mktemp("site")
    toml = TOML.format(url=provider.url) + "".join(fault(name) for name in FAULTS)
    with Site(home, toml, demo=True) as made:
        yield made
