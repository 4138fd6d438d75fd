"""A small server with planted vulnerabilities, which shows that a scanner can find them."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.attack.program import LOOPBACK


class Holes(BaseHTTPRequestHandler):
    """Inserts `id` of `/?id=` into an SQL statement and into the page without escaping.

    Every other path is answered with an empty JSON object. The server is also the external URL that
    a scanner tries to make the program request.
    """

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        email_of = urlsplit(self.path)
        self.asked.append(email_of.path)
        if email_of.path == "/":
            self.answer("text/html", page(parse_qs(email_of.query).get("id", ["1"])[0]))
        else:
            self.answer("application/json", "{}")

    def answer(self, kind: str, text: str) -> None:
        body = text.encode(errors="replace")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        """Logs nothing."""


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_ip_address: object) -> None:
        """Ignores errors, because scanners disconnect before they are answered."""


def page(id: str) -> str:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        # Payloads that take much time also take much memory.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        connection.execute(
            "CREATE TABLE people AS SELECT 1 AS id, 'alice' AS name UNION SELECT 2, 'bob'"
        )
        try:
            rows = connection.execute(f"SELECT name FROM people WHERE id = '{id}'").fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            rows = [(f"sqlite3.OperationalError: {error}",)]
    return f"<html><body><a href='/?id=1'>one</a><p>{id}</p><p>{' '.join(str(row[0]) for row in rows)}</p></body></html>"


@contextlib.contextmanager
def planted() -> Iterator[tuple[str, list[str]]]:
    """Starts the server and yields its URL and the list of the requested paths."""

    class Planted(Holes):
        asked: ClassVar[list[str]] = []

    server = Quiet((LOOPBACK, 0), Planted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/", Planted.asked
    finally:
        server.shutdown()
        server.server_close()
