"""Contains the examples of deploy/forward as running programs: a reverse proxy, Latchkey and an
application behind it.
"""

import os
import re
import shutil
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD
from tests.conftest import SECRET
from tests.processes import NGINX, TIMEOUT_SECONDS, Program, free_port, started, write_certificate
from web.app import create_app, open_store
from web.settings.paths import ROOT
from web.settings.settings import read_settings

FORWARD: Final = ROOT / "deploy" / "forward"
APPS: Final = FORWARD / "apps"
BIN: Final = Path(sys.executable).parent
PATH: Final = f"{BIN}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
CADDY: Final = shutil.which("caddy", path=PATH)
TRAEFIK: Final = shutil.which("traefik", path=PATH)

Layout = Literal["one-host", "subdomains"]
ProxyName = Literal["nginx", "caddy", "traefik"]


class RunningClock:
    """Returns the time of the machine plus an offset, which changes only through `move`."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def move(self, **time: float) -> None:
        self.offset += timedelta(**time)


class LocalTransport(httpx.HTTPTransport):
    """Connects to this machine for every host name, and accepts every certificate."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(verify=context)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # The client reads the URL of its request again, to find the domain of the cookies.
        local = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return super().handle_request(local)


@dataclass
class Site:
    """Latchkey and an application behind a proxy.

    `accounts` is the URL of Latchkey with its prefix, `origin` that of the application, and
    `internal` that of Latchkey without the proxy.
    """

    proxy: ProxyName
    accounts: str
    origin: str
    internal: str
    application_port: int
    database: Path
    clock: RunningClock
    has_token_endpoint: bool = False

    def browser(self) -> httpx.Client:
        return httpx.Client(transport=LocalTransport(), base_url=self.origin, timeout=30)

    def user(self, name: str) -> httpx.Client:
        """Returns the browser of a user who has signed up."""
        browser = self.browser()
        form = {"name": name, "email": email_of(name), "password": PASSWORD}
        answer = browser.post(f"{self.accounts}/signup", data=form)
        if answer.status_code == 422:  # The user signed up in an earlier test.
            answer = self.log_in(browser, name)
        assert answer.status_code == 303, answer.text
        return browser

    def direct(self) -> httpx.Client:
        """Returns a client that connects to the application past the proxy."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.application_port}")

    def session_cookie(self, name: str) -> str:
        cookies = self.user(name).cookies.jar
        return next(cookie.value or "" for cookie in cookies if "session" in cookie.name)

    def rows(self, sql: str) -> list[tuple]:
        """Runs a statement on the database of Latchkey and returns its rows."""
        with closing(sqlite3.connect(self.database)) as database, database:
            return database.execute(sql).fetchall()

    def wait_until_it_serves(self) -> None:
        """Waits for the routes of a proxy that listens before it has read them."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError), self.browser() as browser:
                if browser.get("/app/").status_code == 303:
                    return
            time.sleep(0.05)
        raise AssertionError("it does not serve")

    def log_in(self, browser: httpx.Client, name: str, target: str = "") -> httpx.Response:
        form = {"email": email_of(name), "password": PASSWORD, "next": target}
        return browser.post(f"{self.accounts}/login", data=form)


def email_of(name: str) -> str:
    return f"{name.lower().replace('ë', 'e')}@example.com"


@contextmanager
def running_site(
    folder: Path,
    migrated: Path,
    proxy: ProxyName,
    layout: Layout,
    application_port: int,
    port: int = 0,
) -> Iterator[Site]:
    """Runs Latchkey in a thread, and the proxy with its example in front of it."""
    port = port or free_port()
    host = "localhost" if layout == "one-host" else "accounts.example.com"
    base_url = f"https://{host}:{port}"
    prefix = "/accounts" if layout == "one-host" else ""
    origin = base_url if layout == "one-host" else f"https://app.example.com:{port}"
    settings = {
        "BASE_URL": base_url,
        "TRUSTED_PROXIES": "127.0.0.1",
        "RETURN_TO": "/app,/docs" if layout == "one-host" else origin,
        **({"COOKIE_DOMAIN": "example.com"} if layout == "subdomains" else {}),
        **({"BASE_PATH": prefix} if prefix else {}),
    }
    clock = RunningClock()
    with running_latchkey(folder, migrated, clock, **settings) as latchkey_port:
        ports = {"8000": latchkey_port, "9000": application_port}
        with PROXIES[proxy](folder, layout, port, ports):
            site = Site(
                proxy=proxy,
                accounts=f"{base_url}{prefix}",
                origin=origin,
                internal=f"http://127.0.0.1:{latchkey_port}{prefix}",
                application_port=application_port,
                database=folder / "latchkey.db",
                clock=clock,
            )
            site.wait_until_it_serves()
            yield site


