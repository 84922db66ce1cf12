"""Which words of PostgreSQL are worth waiting for."""

from __future__ import annotations

import pytest

from llmapp.management.waiting import is_refusal

AT = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '

WORDS = [
    (AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", False),
    (AT + "FATAL:  the database system is starting up", False),
    (AT + "FATAL:  sorry, too many clients already", False),
    (AT + "server closed the connection unexpectedly", False),
    ("connection timeout expired", False),
    ("[Errno -3] failed to resolve host 'db'", False),
    (AT + 'FATAL:  password authentication failed for user "ada"', True),
    (AT + 'FATAL:  database "agents" does not exist', True),
    (AT + 'FATAL:  role "ada" does not exist', True),
    (AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "ada", database "agents", no encryption', True),
    ("connection failed: fe_sendauth: no password supplied", True),
]


@pytest.mark.parametrize("words, refused", WORDS)
def test_a_refusal_is_not_waited_for(words: str, refused: bool) -> None:
    assert is_refusal(words) is refused
