"""Contains the fixtures of the application under test, with a real database and a test clock."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.mail.state import OutboxState
from db.maintenance.schema import migrate
from db.sessions.claims import decode_claims
from db.sessions.lifecycle import get_viewer
from db.sessions.sudo import Sudo, confirm_now, encode_sudo, require_sudo
from db.store import Store
from db.viewer import Admin, Operator, Viewer, require_admin
from tests.browser_client import IPHONE, PASSWORD, Browser
from tests.commands import CommandResult, run_command
from tests.databases import (
    DATABASE_TYPE,
    DATABASE_TYPES,
    LONG_TIMEOUT_SECONDS,
    REQUIRED,
    SERVER_URL,
    PostgresDatabases,
    PostgresServer,
    SQLiteDatabases,
    create_tables,
)
from tests.empty_database import EmptyDatabase
from tests.environment import SECRET, environ_of
from web.app import create_app, open_store
from web.languages import Languages
from web.product import NO_PRODUCT, Product
from web.rendering.templates import TemplatesByLanguage
from web.routes import routes_for
from web.settings.settings import Settings, read_settings

V = TypeVar("V", bound=Viewer)

# They are compiled once for all applications with the same product and routes.
TEMPLATES: dict[tuple[Any, ...], TemplatesByLanguage] = {}
collect_ignore = ["attack", "bench", "faults"]  # These are programs: `python -m tests.attack`.


class Clock:
    """Returns a fixed time, which changes only through `move`."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **time: float) -> None:
        self.moment += timedelta(**time)


@dataclass
class TestApp:
    """The application, its store and its database, with methods that create users and browsers."""

    __test__ = False  # pytest would collect the class because of its name.

    asgi_app: Starlette
    store: Store
    settings: Settings
    clock: Clock
    stack: AsyncExitStack = field(repr=False)
    path: Path  # The path identifies its database: see tests.databases.
    databases: SQLiteDatabases | PostgresDatabases = field(repr=False)

    async def browser(self, name: str, email: str | None = None, **options: str) -> Browser:
        """Returns a browser whose user has no account yet."""
        transport = httpx.ASGITransport(
            self.asgi_app, raise_app_exceptions=False, client=("192.0.2.14", 50_000)
        )
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=self.settings.public_url)
        )
        return Browser(client, name, email or f"{name.lower()}@example.com", **options)

    async def sign_up_user(self, name: str, **options: str) -> Browser:
        """Signs up and returns the browser."""
        user = await self.browser(name, **options)
        response = await user.sign_up()
        assert response.status_code == 303, response.text
        return user

    async def admin(self, name: str = "Ada") -> Browser:
        """Returns the browser of a logged-in administrator, whom the operator created."""
        await self.create(name, "admin")
        user = await self.browser(name)
        assert (await user.log_in()).status_code == 303
        return user

    async def attacker_with_cookie_of(self, user: Browser) -> Browser:
        """Returns a browser with a stolen copy of a session cookie."""
        attacker = await self.browser("Charlie")
        attacker.cookie = user.cookie
        return attacker

    async def viewer_of(self, user: Browser) -> Viewer:
        """Returns the viewer that the database verifies for the browser's cookie."""
        return await get_viewer(self.store, decode_claims(self.store, user.cookie))

    async def create(self, name: str, role: str = "user") -> None:
        caller, email = Operator(self.store), f"{name.lower()}@example.com"
        await operator.create_user(
            caller, name=name, email=email, password=Secret(PASSWORD), role=role
        )

    async def change_role(self, user: Browser, role: str) -> None:
        await operator.set_user_role(Operator(self.store), user.email, role)

    async def sudo_of(self, user: Browser) -> Sudo[Viewer]:
        """Returns the viewer of the browser's cookie, whose identity was just confirmed."""
        return self.confirmed(await self.viewer_of(user), user)

    def confirmed(self, viewer: V, user: Browser) -> Sudo[V]:
        """Returns the viewer of this browser as a Sudo."""
        claims = decode_claims(self.store, user.cookie)
        cookie = encode_sudo(self.store, claims, confirm_now(self.store, "password"))
        return require_sudo(viewer, claims, cookie.value.reveal())

    async def rows(self, sql: str) -> list[tuple]:
        """Returns the rows, with each datetime in the text form that SQLite stores."""
        rows = await self.store.database.fetch_all(sql)
        return [tuple(to_stored_text(value) for value in row._mapping.values()) for row in rows]

    async def count(self, table: str) -> int:
        return (await self.rows(f"SELECT count(*) AS n FROM {table}"))[0][0]

    async def change(self, *statements: str) -> None:
        """Changes the database without the application's functions."""
        for sql in statements:
            await self.store.database.execute(sql)

    async def break_inserts(self, table: str, *, silently: bool = False) -> None:
        """Makes every later INSERT into the table fail or, with `silently`, have no effect."""
        await self.change(*self.databases.fault(table, silent=silently))

    async def restore_inserts(self, table: str) -> None:
        await self.change(*self.databases.remove_fault(table))

    def locked(self) -> AbstractContextManager[None]:
        """Holds the write lock in another program, such as a backup."""
        return self.databases.locked(self.path)

    def stored(self) -> bytes:
        """Returns everything that the database contains, as text."""
        return self.databases.stored(self.path)

    @property
    def statements(self) -> int:
        return self.store.database._backend.statements

    @property
    def hashes(self) -> int:
        return self.store.passwords.hashes