@contextmanager
def running_latchkey(
    folder: Path, migrated: Path, clock: RunningClock, **changes: str
) -> Iterator[int]:
    """Runs Latchkey in a thread of this process and yields its port."""
    shutil.copy(migrated, folder / "latchkey.db")
    environ = {
        "SESSION_SECRET": SECRET,
        "RATE_LIMITS": "off",
        "DATABASE_URL": f"sqlite:///{folder}/latchkey.db",
        **changes,
    }
    settings = read_settings(environ, data=folder)
    store = open_store(settings, passwords=Passwords(memory_kib=8, passes=1), now=clock)
    with running_in_a_thread(create_app(settings, store)) as port:
        yield port


@contextmanager
def running_in_a_thread(asgi_app: ASGIApp) -> Iterator[int]:
    """Serves an application in a thread of this process and yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(asgi_app, log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


async def show_request(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that returns the request that it got. The names of its headers are as a WSGI
    server writes them: in upper case, with `_` for `-`.
    """
    if scope["type"] == "http":
        request = Request(scope, receive)
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.upper().replace("-", "_"), []).append(value)
        received = {"headers": headers, "size": len(await request.body())}
        await JSONResponse(received)(scope, receive, send)


def example(proxy: ProxyName, name: str, ports: dict[str, int]) -> str:
    """Returns an example with the ports of this test."""
    text = (FORWARD / proxy / name).read_text()
    for old, new in ports.items():
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    return text


@contextmanager
def _nginx(folder: Path, layout: Layout, port: int, ports: dict[str, int]) -> Iterator[Program]:
    if NGINX is None:
        pytest.skip("there is no nginx")
    write_certificate(folder)
    (folder / "latchkey").mkdir()
    for name in ("check.conf", "identity.conf"):
        shutil.copy(FORWARD / "nginx" / name, folder / "latchkey" / name)
    text = example("nginx", f"{layout}.conf", ports)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = text.replace("/etc/ssl/example", str(folder)).replace("root /srv;", f"root {folder};")
    if layout == "one-host":
        text = text.replace("server_name example.com;", "server_name localhost;")
    temporary = "".join(
        f"{module}_temp_path {folder}/{module};"
        for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off; user root; worker_processes 1; pid {folder}/nginx.pid;
        error_log stderr warn; events {{ worker_connections 256; }}
        http {{ access_log off; underscores_in_headers on; {temporary} types {{ text/html html; }} {text} }}"""
    )
    with started(port, NGINX, "-c", folder / "nginx.conf") as program:
        yield program


@contextmanager
def _caddy(folder: Path, layout: Layout, port: int, ports: dict[str, int]) -> Iterator[Program]:
    if CADDY is None:
        pytest.skip("there is no Caddy")
    write_certificate(folder)
    (folder / "latchkey.caddy").write_text(example("caddy", "latchkey.caddy", ports))
    text = example("caddy", f"{layout}.Caddyfile", ports)
    text = re.sub(r"^(\S+) \{$", rf"https://\1:{port} {{\n\ttls internal", text, flags=re.MULTILINE)
    text = text.replace("tls internal", f"tls {folder}/fullchain.pem {folder}/privkey.pem")
    text = text.replace(".example.com\n", f".example.com:{port}\n")
    if layout == "one-host":
        text = text.replace("https://example.com", "https://localhost")
        text = text.replace(" example.com\n", f" localhost:{port}\n")
    head = "{\n\tadmin off\n\tauto_https off\n\tskip_install_trust\n}\n"
    (folder / "Caddyfile").write_text(head + text)
    environ = {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with started(port, CADDY, "run", "--config", folder / "Caddyfile", **environ) as program:
        yield program


@contextmanager
def _traefik(folder: Path, layout: Layout, port: int, ports: dict[str, int]) -> Iterator[Program]:
    if TRAEFIK is None:
        pytest.skip("there is no Traefik")
    write_certificate(folder)
    text = example("traefik", f"{layout}.yaml", ports)
    if layout == "one-host":
        text = text.replace("`example.com`", "`localhost`")
    certificate = f"{{certFile: {folder}/fullchain.pem, keyFile: {folder}/privkey.pem}}"
    text += f"\ntls:\n  stores: {{default: {{defaultCertificate: {certificate}}}}}\n"
    (folder / "dynamic.yaml").write_text(text)
    (folder / "traefik.yaml").write_text(
        f"""
        entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
        providers: {{file: {{filename: {folder}/dynamic.yaml, watch: false}}}}
        log: {{level: WARN}}
        global: {{checkNewVersion: false, sendAnonymousUsage: false}}
        """
    )
    with started(port, TRAEFIK, f"--configFile={folder}/traefik.yaml") as program:
        yield program


PROXIES: Final = {"nginx": _nginx, "caddy": _caddy, "traefik": _traefik}
