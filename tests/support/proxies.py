"""nginx and Caddy as `deploy/` configures them, on free ports of this machine.

with Nginx(folder, webs=[4001, 4002], static=root) as proxy:
    proxy.http                    # an httpx client that takes it for https://chat.example.org:PORT
    proxy.socket("/ws/...")       # a websocket through it
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.client import ClientConnection, connect

from .loopback import closed_port
from .site import ROOT

HOST = "chat.example.org"
DEPLOY = ROOT / "deploy"


class Proxy:
    """One proxy process, with TLS and a certificate that only its own clients trust."""

    program: ClassVar[str]

    def __init__(self, folder: Path, webs: Sequence[int], static: Path, **changes: str) -> None:
        self.folder, self.webs, self.static, self.changes = folder, webs, static, changes
        self.port, self.plain_port = closed_port(), closed_port()
        folder.mkdir(parents=True)
        self.log = (folder / "log").open("w+")
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command(), env={**os.environ, **self.environment()}, stdout=self.log, stderr=self.log
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait(self) -> None:
        """Wait for its certificate, and for the site behind it."""
        until = time.monotonic() + 20
        while not (self.root.exists() and self._answers()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)
        self.http = self.client()

    def _answers(self) -> bool:
        self.tls = ssl.create_default_context(cafile=str(self.root))
        try:
            return self.client().get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for client in self._clients:
            client.close()
        self.process.terminate()
        self.process.wait(15)
        self.log.close()

    # --- what each of them has ------------------------------------------------------------------

    root: Path

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    # --- for its clients ------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"

    def client(self) -> httpx.Client:
        """Return a client that asks for our host, here. It keeps cookies, as a browser does."""
        client = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": f"{HOST}:{self.port}"},
            verify=self.tls,
            timeout=30,
            trust_env=False,
        )
        client.event_hooks["request"] = [_named]
        self._clients.append(client)
        return client

    def socket(self, path: str, **headers: str) -> ClientConnection:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        url = f"wss://{HOST}:{self.port}{path}"
        return connect(url, sock=plain, ssl=self.tls, additional_headers=headers, max_size=None)

    def said(self) -> str:
        return Path(self.log.name).read_text()


class Nginx(Proxy):
    program = "nginx"

    @property
    def root(self) -> Path:  # type: ignore[override]
        return self.folder / "chat.pem"

    def command(self) -> list[str]:
        make_certificate(self.root, self.folder / "chat.key")
        (self.folder / "site.conf").write_text(self.site())
        (self.folder / "nginx.conf").write_text(self.around())
        return [find("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]

    def site(self) -> str:
        """Return the example with ports, paths and `changes` put in, each of which has to be there once."""
        text = (DEPLOY / "nginx.conf").read_text()
        for old, new in {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "127.0.0.1:8000;": f"127.0.0.1:{self.webs[0]};",
            "127.0.0.1:8001;": f"127.0.0.1:{self.webs[1]};",
            "/etc/ssl/chat.example.org.pem": str(self.root),
            "/etc/ssl/chat.example.org.key": str(self.folder / "chat.key"),
            "root /var/www/llmapp;": f"root {self.static.parent};",
            **self.changes,
        }.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    def around(self) -> str:
        """Return what a distribution's own `nginx.conf` says, without its folders."""
        scratch = "".join(
            f"{name}_temp_path {self.folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off;\nmaster_process off;\npid {self.folder}/pid;\nevents {{ worker_connections 768; }}\n"
            f"http {{\ninclude /etc/nginx/mime.types;\naccess_log off;\n{scratch}include {self.folder}/site.conf;\n}}\n"
        )


class Caddy(Proxy):
    program = "caddy"

    @property
    def root(self) -> Path:  # type: ignore[override]
        return self.folder / "pki" / "authorities" / "local" / "root.crt"

    def command(self) -> list[str]:
        # What stands in front of the example says where to listen, and to ask nobody for a certificate.
        (self.folder / "Caddyfile").write_text(
            f"{{\nadmin off\nlocal_certs\nskip_install_trust\nhttp_port {self.plain_port}\nhttps_port {self.port}\n"
            f"storage file_system {self.folder}\n}}\n" + (DEPLOY / "Caddyfile").read_text()
        )
        return [find("caddy"), "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        webs = " ".join(f"127.0.0.1:{port}" for port in self.webs)
        return {"LLMAPP_WEBS": webs, "LLMAPP_STATIC_PARENT": str(self.static.parent), "HOME": str(self.folder)}


def find(program: str) -> str:
    """Return the program's path. In CI it has to be there."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        assert not os.environ.get("CI"), f"{program} is needed"
        pytest.skip(f"{program} is not installed: deploy/ is NOT tested with it")
    return path


def make_certificate(certificate: Path, key_file: Path) -> None:
    """Sign a certificate of our host with its own key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _named(request: Any) -> None:
    request.extensions["sni_hostname"] = HOST
