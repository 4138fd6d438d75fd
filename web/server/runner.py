"""Contains the checks at the start and the start of uvicorn, in WEB_CONCURRENCY processes."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from functools import partial
from socket import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOL_SOCKET, socket
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from db.maintenance.schema import is_usable
from db.maintenance.startup import RETRY_SECONDS
from web.app import create_app
from web.observability.logs import log_notice, start_logging
from web.product import load_chosen_product
from web.server.dependency_check import find_unsafe
from web.server.shutdown import GracefulShutdown, handled_signals
from web.server.timeout_protocol import ProtocolFactory
from web.settings.server_settings import ServerSettings, read_server_settings
from web.settings.settings import Settings, read_settings, require_resolvable_host

BACKLOG: Final = 4096  # This is the number of connections that may wait to be accepted.
KEEP_ALIVE_SECONDS: Final = 15
GRACE_SECONDS: Final = 10  # Requests in flight have this time after a shutdown signal.
WORKER_START_SECONDS: Final = 30  # A new worker process must serve within this time.
WANTED_OPEN_FILES: Final = 4096  # Each connection needs one file descriptor.


def serve(settings: Settings, server_settings: ServerSettings) -> int:
    """Serves until a shutdown signal arrives. Returns the exit status.

    The status is 0, or 1 if the server could not start. Raises InvalidSetting.
    """
    if unsafe := find_unsafe():
        print(f"latchkey: {unsafe}", file=sys.stderr)
        return 1
    start_logging(as_json=settings.json_logs)
    for notice in (
        *settings.notices,
        *server_settings.notices,
        *_raise_file_limit(),
        *_delivery_notices(settings),
    ):
        log_notice(notice)
    require_resolvable_host(settings)
    if settings.workers > 1:
        return _serve_with_workers(settings)
    factory = partial(make_app, settings, server_settings)
    config = uvicorn.Config(factory, **server_options(settings))  # type: ignore[arg-type]
    server = ReadyServer(config, settings)
    # uvicorn raises a handled signal again after its shutdown. The server has ended by then, so the
    # signal is ignored. Before the start it must still end the program.
    for number in handled_signals():
        signal.signal(number, lambda *_: None if server.started else sys.exit(1))
    with contextlib.suppress(SystemExit):  # uvicorn has already logged the error.
        server.run(_dual_stack_sockets(settings))
    return 0 if server.started else 1


def _serve_with_workers(settings: Settings) -> int:
    config = uvicorn.Config("web.server.runner:make_app", **server_options(settings))  # type: ignore[arg-type]
    try:
        supervisor = Supervisor(
            config, _dual_stack_sockets(settings) or [config.bind_socket()], settings
        )
    except SystemExit:  # uvicorn has already logged the error.
        return 1
    supervisor.run()
    return 1 if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes) else 0


def make_app(
    settings: Settings | None = None, server_settings: ServerSettings | None = None
) -> Starlette:
    """Returns the application. uvicorn calls this function while the server starts.

    A worker process passes no settings and reads them from its own environment.
    """
    settings = settings or read_settings(os.environ)
    start_logging(as_json=settings.json_logs)
    server_settings = server_settings or read_server_settings(os.environ)
    product = load_chosen_product(settings)
    app = create_app(settings, metrics_token=server_settings.metrics_token, product=product)
    GracefulShutdown(app, server_settings.drain_seconds).await_signals()
    return app


class ReadyServer(uvicorn.Server):
    """uvicorn's server, which prints its URL once it serves and the database is usable."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self.settings = settings

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self.announcement = asyncio.create_task(announce_ready(self.settings))


class Supervisor(Multiprocess):
    """uvicorn's supervisor of several workers, which prints the URL once all of them serve."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], settings: Settings) -> None:
        super().__init__(config, sockets)
        self.settings = settings

    def init_processes(self) -> None:
        super().init_processes()
        if all(
            process.wait_until_ready(WORKER_START_SECONDS, self.should_exit)
            for process in self.processes
        ):
            ready = announce_ready(self.settings, f", in {len(self.processes)} processes")
            Thread(target=asyncio.run, args=(ready,), daemon=True).start()

    def terminate_all(self) -> None:
        """Closes the listening sockets, then ends the workers.

        A socket that stays open in the supervisor would accept connections that no worker serves.
        """
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def _dual_stack_sockets(settings: Settings) -> list[socket] | None:
    """Returns a socket that accepts IPv4 and IPv6 for HOST=::, and None for any other HOST.

    asyncio creates IPv6-only sockets. Exits with status 1 if the port is in use.
    """
    if settings.host != "::":
        return None
    listening = socket(AF_INET6)
    listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listening.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as problem:
        print(
            f"latchkey: cannot listen on [::]:{settings.port}: {problem.strerror}", file=sys.stderr
        )
        sys.exit(1)
    listening.set_inheritable(True)
    return [listening]


def _raise_file_limit() -> list[str]:
    """Raises the limit of open files to the hard limit. Returns a warning if that is too low."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Some systems reject a soft limit that equals an infinite hard limit.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    if hard_limit == resource.RLIM_INFINITY or hard_limit >= WANTED_OPEN_FILES:
        return []
    return [
        f"warning: only {hard_limit} open files are allowed, and each connection needs one: raise "
        f"`ulimit -n` to {WANTED_OPEN_FILES}"
    ]


def _delivery_notices(settings: Settings) -> list[str]:
    """Returns the server that mail is sent by, and the host of the webhooks.

    Without a mail server, `settings` has a warning. The rest of the webhook's URL may be a secret.
    """
    notices = []
    if settings.mail is not None:
        server, sender = settings.mail, settings.mail_from.email
        notices.append(f"mail is sent by {server.host}, port {server.port}, from {sender}")
    if settings.webhook is not None:
        notices.append(f"webhooks are sent to {urlsplit(settings.webhook.url.reveal()).hostname}")
    return notices


def server_options(settings: Settings) -> dict[str, object]:
    return {
        "factory": True,
        # uvicorn would read WEB_CONCURRENCY itself, and fails if it is an empty string.
        "workers": settings.workers,
        "host": settings.host,
        "port": settings.port,
        "server_header": False,
        "proxy_headers": False,  # TRUSTED_PROXIES decides which proxies are trusted.
        "access_log": False,
        "log_config": None,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "http": ProtocolFactory(),
        "ws": "none",
    }


async def announce_ready(settings: Settings, addition: str = "") -> None:
    """Prints the URL as soon as the database is usable.

    Until then, the log contains the database problem.
    """
    product = load_chosen_product(settings).data
    while not await is_usable(settings.database_url, product):  # noqa: ASYNC110  (no event reports that the database is usable)
        await asyncio.sleep(RETRY_SECONDS)
    print(f"Latchkey is ready at {settings.public_url}{addition}", flush=True)
    if settings.has_mailbox:
        print(f"Its mails are at {settings.public_url}/dev/mailbox", flush=True)
