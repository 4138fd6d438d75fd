"""Contains functions that start the program and nginx, with the example configuration, as
processes.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from secrets import randbelow
from typing import Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.environment import ENVIRON
from web.settings.paths import ROOT

LATCHKEY: Final = Path(sys.executable).parent / "latchkey"
NGINX: Final = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
EXAMPLE: Final = (ROOT / "deploy" / "nginx.conf").read_text()
# The same with the locations of deploy/nginx-base-path.conf.
BASE_PATH_EXAMPLE: Final = (
    EXAMPLE.partition("    location / {")[0]
    + (ROOT / "deploy" / "nginx-base-path.conf").read_text()
    + "}\n"
)
TIMEOUT_SECONDS: Final = 30

needs_nginx = pytest.mark.skipif(
    NGINX is None and "REQUIRE_NGINX" not in os.environ, reason="there is no nginx"
)


def free_port() -> int:
    """Returns a free port below the kernel's ephemeral ports.

    A client could get an ephemeral port before the program listens on it.
    """
    while True:
        port = 10_000 + randbelow(20_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Program:
    """A running program and its port."""

    port: int
    process: subprocess.Popen[str]

    def wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.02)
        raise AssertionError("it does not serve")

    def end(self) -> tuple[int, str]:
        """Stops the program with SIGTERM and returns its exit code and output.

        Kills its process group after TIMEOUT_SECONDS.
        """
        try:
            self.process.terminate()
            output = "".join(self.process.communicate(timeout=TIMEOUT_SECONDS))
            return self.process.returncode, output
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def started(port: int, *command: str | Path, **environ: str) -> Iterator[Program]:
    pipe = subprocess.PIPE
    environ = {"PATH": os.environ["PATH"], "PORT": str(port), "ENV_FILE": "off", **environ}
    program = Program(
        port,
        subprocess.Popen(
            command, env=environ, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ),
    )
    try:
        program.wait_until_it_serves()
        yield program
    finally:
        program.end()


@contextmanager
def serving(database_url: str, **settings: str) -> Iterator[Program]:
    """Runs `latchkey serve` on a free port."""
    settings = {**ENVIRON, "RATE_LIMITS": "off", "DATABASE_URL": database_url, **settings}
    with started(free_port(), LATCHKEY, "serve", **settings) as program:
        yield program


@contextmanager
def nginx(
    folder: Path, port: int, *upstream: int, example: str = EXAMPLE, **changes: str
) -> Iterator[Program]:
    """Runs nginx with the example configuration and this host's ports, paths and upstream servers.

    `changes` maps words of the configuration to the text that follows them instead.
    """
    path = write_nginx(folder, port, *upstream, example=example, **changes)
    with started(port, NGINX or "nginx", "-c", path) as program:
        yield program


def write_nginx(
    folder: Path, port: int, *upstream: int, example: str = EXAMPLE, **changes: str
) -> Path:
    write_certificate(folder)
    server = re.search(r"server 127\.0\.0\.1:8000([^;]*);", example)
    assert server is not None
    servers = "\n".join(f"server 127.0.0.1:{number}{server[1]};" for number in upstream)
    text = example.replace(server[0], servers).replace("listen 80;", f"listen {free_port()};")
    text = text.replace("listen 443 ", f"listen {port} ").replace("/etc/ssl/latchkey", str(folder))
    text = text.replace("/var/cache/nginx/latchkey", f"{folder}/cache")
    for old, new in changes.items():
        text = re.sub(rf"\b{old}\b[^;\s]*", f"{old}{new}", text)
    (folder / "latchkey.conf").write_text(text)
    temporary = "".join(
        f"{module}_temp_path {folder}/{module};"
        for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"""
        daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
        events {{ worker_connections 512; }}
        http {{ access_log off; {temporary} include {folder}/latchkey.conf; }}
    """
    (folder / "nginx.conf").write_text(main)
    return folder / "nginx.conf"


def write_certificate(folder: Path) -> None:
    """Writes a self-signed certificate for localhost and its private key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "privkey.pem").write_bytes(key.private_bytes(pem, *plain))


class RoundRobinTransport(httpx.AsyncBaseTransport):
    """Sends each request to the next of several ports.

    Each request has its own connection, because a worker would serve all requests of one.
    """

    def __init__(self, *ports: int, certificate: Path | None = None) -> None:
        verify = ssl.create_default_context(cafile=str(certificate)) if certificate else True
        self._inner = httpx.AsyncHTTPTransport(
            verify=verify, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._ports = cycle(ports)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=next(self._ports))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
