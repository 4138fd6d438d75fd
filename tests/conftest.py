"""The house under test: a real database file, the whole application, and a clock that a test can
move.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from db.access import operator as shell
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.maintenance.schema import migrate
from db.sessions.claims import peek
from db.sessions.lifecycle import verify_session
from db.store import Store
from db.viewer import Admin, Operator, Viewer, require_admin
from tests.databases import KIND, REQUIRED, SERVER_URL, UNHURRIED, Files, OnServer, Server
from tests.people import IPHONE, PASSWORD, Browser
from web.app import create_app, open_store
from web.rendering.templates import Templates
from web.settings.settings import Settings, read_settings

TEMPLATES: dict[bool, Templates] = {}  # compiled once for all houses with the same routes
SECRET = "a session secret of the tests: 7Jq2vX0pLw9sRz4T"
pytest_plugins = ["tests.rows"]
collect_ignore = ["attack", "bench", "faults"]  # programs: `python -m tests.attack`


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **time: float) -> None:
        self.moment += timedelta(**time)


@dataclass
class House:
    """The application, what it stands on, and a way in for people."""

    app: Starlette
    store: Store
    settings: Settings
    clock: Clock
    stack: AsyncExitStack = field(repr=False)
    path: Path  # names its database: see tests.databases
    databases: Files | OnServer = field(repr=False)

    async def browser(self, name: str, email: str | None = None, **options: str) -> Browser:
        """A fresh browser of somebody who has no account yet."""
        transport = httpx.ASGITransport(
            self.app, raise_app_exceptions=False, client=("192.0.2.14", 50_000)
        )
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=self.settings.base_url)
        )
        return Browser(client, name, email or f"{name.lower()}@example.com", **options)

    async def member(self, name: str, **options: str) -> Browser:
        """Somebody who has just signed up."""
        person = await self.browser(name, **options)
        answer = await person.sign_up()
        assert answer.status_code == 303, answer.text
        return person

    async def admin(self, name: str = "Ada") -> Browser:
        """Somebody whom the operator made an administrator before they logged in."""
        await self.create(name, "admin")
        person = await self.browser(name)
        assert (await person.log_in()).status_code == 303
        return person

    async def thief_of(self, person: Browser) -> Browser:
        """Somebody who has got hold of a person's cookie."""
        thief = await self.browser("Charlie")
        thief.cookie = person.cookie
        return thief

    async def viewer_of(self, person: Browser) -> Viewer:
        """Whom the database knows behind a person's cookie."""
        return await verify_session(self.store, peek(self.store, person.cookie))

    async def create(self, name: str, role: str = "user") -> None:
        operator, email = Operator(self.store), f"{name.lower()}@example.com"
        await shell.create_user(
            operator, name=name, email=email, password=Secret(PASSWORD), role=role
        )

    async def change_role(self, person: Browser, role: str) -> None:
        await shell.change_role(Operator(self.store), person.email, role)

    async def rows(self, sql: str) -> list[tuple]:
        """Moments are told as SQLite keeps them, whichever database it is."""
        rows = await self.store.database.fetch_all(sql)
        return [tuple(as_kept(value) for value in row._mapping.values()) for row in rows]

    async def count(self, table: str) -> int:
        return (await self.rows(f"SELECT count(*) AS n FROM {table}"))[0][0]

    async def change(self, *statements: str) -> None:
        """What an operator does to the database behind the program's back."""
        for sql in statements:
            await self.store.database.execute(sql)

    async def break_inserts(self, table: str, *, silently: bool = False) -> None:
        """From now on every INSERT is refused or, silently, left out."""
        await self.change(*self.databases.fault(table, silent=silently))

    async def mend_inserts(self, table: str) -> None:
        await self.change(*self.databases.mend(table))

    def locked(self) -> AbstractContextManager[None]:
        """Meanwhile another program, such as a backup, holds the right to write."""
        return self.databases.locked(self.path)

    def stored(self) -> bytes:
        """All that somebody would find who got hold of the database."""
        return self.databases.stored(self.path)

    @property
    def statements(self) -> int:
        return self.store.database._backend.statements

    @property
    def hashes(self) -> int:
        return self.store.passwords.hashes


