"""Loaded by a worker whose clock is wrong: with libfaketime 0.9.10 `time.sleep` raises EINVAL, for it sleeps until a
moment of the monotonic clock, which that library does not understand. This one sleeps for a while."""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
