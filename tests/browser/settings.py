"""The demo site for a person in a hurry: one user sends what many would."""

from project.settings import *  # noqa: F403
from project.settings import LLMAPP as _LLMAPP

LLMAPP = {**_LLMAPP, "SENDS_PER_MINUTE": 10_000}
