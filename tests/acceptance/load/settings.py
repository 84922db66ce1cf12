"""The demo site for crowds: a person may do what many would, and processes can be looked into."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS
from project.settings import LLMAPP as _LLMAPP

INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.load.insight", "tests.acceptance.load.submitting"]
LLMAPP = {**_LLMAPP, "SENDS_PER_MINUTE": 100_000, "MAX_ACTIVE_RUNS_PER_USER": 1_000, "MAX_SOCKETS_PER_USER": 100}
