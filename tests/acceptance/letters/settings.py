"""The demo site with a task of its own, and a person who may have many chats at once."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS
from project.settings import LLMAPP as _LLMAPP

INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.letters"]
LLMAPP = {**_LLMAPP, "MAX_ACTIVE_RUNS_PER_USER": 20}
