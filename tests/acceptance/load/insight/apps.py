from __future__ import annotations

import signal
import sys
from pathlib import Path

from django.apps import AppConfig

from . import write_down


class InsightConfig(AppConfig):
    name = "tests.acceptance.load.insight"
    label = "insight"

    def ready(self) -> None:
        # In what serves only: in commands nobody asks.
        if Path(sys.argv[0]).name in ("daphne", "celery"):
            signal.signal(signal.SIGUSR2, write_down)
