"""Garbage collection in processes that pass tokens on.

Python looks for cycles each time that 700 objects more are there, and now and then at all that there are. With many
streams that comes to a tenth of a worker's CPU, and to pauses of a tenth of a second, in which no token moves: most
of what is looked at are the libraries, which stay.
"""

from __future__ import annotations

import gc
import os

#: Set by `llmapp.supervised`, for the processes that `serve` starts.
SERVED = "LLMAPP_SERVED"
#: What Python began with. A site that has chosen otherwise keeps its choice.
DEFAULT = gc.get_threshold()

#: Objects more before the young are looked at; rounds of the young before the middle, and of those before all.
THRESHOLDS = (10_000, 20, 20)

_settled = False


def settle() -> None:
    """Leave what has been loaded out of all collections to come, and collect less often. Once in a process."""
    global _settled
    if not _settled and gc.isenabled() and gc.get_threshold() == DEFAULT and not gc.get_freeze_count():
        _settled = True
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)


def ours() -> bool:
    """Say whether this is a process of `serve`, and not the site's own server."""
    return SERVED in os.environ
