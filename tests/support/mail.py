"""A mail server on loopback that keeps what it is sent. It can also take a connection and never say a word.

with MailServer() as server:
    server.port, server.mails       # each an `EmailMessage`
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any


class MailServer:
    def __init__(self, *, silent: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.connections = 0
        self._silent = silent
        self._changed = threading.Condition()
        self._closing = threading.Event()

    def __enter__(self) -> MailServer:
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.serve(self.request, self.rfile, self.wfile)

        self._server = _Threads(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, client: socket.socket, lines: Any, out: Any) -> None:
        self.connections += 1
        if self._silent:
            self._closing.wait(60)
            return
        out.write(b"220 loopback\r\n")
        for line in lines:
            word = line[:4].upper()
            if word == b"DATA":
                out.write(b"354 go on\r\n")
                self._keep(b"".join(iter(lines.readline, b".\r\n")))
            out.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            if word == b"QUIT":
                return

    def _keep(self, raw: bytes) -> None:
        mail = message_from_bytes(raw.replace(b"\r\n..", b"\r\n."), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self._changed:
            self.mails.append(mail)
            self._changed.notify_all()

    def wait_for(self, number: int, seconds: float = 10.0) -> list[EmailMessage]:
        """Return the mails once there are so many."""
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: len(self.mails) >= number, until - time.monotonic())
            assert len(self.mails) >= number, f"{len(self.mails)} mails"
            return list(self.mails)


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
