"""Ends the program gracefully on a signal."""

import asyncio
import signal
from multiprocessing import parent_process
from types import FrameType
from typing import Final

from starlette.applications import Starlette

# A terminal that closes sends SIGHUP, which would drop the requests in flight. With workers,
# uvicorn's supervisor gets it and replaces them one after the other.
ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ending:
    """What a signal does: readiness turns red at once, and after the drain uvicorn's own handler
    has its turn.

    A second Ctrl-C cuts the drain short. uvicorn is told once only: told twice, it would drop what
    is in flight.
    """

    def __init__(self, app: Starlette, drain_seconds: int) -> None:
        self._app = app
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()
        self._seen: set[int] = set()
        self._is_told = False

    def await_signals(self) -> None:
        """To be called after uvicorn has set its handlers.

        A worker whose supervisor dies comes to its end too.
        """
        self._tell_uvicorn = signal.getsignal(signal.SIGTERM)
        for number in handled_signals():
            signal.signal(number, self._begin)
        if supervisor := parent_process():
            self._loop.add_reader(supervisor.sentinel, self._outlive, supervisor.sentinel)

    def _begin(self, number: int, frame: FrameType | None) -> None:
        again = number == signal.SIGINT and number in self._seen
        self._seen.add(number)
        if again or not self._app.state.draining:
            self._app.state.draining = True
            self._loop.call_soon_threadsafe(
                self._loop.call_later, 0 if again else self._drain_seconds, self._end
            )

    def _end(self) -> None:
        if not self._is_told and callable(self._tell_uvicorn):
            self._is_told = True
            self._tell_uvicorn(signal.SIGTERM, None)

    def _outlive(self, sentinel: int) -> None:
        self._loop.remove_reader(sentinel)
        self._app.state.draining = True
        self._end()


def handled_signals() -> list[signal.Signals]:
    """ENDINGS without those that were ignored from the start: `nohup` ignores SIGHUP."""
    return [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
