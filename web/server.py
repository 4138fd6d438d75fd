"""uvicorn, started: one process, or as many as WEB_CONCURRENCY says."""

import os
import signal
import sys
from typing import Final

import uvicorn
from starlette.applications import Starlette

from web.app import create_app
from web.logs import start_logging
from web.settings import Settings, read_settings

BACKLOG: Final = 4096  # connections that may wait to be accepted
KEEP_ALIVE: Final = 15  # seconds
GRACE: Final = 10  # seconds that a request in flight has when the program is told to stop


def make_app() -> Starlette:
    """The application of a worker process, which reads the environment itself."""
    start_logging()
    return create_app(read_settings(os.environ))


class Announcing(uvicorn.Server):
    """uvicorn's server, which says where it can be reached once it can."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self.address = address

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            print(f"Latchkey is ready at {self.address}", flush=True)


def serve(settings: Settings) -> int:
    """Serve until told to stop; 0, or 1 where it could not start."""
    for notice in settings.notices:
        print(notice, file=sys.stderr)
    if settings.workers > 1:
        print(f"Latchkey starts {settings.workers} processes at {settings.base_url}", flush=True)
        uvicorn.run("web.server:make_app", factory=True, workers=settings.workers, **_options(settings))  # type: ignore[arg-type]
        return 0
    start_logging()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn handles them, then raises them again: we are done by then
        signal.signal(number, lambda *_: None)
    server = Announcing(uvicorn.Config(create_app(settings), **_options(settings)), settings.base_url)  # type: ignore[arg-type]
    server.run()
    return 0 if server.started else 1


def _options(settings: Settings) -> dict[str, object]:
    return {
        "host": settings.host,
        "port": settings.port,
        "server_header": False,
        "proxy_headers": False,  # whom to believe is TRUSTED_PROXIES' to say
        "access_log": False,
        "log_config": None,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE,
        "timeout_graceful_shutdown": GRACE,
        "ws": "none",
    }
