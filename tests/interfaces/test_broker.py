"""The queue of files, with several processes at it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from llmapp import broker

MESSAGES = 300


def connect(folder: Path) -> Connection:
    return Connection("filesystem://", transport=broker.Transport, transport_options={"folder": str(folder)})


def declare(channel: Any) -> None:
    Queue("llmapp", Exchange("llmapp", type="direct"), routing_key="llmapp")(channel).declare()


def publish(folder: Path, count: int) -> None:
    with connect(folder) as connection:
        channel = connection.default_channel
        for number in range(count):
            channel._put("llmapp", {"body": number, "filler": "x" * 5000})


def bind(folder: Path, queues: list[str]) -> None:
    with connect(folder) as connection:
        for name in queues:
            connection.default_channel._queue_bind("all", name, "", name)


def test_a_reader_that_polls_while_another_process_writes_meets_no_broken_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=publish, args=(tmp_path, MESSAGES))
    writer.start()
    received = []
    with connect(tmp_path) as connection:
        end = time.monotonic() + 30
        while len(received) < MESSAGES and time.monotonic() < end:
            try:
                received.append(connection.default_channel._get("llmapp")["body"])
            except Empty:
                continue
    writer.join(10)
    assert received == list(range(MESSAGES))
    assert not caplog.records


def test_two_processes_that_bind_queues_at_once_lose_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    names = [[f"{process}-{number}" for number in range(40)] for process in "ab"]
    processes = [context.Process(target=bind, args=(tmp_path, queues)) for queues in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    with connect(tmp_path) as connection:
        assert {row.queue for row in connection.default_channel.get_table("all")} == {*names[0], *names[1]}


def test_a_message_that_cannot_be_read_is_put_aside_and_the_next_one_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(tmp_path) as connection, caplog.at_level(logging.ERROR, logger="llmapp.broker"):
        channel = connection.default_channel
        channel._put("llmapp", {"body": 1})
        (first,) = (tmp_path / "messages").iterdir()
        first.write_text("{")
        channel._put("llmapp", {"body": 2})
        assert channel._get("llmapp") == {"body": 2}
        with pytest.raises(Empty):
            channel._get("llmapp")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [first.name]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("folder", ["first", "second"])
def test_a_message_goes_through_kombu_and_leaves_nothing_behind(tmp_path: Path, folder: str) -> None:
    """Twice, for kombu remembers for all of a process what is bound; the folders are different ones."""
    with connect(tmp_path) as connection:
        declare(connection.default_channel)
        queue = connection.SimpleQueue("llmapp")
        queue.put({"run": "1"})
        message = queue.get(timeout=5)
        assert message.payload == {"run": "1"}
        message.ack()
        queue.close()
    assert not list((tmp_path / "messages").iterdir())
    assert not list((tmp_path / "taken").iterdir())


def test_a_half_written_message_is_not_seen(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        channel = connection.default_channel
        (Path(channel.data_folder_in) / "1_x.llmapp.msg.abc.part").write_text("{")
        assert channel._size("llmapp") == 0
        with pytest.raises(Empty):
            channel._get("llmapp")


def test_a_deleted_queue_is_unbound(tmp_path: Path) -> None:
    bind(tmp_path, ["a", "b"])
    with connect(tmp_path) as connection:
        connection.default_channel._delete("a", "all", "a", "")
    table = json.loads((tmp_path / "exchanges" / "all.exchange").read_text())
    assert [row[2] for row in table] == ["b"]


def test_all_folders_are_in_one_place_and_private(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"messages", "taken", "exchanges"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
