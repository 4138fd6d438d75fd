"""The protocol between a browser and the server: uvicorn's own, which does not wait for slow or endless headers."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEADERS: Final = 32 * 1024  # bytes that are kept while the headers go on; what is complete is measured exactly
TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PromptProtocol(HttpToolsProtocol):
    """Closes who sends headers too slowly (slowloris) or without end. Bodies are `web.middleware.Limits`' to bound."""

    headers_within = 10.0  # seconds, from the first byte of a request, or from the connection
    _deadline: asyncio.TimerHandle | None = None
    _unfinished = 0  # bytes of headers that have come, and are not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None:
            self._unfinished += len(data)
            if self._unfinished > LARGEST_HEADERS:
                self._close(TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._unfinished = 0
        self._deadline = self.loop.call_later(self.headers_within, self._close, TOO_LATE)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
