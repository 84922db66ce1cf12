"""What processes of this machine cost, held against processes that do something known."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time

import pytest

from llmapp.measuring import processes

GONE = 2**22 + 1

#: Holds a port that it inherited, and a child that holds it too.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[int(sys.argv[1])])
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


def test_cpu_is_what_was_used() -> None:
    before, began = processes.cpu([os.getpid()]), time.process_time()
    while time.process_time() - began < 0.1:
        pass
    assert 0.08 <= processes.cpu([os.getpid()]) - before < 0.5


def test_memory_is_ours() -> None:
    assert 2**23 < processes.memory([os.getpid()]) < 2**31


def test_who_is_gone_costs_nothing() -> None:
    assert (processes.cpu([GONE]), processes.memory([GONE])) == (0, 0)
    assert processes.program(GONE) == ""
    assert processes.files_allowed(GONE) is None
    assert processes.with_children([GONE]) == {GONE}


def test_children_and_their_children_belong_to_it() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 30 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        sleeper = int(shell.stdout.readline())
        assert {shell.pid, sleeper} <= processes.with_children([os.getpid()])
        assert processes.with_children([shell.pid]) == {shell.pid, sleeper}
        os.kill(sleeper, 15)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_listens_is_found_by_its_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        assert processes.listening(port) == {os.getpid()}
        # Who is only connected to it is not one.
        with socket.create_connection((host, port)):
            assert processes.listening(port) == {os.getpid()}
    assert processes.listening(port) == set()


def test_who_holds_a_port_for_its_children_does_not_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-c", PARENT, str(server.fileno())]
        parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[server.fileno()]
        )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert processes.listening(port) == {child}
        assert processes.program(child).startswith("python")
        assert parent.stdin is not None
        parent.stdin.close()


def test_open_files_are_allowed_as_far_as_possible() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert processes.files_allowed(os.getpid()) == before[0]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert processes.allow_files(100) == 256
        assert processes.allow_files(300) == 300
        assert processes.allow_files(before[1] + 1) == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_machine_has_idle_moments() -> None:
    before = processes.idle()
    time.sleep(0.2)
    assert 0 <= processes.idle() - before <= 0.25 * (os.cpu_count() or 1)
