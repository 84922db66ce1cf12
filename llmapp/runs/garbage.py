"""Garbage collection in processes that pass tokens on.

Python looks for cycles each time that 700 objects more are there, and now and then at all that there are. With many
streams that comes to a tenth of a worker's CPU, and to pauses of a tenth of a second, in which no token moves: most
of what is looked at are the libraries, which stay.
"""

from __future__ import annotations

import gc

#: Objects more before the young are looked at; rounds of the young before the middle, and of those before all.
THRESHOLDS = (10_000, 20, 20)

_settled = False


def settle() -> None:
    """Leave what has been loaded out of all collections to come, and collect less often. Once in a process."""
    global _settled
    if not _settled:
        _settled = True
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
