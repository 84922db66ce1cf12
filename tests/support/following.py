"""A client that follows a run over SSE, and comes back with what it has whenever its stream breaks.

with following(site.url, run, site.http.headers) as follower:
    follower.events         # [(seq, event), ...]: all that it was told
    follower.text           # what it would show now
    follower.ended          # whether it was told of the end
    follower.port           # where its connection begins, on this machine
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

import httpx

from .site import Event, sse, text_of

TERMINAL = ("RUN_FINISHED", "RUN_ERROR")
#: A site that says nothing for so long, not even a comment, is asked again: one comes every 15 s.
SILENCE = 20.0


class Follower(threading.Thread):
    """Follows on a thread of its own, until the run's end or until it is told that it has heard `enough`."""

    def __init__(self, base: str, run: str, headers: Mapping[str, str]) -> None:
        super().__init__(name=f"follower-{run}", daemon=True)
        self.events: list[tuple[int, Event]] = []
        self.enough = threading.Event()
        #: How often it was told to begin anew.
        self.reloads = 0
        self.port = 0
        self._base, self._path, self._headers = base, f"/api/runs/{run}/events", dict(headers)

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1][1]["type"] in TERMINAL

    @property
    def text(self) -> str:
        return text_of(event for _seq, event in list(self.events))

    def run(self) -> None:
        timeout = httpx.Timeout(60, read=SILENCE)
        with httpx.Client(base_url=self._base, headers=self._headers, timeout=timeout, trust_env=False) as client:
            while not self.enough.is_set() and not self.ended:
                with contextlib.suppress(httpx.HTTPError, AssertionError):
                    self._follow(client)
                self.enough.wait(0.2)

    def _follow(self, client: httpx.Client) -> None:
        after = self.events[-1][0] if self.events else 0
        with client.stream("GET", self._path, params={"after": after}) as answer:
            self.port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            for entry in sse(answer):
                self._take(entry)
                if self.enough.is_set():
                    return

    def _take(self, entry: tuple[int, Event]) -> None:
        if entry[1].get("name") == "llmapp.reload":
            self.reloads += 1
            self.events = []
        else:
            self.events.append(entry)


@contextlib.contextmanager
def following(base: str, run: str, headers: Mapping[str, str]) -> Iterator[Follower]:
    follower = Follower(base, run, headers)
    follower.start()
    try:
        yield follower
    finally:
        follower.enough.set()
        follower.join(65)
