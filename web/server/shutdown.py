"""Contains the graceful shutdown on a signal."""

import asyncio
import signal
from multiprocessing import parent_process
from types import FrameType
from typing import Final

from starlette.applications import Starlette

# A terminal that closes sends SIGHUP, whose default action drops the requests in flight. With
# workers, uvicorn's supervisor handles SIGHUP and replaces the workers one after the other.
SHUTDOWN_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class GracefulShutdown:
    """Handles shutdown signals: readiness fails at once, and after the drain uvicorn stops.

    A second Ctrl-C ends the drain early. uvicorn's handler is called only once, because a second
    call drops the requests in flight.
    """

    def __init__(self, app: Starlette, drain_seconds: int) -> None:
        self._app = app
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()
        self._seen: set[int] = set()
        self._has_forwarded = False

    def await_signals(self) -> None:
        """Installs the signal handlers. Must be called after uvicorn has installed its own.

        A worker also stops when its supervisor process exits.
        """
        self._uvicorn_handler = signal.getsignal(signal.SIGTERM)
        for number in handled_signals():
            signal.signal(number, self._start_drain)
        if supervisor := parent_process():
            self._loop.add_reader(
                supervisor.sentinel, self._on_supervisor_exit, supervisor.sentinel
            )

    def _start_drain(self, number: int, frame: FrameType | None) -> None:
        again = number == signal.SIGINT and number in self._seen
        self._seen.add(number)
        if again or not self._app.state.draining:
            self._app.state.draining = True
            self._loop.call_soon_threadsafe(
                self._loop.call_later, 0 if again else self._drain_seconds, self._stop_server
            )

    def _stop_server(self) -> None:
        if not self._has_forwarded and callable(self._uvicorn_handler):
            self._has_forwarded = True
            self._uvicorn_handler(signal.SIGTERM, None)

    def _on_supervisor_exit(self, sentinel: int) -> None:
        self._loop.remove_reader(sentinel)
        self._app.state.draining = True
        self._stop_server()


def handled_signals() -> list[signal.Signals]:
    """Returns SHUTDOWN_SIGNALS without those ignored since the start. `nohup` ignores SIGHUP."""
    return [number for number in SHUTDOWN_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
