"""The site as `serve` runs it: web and worker processes, and what a person sees of them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from llmapp.runs.queue import QUEUE
from llmapp.whereabouts import asgi_application, celery_package

from . import demo
from .processes import Child, Children, Say, environment

#: Seconds between two looks at the children.
TICK = 0.1

#: Seconds after which it is said what is missing.
LATE = 20.0

#: A child that dies so often before the site was ready will not get better.
TOO_MANY_FAILURES = 4


def health_path() -> str:
    try:
        return reverse("llmapp:health-ready")
    except NoReverseMatch:
        raise CommandError(_('The site\'s urls do not include "llmapp.urls".')) from None


def named(name: str, number: int) -> list[str]:
    """Return a name for each child: a number is in it only where there are several."""
    return [name] if number == 1 else [f"{name} {n}" for n in range(1, number + 1)]


def own_headers() -> dict[str, str]:
    """Return what a request to a loopback address needs to pass for one that came by the site's name, and by TLS."""
    names = [name.lstrip(".") for name in settings.ALLOWED_HOSTS if name != "*"]
    headers = {} if not names or "127.0.0.1" in names else {"Host": names[0]}
    if secure := settings.SECURE_PROXY_SSL_HEADER:
        headers[secure[0].removeprefix("HTTP_").replace("_", "-")] = secure[1]
    return headers


class Site:
    """The children, and what a person sees of them."""

    def __init__(
        self,
        host: str,
        listener: socket.socket,
        webs: int,
        workers: int,
        concurrency: int,
        with_demo: bool,
        home: Path,
        say: Say,
    ) -> None:
        self._host, self._listener, self._port = host, listener, listener.getsockname()[1]
        self._with_demo, self._say = with_demo, say
        self._path = health_path()
        shown = f"[{host.strip('[]')}]" if ":" in host else host
        self.url = f"http://{shown}:{self._port}/"
        web = [Child(name, self._web(), say, [listener.fileno()]) for name in named("web", webs)]
        worker = [Child(name, self._worker(name, concurrency), say) for name in named("worker", workers)]
        self._children = Children(
            [*web, *worker],
            environment(LLMAPP_HOME=str(home), LLMAPP_DEMO="1" if with_demo else "0"),
        )
        self._stopping = threading.Event()
        self._impatient = threading.Event()
        self._ready = threading.Event()

    def _web(self) -> list[str]:
        if not (application := asgi_application()):
            raise CommandError(_("settings.ASGI_APPLICATION is not set."))
        module, _dot, name = application.rpartition(".")
        quiet = ["-v", "0", "--no-server-name", "--application-close-timeout", "5"]
        return ["daphne", "--fd", str(self._listener.fileno()), *quiet, f"{module}:{name}"]

    def _worker(self, name: str, concurrency: int) -> list[str]:
        # Gossip, mingle and heartbeat are for workers that know each other; ours meet in the database.
        alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        # A name of its own: RabbitMQ refuses a second worker of the same name.
        own = ["-n", f"llmapp-{os.getpid()}-{name.replace(' ', '-')}@%h", *alone]
        return ["celery", "-A", celery_package(), "worker", "-Q", QUEUE, "-P", "threads", "-c", str(concurrency), *own]

    def run(self) -> None:
        """Run until a signal comes, or until it is clear that nothing will."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._announce, daemon=True).start()
        failed = None
        try:
            while not self._stopping.wait(TICK) and failed is None:
                self._children.tend()
                failed = self._given_up()
        finally:
            self._stopping.set()
            self._listener.close()
            self._children.stop(self._impatient)
        if failed:
            raise CommandError(_("{name} does not start; its own words are above.").format(name=failed))
        self._say(_("stopped"))

    def _on_signal(self, *args: object) -> None:
        if self._stopping.is_set():
            self._impatient.set()
        self._stopping.set()

    def _given_up(self) -> str | None:
        if self._ready.is_set():
            return None
        return next((child.name for child in self._children if child.failures >= TOO_MANY_FAILURES), None)

    def _announce(self) -> None:
        """Say that a run can be served, once that is so."""
        started, late = time.monotonic(), False
        while not self._stopping.wait(TICK):
            status = self._health()
            if status == 200:
                break
            if not late and time.monotonic() - started > LATE:
                late = True
                self._say(_("Not ready yet: {path} answers {status}.").format(path=self._path, status=status or "-"))
        else:
            return
        self._ready.set()
        self._say("\n".join(self._welcome()))

    def _health(self) -> int | None:
        """Ask whether a run can be served. None while nobody answers."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host.strip("[]"), self._host.strip("[]"))
        client = http.client.HTTPConnection(host, self._port, timeout=5)
        try:
            client.request("GET", self._path, headers=own_headers())
            return client.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            client.close()

    def _welcome(self) -> list[str]:
        lines = ["", f"ready {self.url}", ""]
        if self._with_demo:
            lines += [
                _("  Sign in:  {link}").format(link=self.url.rstrip("/") + demo.sign_in_path()),
                _("            The link is valid once, for 10 minutes. A new start makes a new one."),
                *demo.describe(),
            ]
        return [*lines, _("  Stop:     Ctrl-C"), ""]
