"""A queue of files, for sites that have no broker: kombu's `filesystem` transport, made safe for many processes.

Kombu's own writes a message under its final name, and a worker that polls quickly meets the empty file
and dies of it. Here everything is written beside and renamed, so that whoever reads sees all or nothing,
and what cannot be read is put aside.

    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT = "llmapp.broker:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": "/srv/site/queue"}

It loses the messages that a killed worker held. Runs do not depend on it: the sweeper enqueues them again.
"""

# Kombu is annotated in part only.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.transport.virtual import BrokerState
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

#: Seconds for which a worker waits for a message before it looks up.
PATIENCE = 0.2

Binding = filesystem.exchange_queue_t


class Channel(filesystem.Channel):
    """A channel whose folders all lie in the transport option `folder`."""

    @cached_property
    def _folder(self) -> Path:
        folder = Path(self.transport_options["folder"])
        for name in ("messages", "taken", "exchanges"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    # Kombu has a folder for each direction; what one process sends, another receives, so they are the same.

    @cached_property
    def data_folder_in(self) -> str:
        return str(self._folder / "messages")

    @cached_property
    def data_folder_out(self) -> str:
        return self.data_folder_in

    @property
    def control_folder(self) -> Path:
        return self._folder / "exchanges"

    def _put(self, queue: str, payload: object, **kwargs: Any) -> None:  # type: ignore[override]
        # Names sort by time: the oldest message is taken first.
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        try:
            write(Path(self.data_folder_out, name), dumps(payload))
        except OSError as error:
            raise ChannelError(f"Cannot write to {self.data_folder_out}: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """Take the oldest message of `queue` that can be read. Raises `Empty`."""
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            if (path := self._take(name)) is None:
                continue
            with contextlib.suppress(OSError, ValueError):
                payload = loads(bytes_to_str(path.read_bytes()))
                path.unlink()
                return payload
            logger.error("A message of the queue %s cannot be read; it is kept as %s.", queue, path)
        raise Empty

    def _take(self, name: str) -> Path | None:
        """Move a message to where nobody else looks. None when somebody else was quicker."""
        path = self._folder / "taken" / name
        try:
            os.rename(Path(self.data_folder_in, name), path)
        except FileNotFoundError:
            return None
        return path

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        binding = Binding(routing_key or "", pattern or "", queue or "")
        if binding not in self.get_table(exchange):
            self._change_table(exchange, lambda table: table if binding in table else [binding, *table])

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any) -> None:
        self._purge(queue)
        binding = Binding(routing_key or "", pattern or "", queue or "")
        self._change_table(exchange, lambda table: [other for other in table if other != binding])

    def _change_table(self, exchange: str, change: Callable[[list[Any]], list[Any]]) -> None:
        with self._lock():
            write(self._exchange_file(exchange), dumps(change(self.get_table(exchange))))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # Beside the table, because a renamed file takes its lock away with it.
        with Path(self.control_folder, ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Transport(filesystem.Transport):
    Channel = Channel
    #: Seconds. A task starts after 6 ms at the median, for 1.5 % of one core when nothing happens.
    polling_interval = 0.01
    # There is no host to warn about.
    default_connection_params: dict[str, Any] = {}
    #: What is bound, by folder. Kombu remembers it for all of a process, and would bind nothing in a second folder.
    _states: ClassVar[defaultdict[str, BrokerState]] = defaultdict(BrokerState)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.state = self._states[str(client.transport_options.get("folder"))]

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        # A worker looks whether it has to stop after each of these; Celery would let it wait for two seconds.
        super().drain_events(connection, timeout=PATIENCE if timeout is None else min(timeout, PATIENCE))


def write(path: Path, text: str) -> None:
    """Write a file that appears under its name with all of its content."""
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        os.rename(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