def to_stored_text(value: Any) -> Any:
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
    """Returns the path of a migrated database without rows, created once."""
    path = tmp_path_factory.mktemp("migrated") / "latchkey.db"
    migrate(Secret(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Yields the PostgreSQL server of TEST_POSTGRES_URL.

    If it cannot be reached, its tests are skipped, or fail if PostgreSQL is required.
    """
    try:
        server = PostgresServer(SERVER_URL)
    except (OSError, asyncpg.PostgresError) as error:
        (pytest.fail if REQUIRED else pytest.skip)(f"PostgreSQL cannot be reached: {error}")
    yield server
    server.close()


@pytest.fixture(params=DATABASE_TYPES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmptyDatabase]:
    """Yields an empty database of each type."""
    if request.param == "sqlite":
        yield EmptyDatabase(f"sqlite:///{tmp_path}/latchkey.db", None)
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield EmptyDatabase(server.url_of(name), server)
    server.drop(name)


@pytest.fixture(scope="session")
def fast_passwords() -> Passwords:
    """Returns a hasher with minimal parameters, whose queue does not overflow on a slow host."""
    return Passwords(memory_kib=8, passes=1, max_wait=60)


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    """Returns the hasher of this test's applications. Override it to use production parameters."""
    return fast_passwords


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def product() -> Product:
    """Returns the product of these applications. The tests of a product override it."""
    return NO_PRODUCT


@pytest.fixture
def environ() -> dict[str, str]:
    """Returns the settings of this test. Override it to change them."""
    return {"SESSION_SECRET": SECRET, "RATE_LIMITS": "off"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., CommandResult]:
    """Returns a function that runs `latchkey` with a database of its own, without tables."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> CommandResult:
        settings = environ_of(tmp_path / "latchkey.db", **environ)
        return run_command(*arguments, environ=settings, stdin=stdin)

    return run


@pytest.fixture
def database(run: Callable[..., CommandResult], tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Yields a connection to the database of `run`, with its tables."""
    assert run("migrate").returncode == 0
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as connection:
        yield connection


@pytest.fixture
def database_type() -> str:
    """Returns the database type of TEST_DATABASE. A test file may override it."""
    return DATABASE_TYPE


@pytest.fixture
def databases(
    database_type: str, migrated: Path, request: pytest.FixtureRequest
) -> Iterator[SQLiteDatabases | PostgresDatabases]:
    if database_type == "postgresql":
        databases = PostgresDatabases(request.getfixturevalue("postgres_server"))
    else:
        databases = SQLiteDatabases(migrated)
    yield databases
    databases.close()


@pytest.fixture
async def make_app(
    databases: SQLiteDatabases | PostgresDatabases,
    tmp_path: Path,
    passwords: Passwords,
    clock: Clock,
    environ: dict[str, str],
    product: Product,
) -> AsyncIterator[Callable]:
    """Yields a function that starts an application on a new database or on that of `path`.

    `hashing` replaces the Passwords and `now` the clock. With `unreachable`, the database cannot be
    reached. `lock_timeout` is the time to wait for a write lock, in seconds. `engine` has other
    options of the database's back end. `product` replaces the fixture of this name, and `languages`
    the languages. All other arguments are settings.
    """
    async with AsyncExitStack() as stack:

        async def make(
            path: Path | None = None,
            *,
            hashing: Passwords | None = None,
            now: Callable[[], datetime] | None = None,
            unreachable: bool = False,
            lock_timeout: float | None = None,
            engine: dict[str, Any] | None = None,
            mail: OutboxState | None = None,
            product: Product = product,
            languages: Languages | None = None,
            **changes: str,
        ) -> TestApp:
            path = path or tmp_path / "latchkey.db"
            url = databases.url(path, unreachable=unreachable)
            settings = read_settings({"DATABASE_URL": url, **environ, **changes}, data=tmp_path)
            store = open_store(
                settings, passwords=hashing or passwords, now=now or clock, product=product.data
            )
            options = databases.engine(unreachable=unreachable, lock_timeout=lock_timeout)
            options |= engine or {}
            store = replace(
                store,
                database=type(store.database)(url, **options),
                outbox=replace(mail or OutboxState(), webhook_events=store.outbox.webhook_events),
            )
            await store.database.connect()
            stack.push_async_callback(store.database.disconnect)
            if product.data.tables is not None and not unreachable:
                await create_tables(store.database, product.data.tables)
            paths = tuple(
                (route.name, route.path) for route in routes_for(settings, product.routes)
            )
            key = (settings.base_path, product.folder, product.brand, product.menu, paths)
            key += (languages and languages["en"].catalog,)
            asgi_app = create_app(
                settings,
                store,
                now or clock,
                templates=TEMPLATES.get(key),
                product=product,
                languages=languages,
                handler_timeout=LONG_TIMEOUT_SECONDS,
            )
            TEMPLATES[key] = asgi_app.state.templates
            return TestApp(asgi_app, store, settings, clock, stack, path, databases)

        yield make


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app()


@pytest.fixture
async def alice(app: TestApp) -> Browser:
    return await app.sign_up_user("Alice")


@pytest.fixture
async def alices_phone(app: TestApp, alice: Browser) -> Browser:
    """Returns Alice's second device, logged in."""
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    assert (await phone.log_in()).status_code == 303
    return phone


@pytest.fixture
async def bob(app: TestApp) -> Browser:
    return await app.sign_up_user("Bob")


@pytest.fixture
async def ada(app: TestApp) -> Browser:
    return await app.admin("Ada")


@pytest.fixture
async def anonymous(app: TestApp) -> Browser:
    return await app.browser("Charlie")


@pytest.fixture
async def viewer(app: TestApp, alice: Browser) -> Viewer:
    """Returns Alice's Viewer."""
    return await app.viewer_of(alice)


@pytest.fixture
async def admin(app: TestApp, ada: Browser) -> Admin:
    """Returns Ada's Admin."""
    return require_admin(await app.viewer_of(ada))


@pytest.fixture
async def sudo(app: TestApp, alice: Browser) -> Sudo[Viewer]:
    """Returns Alice, whose identity was just confirmed."""
    return await app.sudo_of(alice)


@pytest.fixture
async def sudo_admin(app: TestApp, ada: Browser) -> Sudo[Admin]:
    """Returns Ada's Admin, whose identity was just confirmed."""
    return app.confirmed(require_admin(await app.viewer_of(ada)), ada)
