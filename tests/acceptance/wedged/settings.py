"""The demo site with backends that do not come back, and a lease that tests can wait for."""

from project.settings import *  # noqa: F403
from project.settings import LLMAPP as _LLMAPP

LLMAPP = {
    **_LLMAPP,
    "BACKENDS": {
        name: f"tests.acceptance.wedged.backends.{name.capitalize()}" for name in ("blocks", "ignores", "threads")
    },
    "MAX_ACTIVE_RUNS_PER_USER": 20,
    "LEASE_SECONDS": 4,
    "SWEEP_SECONDS": 0.5,
}