def as_kept(value: Any) -> Any:
    return (
        value.astimezone(UTC).isoformat(timespec="microseconds")
        if isinstance(value, datetime)
        else value
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with every table, made once."""
    path = tmp_path_factory.mktemp("migrated") / "latchkey.db"
    migrate(Secret(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The PostgreSQL server of TEST_POSTGRES_URL.

    Where there is none, its tests are skipped, or fail if it is due.
    """
    try:
        server = Server(SERVER_URL)
    except (OSError, asyncpg.PostgresError) as error:
        (pytest.fail if REQUIRED else pytest.skip)(f"PostgreSQL cannot be reached: {error}")
    yield server
    server.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "house: stands on a house, so on the database that TEST_DATABASE names"
    )
    config.addinivalue_line("markers", "both: stands on each of the databases in one run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "databases" in getattr(item, "fixturenames", ()):
            item.add_marker(
                "both"
                if "kind" in getattr(getattr(item, "callspec", None), "params", {})
                else "house"
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for what in ("PostgreSQL", "Chromium", "nginx"):
        if number := sum(what in reason for reason in reasons):
            line = f"NOT TESTED: {number} tests were skipped, because there is no {what}: see CONTRIBUTING.md"
            terminalreporter.line(line, red=True, bold=True)


@pytest.fixture(scope="session")
def cheap() -> Passwords:
    """Hashes in no time, and with a queue that is never too long, however busy the machine is."""
    return Passwords(memory_kib=8, passes=1, longest_wait=60)


@pytest.fixture
def passwords(cheap: Passwords) -> Passwords:
    """The hasher of this test's applications; override it to use the parameters of production."""
    return cheap


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def environ() -> dict[str, str]:
    """The settings of this test; override it to change them."""
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off"}


@pytest.fixture
def kind() -> str:
    """Which database the houses of this test stand on.

    TEST_DATABASE says it, unless a test file does.
    """
    return KIND


@pytest.fixture
def databases(
    kind: str, migrated: Path, request: pytest.FixtureRequest
) -> Iterator[Files | OnServer]:
    server = kind == "postgresql"
    databases = OnServer(request.getfixturevalue("postgres_server")) if server else Files(migrated)
    yield databases
    databases.close()


@pytest.fixture
async def make_house(
    databases: Files | OnServer,
    tmp_path: Path,
    passwords: Passwords,
    clock: Clock,
    environ: dict[str, str],
) -> AsyncIterator[Callable]:
    """Opens a house, on a database of its own or on one that another house of this test has left.

    `hashing` replaces the Passwords, `now` the clock; `away`: its database cannot be reached;
    `patience`: the seconds that it waits for the right to write; `engine` gives the database's back
    end other options; the rest are settings.
    """
    async with AsyncExitStack() as stack:

        async def make(
            path: Path | None = None,
            *,
            hashing: Passwords | None = None,
            now: Callable[[], datetime] | None = None,
            away: bool = False,
            patience: float | None = None,
            engine: dict[str, Any] | None = None,
            **changes: str,
        ) -> House:
            path = path or tmp_path / "latchkey.db"
            url = databases.url(path, away=away)
            settings = read_settings({"DATABASE_URL": url, **environ, **changes}, data=tmp_path)
            store = open_store(settings, passwords=hashing or passwords, now=now or clock)
            options = databases.engine(away=away, patience=patience) | (engine or {})
            store = replace(store, database=type(store.database)(url, **options))
            await store.database.connect()
            stack.push_async_callback(store.database.disconnect)
            templates = TEMPLATES.get(settings.stateless)
            app = create_app(
                settings, store, now or clock, environment=templates, work_within=UNHURRIED
            )
            TEMPLATES[settings.stateless] = app.state.environment
            return House(app, store, settings, clock, stack, path, databases)

        yield make


@pytest.fixture
async def house(make_house: Callable) -> House:
    return await make_house()


@pytest.fixture
async def alice(house: House) -> Browser:
    return await house.member("Alice")


@pytest.fixture
async def alices_phone(house: House, alice: Browser) -> Browser:
    """Alice's second device, logged in."""
    phone = replace(await house.browser("Alice"), user_agent=IPHONE)
    assert (await phone.log_in()).status_code == 303
    return phone


@pytest.fixture
async def bob(house: House) -> Browser:
    return await house.member("Bob")


@pytest.fixture
async def ada(house: House) -> Browser:
    return await house.admin("Ada")


@pytest.fixture
async def stranger(house: House) -> Browser:
    return await house.browser("Charlie")


@pytest.fixture
async def viewer(house: House, alice: Browser) -> Viewer:
    """Alice, as the data access layer knows her."""
    return await house.viewer_of(alice)


@pytest.fixture
async def admin(house: House, ada: Browser) -> Admin:
    """Ada, as the data access layer knows her."""
    return require_admin(await house.viewer_of(ada))
