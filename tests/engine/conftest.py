"""Contains the fixtures of empty SQLite and PostgreSQL databases with the same tables."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import asyncpg
import pytest
from databases import Database
from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeDecorator

import db.engine  # noqa: F401
from tests.databases import SERVER_URL


class UpperCase(TypeDecorator):
    """Stores text in lower case and returns it in upper case."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else value.lower()

    def process_result_value(self, value, dialect):
        return None if value is None else value.upper()


metadata = MetaData()
users_table = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("email", Text, unique=True, nullable=False),
    Column("name", UpperCase),
    Column("age", Integer, CheckConstraint("age >= 0")),
)
notes_table = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("body", Text, default="nothing yet"),
)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def users():
    return users_table


@pytest.fixture
def notes():
    return notes_table


@pytest.fixture(scope="session")
def server_url(postgres_server):
    return SERVER_URL


@pytest.fixture(scope="session")
def postgres_database(server_url):
    """Yields the URL of a new PostgreSQL database, which is dropped at the end."""
    name = f"engine_{uuid4().hex}"
    run(on_server(server_url, f"CREATE DATABASE {name}"))
    yield server_url.rpartition("/")[0] + "/" + name
    run(on_server(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgres_url(postgres_database):
    run(on_server(postgres_database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", *ddl()))
    return postgres_database


@pytest.fixture
def sqlite_path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def sqlite_url(sqlite_path):
    return f"sqlite:///{sqlite_path}"


@pytest.fixture
async def sqlite(sqlite_url):
    async with Database(sqlite_url, wait=60.0) as database:
        await create_tables(database)
        yield database


@pytest.fixture
async def postgres(postgres_url):
    async with Database(postgres_url) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request, sqlite_url):
    """Yields a database of each type. Tests that use it run on both."""
    url = sqlite_url if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with Database(url) as database:
        if request.param == "sqlite":
            await create_tables(database)
        yield database


async def create_tables(database):
    for table in metadata.sorted_tables:
        await database.execute(CreateTable(table))


async def on_server(url, *statements):
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def run(coroutine):
    """Runs the coroutine in a new thread, because the event loop of a test may be running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def ddl():
    return [
        str(CreateTable(table).compile(dialect=postgresql_dialect.dialect()))
        for table in metadata.sorted_tables
    ]
