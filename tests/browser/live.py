"""The running application at a real port, with a database of its own and injected failures."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from db.access import operator, outbox
from db.access.outbox import Message
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.mail.outbox import MessageType
from db.store import Store
from db.viewer import Mailer, Operator
from tests.browser_client import PASSWORD
from tests.mail import url_of
from tests.processes import free_port
from web.app import create_app, open_store
from web.settings.settings import read_settings

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class FaultInjection:
    """ASGI middleware that delays or replaces the responses to chosen requests."""

    app: ASGIApp
    pending: list[dict[str, Any]] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)

    def inject(self, path: str, *, times: int = 1, **changes: Any) -> None:
        """Changes the next `times` requests to a path, which are POST requests unless `method`
        differs.

        `before` and `after` are delays in seconds. `until` is an event to wait for before the
        application runs. `status` replaces the response.
        """
        self.pending += [
            {"path": path, "method": "POST", "before": 0, "after": 0} | changes
            for _ in range(times)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._take_fault(scope) if scope["type"] == "http" else None
        await (
            self._respond_with_fault(fault, scope, receive, send)
            if fault
            else self.app(scope, receive, send)
        )

    async def _respond_with_fault(
        self, fault: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        messages: list[AsgiMessage] = []

        async def collect(message: AsgiMessage) -> None:
            messages.append(message)

        await asyncio.sleep(fault["before"])
        if until := fault.get("until"):
            await asyncio.to_thread(until.wait, 10)
        await self._choose_handler(fault)(scope, receive, collect)
        await asyncio.sleep(fault["after"])
        self.completed.append(fault["path"])
        for message in messages:
            await send(message)

    def _take_fault(self, scope: Scope) -> dict[str, Any] | None:
        for fault in self.pending:
            if (fault["method"], fault["path"]) == (scope["method"], scope["path"]):
                self.pending.remove(fault)
                return fault
        return None

    def _choose_handler(self, fault: dict[str, Any]) -> Handler | ASGIApp:
        if "status" not in fault:
            return self.app

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/html"), *fault.get("headers", [])]
            await send(
                {"type": "http.response.start", "status": fault["status"], "headers": headers}
            )
            await send({"type": "http.response.body", "body": b"<h1>Bad proxy</h1>"})

        return respond


class OffsetClock:
    """Returns the current time plus an offset, which only `move` changes."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return self.moment

    @property
    def moment(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def move(self, **time: float) -> None:
        self.offset += timedelta(**time)


@dataclass
class Live:
    """The running application, with shortcuts to its database and to the operator's commands."""

    url: str
    database: Path
    store: Store
    faults: FaultInjection
    loop: asyncio.AbstractEventLoop
    clock: OffsetClock

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the event loop of the application and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def create(self, name: str, email: str, role: str = "user") -> None:
        secret = Secret(PASSWORD)
        self.run(
            operator.create_user(
                Operator(self.store), name=name, email=email, password=secret, role=role
            )
        )

    def change_role(self, email: str, role: str) -> None:
        self.run(operator.set_user_role(Operator(self.store), email, role))

    def rows(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def change(self, sql: str) -> None:
        """Changes the database through a connection of its own."""
        self.rows(sql)

    def link(self, message_type: MessageType, email: str) -> str:
        """Returns the path of the link in the newest mail of this type, once it is written."""
        found: list[Message] = []

        def is_written() -> bool:
            messages = self.run(outbox.list_messages(Mailer(self.store)))
            found[:] = [
                message
                for message in messages
                if (message.message_type, message.recipient) == (message_type, email)
            ]
            return bool(found)

        wait_until(is_written)
        return url_of(found[0])

    def id_of(self, email: str) -> str:
        return self.rows(f"SELECT id FROM users WHERE email = '{email}'")[0][0]

    def accounts_of(self, email: str) -> int:
        return self.rows(f"SELECT count(*) FROM users WHERE email = '{email}'")[0][0]

    def sessions_of(self, email: str) -> int:
        return self.rows(
            f"SELECT count(*) FROM sessions JOIN users ON users.id = user_id WHERE users.email = '{email}'"
        )[0][0]

    def log_in(self, email: str, user_agent: str, times: int = 1) -> None:
        """Creates sessions without a browser."""
        form = {"email": email, "password": PASSWORD}
        for _ in range(times):
            assert (
                httpx.post(
                    f"{self.url}/login", data=form, headers={"User-Agent": user_agent}
                ).status_code
                == 303
            )

    def end_sessions_of(self, email: str) -> None:
        self.change(f"DELETE FROM sessions WHERE user_id = '{self.id_of(email)}'")

    @contextmanager
    def refusing_users(self) -> Iterator[None]:
        """Makes every insert into `users` fail inside the `with` block."""
        self.change(
            "CREATE TRIGGER refuse BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        try:
            yield
        finally:
            self.change("DROP TRIGGER refuse")


@contextmanager
def serve(database: Path, secret: str, **changes: str) -> Iterator[Live]:
    """Runs the application in a thread at a free port.

    Password hashing uses minimal parameters; `changes` override single settings.
    """
    port = free_port()
    url = f"http://localhost:{port}"
    settings = read_settings(
        {
            "DATABASE_URL": f"sqlite:///{database}",
            "BASE_URL": url,
            "PORT": str(port),
            "SESSION_SECRET": secret,
            "PRODUCT": "off",
            "RATE_LIMITS": "off",
            **changes,
        },
        data=database.parent,
    )
    clock = OffsetClock()
    store = open_store(settings, now=clock, passwords=Passwords(memory_kib=8, passes=1))
    faults = FaultInjection(create_app(settings, store, clock))
    server = uvicorn.Server(
        uvicorn.Config(faults, port=port, log_config=None, access_log=False, ws="none")
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()), daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert server.started, "the program did not start"
    yield Live(url, database, store, faults, loop, clock)
    server.should_exit = True
    thread.join(5)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits for a condition on the server; `expect` waits for conditions on a page."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true within {seconds} seconds"
        time.sleep(0.02)
