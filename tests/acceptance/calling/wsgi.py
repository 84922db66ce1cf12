"""The site under WSGI, on a port of its own, which it prints: `python -m tests.acceptance.calling.wsgi`."""

from __future__ import annotations

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from django.core.wsgi import get_wsgi_application


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


if __name__ == "__main__":
    with make_server("127.0.0.1", 0, get_wsgi_application(), Server) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
