"""Contains a small server with planted vulnerabilities, which a working scanner must find."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.attack.program import LOOPBACK


class VulnerableHandler(BaseHTTPRequestHandler):
    """Inserts `id` of `/?id=` into an SQL statement and into the page without escaping.

    The response to every other path is an empty JSON object. The server is also the external URL
    that a scanner tries to make the program request.
    """

    protocol_version = "HTTP/1.1"
    requested_paths: ClassVar[list[str]]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.requested_paths.append(url.path)
        if url.path == "/":
            self.respond("text/html", render_page(parse_qs(url.query).get("id", ["1"])[0]))
        else:
            self.respond("application/json", "{}")

    def respond(self, content_type: str, text: str) -> None:
        body = text.encode(errors="replace")
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing."""


class SilentServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_ip_address: object) -> None:
        """Ignores errors, because scanners disconnect before they receive the response."""


def render_page(id: str) -> str:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        # Payloads that take much time also take much memory.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        connection.execute(
            "CREATE TABLE users AS SELECT 1 AS id, 'alice' AS name UNION SELECT 2, 'bob'"
        )
        try:
            rows = connection.execute(f"SELECT name FROM users WHERE id = '{id}'").fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            rows = [(f"sqlite3.OperationalError: {error}",)]
    names = " ".join(str(row[0]) for row in rows)
    return f"<html><body><a href='/?id=1'>one</a><p>{id}</p><p>{names}</p></body></html>"


@contextlib.contextmanager
def serve_vulnerable() -> Iterator[tuple[str, list[str]]]:
    """Starts the server and yields its URL and the list of the requested paths."""

    class Handler(VulnerableHandler):
        requested_paths: ClassVar[list[str]] = []

    server = SilentServer((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/", Handler.requested_paths
    finally:
        server.shutdown()
        server.server_close()
