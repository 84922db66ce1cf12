"""The clients of one measurement, in a process of their own: so many streams, each token's age on arrival.

Reads one `Job` as a line of JSON from standard input, and writes one `Result`, as JSON, to standard output: `run`
starts it.
Nothing is parsed that need not be: a client that is slow would be measured, not the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from llmapp.backends.stamps import FOUND, age, now

if TYPE_CHECKING:
    # Imported where it is used, in the process of the clients: every command would pay a tenth of a second for it.
    import aiohttp

#: Characters of an error that are kept.
LONGEST = 500


@dataclass(frozen=True, slots=True)
class Job:
    #: One request for each stream: {"method", "url", "headers", "json"}.
    requests: list[dict[str, Any]]
    #: Only events with these words hold tokens; empty for all. llmapp sends text as it is, and rendered.
    marker: str
    #: Streams that are started in a second.
    starts: float
    #: Seconds for each stream.
    patience: float
    #: An event with these words says that the stream failed; empty for none.
    failure: str = ""


@dataclass(slots=True)
class Result:
    #: Microseconds from each token's making to its arrival, while all streams ran; of all tokens if they never did.
    delays: list[int] = field(default_factory=list)
    #: Microseconds from the request to the first token, of each stream.
    first: list[int] = field(default_factory=list)
    #: Tokens that arrived, of each stream.
    tokens: list[int] = field(default_factory=list)
    #: What went wrong, in words.
    errors: list[str] = field(default_factory=list)
    #: Seconds from the moment when all streams ran to the moment when the first one ended; 0 if they never did.
    steady: float = 0.0


def run(job: Job, module: str = __name__) -> Result:
    """Start the process and wait for what it found. It ends when we do; a Ctrl-C is ours to hear.

    `module` calls `main` with clients that speak another protocol.
    """
    command = [sys.executable, "-m", module]
    # What we found, wherever we were started from, it finds.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
            found = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Result(**json.loads(found))


class Clients:
    """Streams of one job, all on one event loop."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._marker = job.marker.encode()
        self._failure = job.failure.encode()
        self._running = 0
        self._all_since: int | None = None
        self._over: int | None = None
        self.result = Result(tokens=[0] * len(job.requests))
        #: (arrival, age) of each token.
        self._arrivals: list[tuple[int, int]] = []

    async def run(self) -> Result:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._job.patience)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=2**18) as session:
            await self.prepare(session)
            tasks = []
            for number, request in enumerate(self._job.requests):
                tasks.append(asyncio.create_task(self._follow(session, number, request)))
                await asyncio.sleep(1 / self._job.starts)
            await asyncio.gather(*tasks)
        self._settle()
        return self.result

    async def prepare(self, session: aiohttp.ClientSession) -> None:
        """Do what comes before the first stream starts."""

    async def _follow(self, session: aiohttp.ClientSession, number: int, request: dict[str, Any]) -> None:
        import aiohttp

        try:
            async with asyncio.timeout(self._job.patience):  # a websocket has no time-out of the session's
                await self.read(session, number, request)
        except TimeoutError:
            self.result.errors.append(f"not over after {self._job.patience:.0f} s")
        except aiohttp.ClientError as error:
            self.result.errors.append(f"{type(error).__name__}: {error}"[:LONGEST])
        finally:
            self._over = self._over or now()

    async def read(self, session: aiohttp.ClientSession, number: int, request: dict[str, Any]) -> None:
        """Read one stream to its end, and pass its events to `note`. This one reads server-sent events."""
        began, rest = now(), b""
        async with session.request(**request, allow_redirects=False) as answer:
            if answer.status != 200:
                self.result.errors.append(f"{answer.status}: {(await answer.text())[:LONGEST]}")
                return
            async for data in answer.content.iter_any():
                at = now()
                events, found, rest = (rest + data).rpartition(b"\n\n")
                if found:
                    for event in events.split(b"\n\n"):
                        self.note(number, event, at, began)

    def note(self, number: int, event: bytes, at: int, began: int) -> None:
        """Count the tokens of an event of this stream. It came at `at`; the stream was asked for at `began`."""
        if self._failure and self._failure in event:
            self.result.errors.append(event.decode(errors="replace")[:LONGEST])
        if self._marker not in event:
            return
        for token in FOUND.findall(event):
            self._arrivals.append((at, age(token, at)))
            self.result.tokens[number] += 1
            if self.result.tokens[number] == 1:
                self._begun(at - began)

    def _begun(self, first: int) -> None:
        self.result.first.append(first)
        self._running += 1
        if self._running == len(self._job.requests):
            self._all_since = now()

    def _settle(self) -> None:
        """Keep the tokens that were made while all streams ran: the start of a crowd is another question.

        Where they never did, because some had to wait for others or came seconds late, keep all.
        """
        since, over = self._all_since, self._over
        if since is not None and over is not None:
            self.result.delays = [old for at, old in self._arrivals if since <= at - old < over]
        if since is not None and over is not None and self.result.delays:
            self.result.steady = (over - since) / 1e6
        else:
            self.result.delays = [old for _at, old in self._arrivals]


def main(kind: type[Clients] = Clients) -> None:
    import uvloop

    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    json.dump(asdict(uvloop.run(kind(job).run())), sys.stdout)


def _end_with_who_asked() -> None:
    """Nobody wants to know any more, however they ended, once standard input is closed."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
