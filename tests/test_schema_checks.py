"""Tests that a database with another schema is refused, and of the migrations of a product."""

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text

from db.crypto.secret import Secret
from db.maintenance.revisions import (
    OWN_BRANCH,
    Branch,
    create_revision,
    product_branch,
    require_single_head,
    script_directory,
)
from db.maintenance.schema import WrongSchema, migrate, migrate_if_needed, require_schema
from db.product import ProductData
from db.tables import SCHEMA
from tests.browser_client import PASSWORD
from tests.databases import PostgresServer
from tests.empty_database import EmptyDatabase

TABLES = MetaData()
Table("bookmarks", TABLES, Column("id", Text, primary_key=True), Column("url", Text))
REVISION = '''"""{title}"""

import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down!r}


def upgrade() -> None:
    {upgrade}
'''
CREATE_ADA = [
    "users",
    "create",
    "--email",
    "ada@example.com",
    "--name",
    "Ada",
    "--role",
    "admin",
    "--password-stdin",
]
CREATE_BOOKMARKS = (
    'op.create_table("bookmarks", sa.Column("id", sa.Text, primary_key=True), '
    'sa.Column("url", sa.Text))'
)


def write_revision(
    folder: Path, revision: str, down: str | None, upgrade: str = "pass", name: str = "revision"
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{revision}_{name}.py"
    text = REVISION.format(
        title=f"Revision {revision}.", revision=revision, down=down, upgrade=upgrade
    )
    path.write_text(text)
    return path


@pytest.fixture
def database(empty_database: EmptyDatabase) -> EmptyDatabase:
    return empty_database


@pytest.fixture
def product(tmp_path: Path) -> ProductData:
    """Returns a product with one table and one migration, in a folder with a difficult name."""
    folder = tmp_path / "100% my product"
    write_revision(folder, "0001", None, CREATE_BOOKMARKS)
    return ProductData(tables=TABLES, migrations=folder)


def problem_of(database: EmptyDatabase, product: ProductData | None = None) -> str:
    """Returns why the schema is refused, or an empty string."""
    try:
        asyncio.run(require_schema(Secret(database.url), product or ProductData()))
    except WrongSchema as problem:
        assert "\n" not in str(problem)
        return str(problem)
    return ""


def test_the_required_revision_is_the_only_newest_one() -> None:
    assert script_directory(OWN_BRANCH).get_heads() == [SCHEMA]
    require_single_head(OWN_BRANCH)


def test_a_checkout_without_the_newest_migration_refuses_to_migrate(
    database: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.maintenance.revisions.SCHEMA", "9999")
    with pytest.raises(WrongSchema, match=f"requires the revision 9999, but .* is {SCHEMA}: "):
        migrate(Secret(database.url))
    assert database.tables == set()


def test_a_missing_migration_of_a_product_is_named_with_its_folder(
    database: EmptyDatabase, product: ProductData
) -> None:
    assert product.migrations is not None
    migrate(Secret(database.url), product=product)
    for path in product.migrations.glob("*.py"):
        path.unlink()
    expected = (
        "its revision 0001 (needed: none): start the release that has it, or restore its file in "
        f"{product.migrations}"
    )
    assert problem_of(database, product).endswith(expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            ["0004"],
            f"older than this program (revision 0004; needed: {SCHEMA}): run `latchkey migrate`",
        ),
        ([], "older than this program: run `latchkey migrate` first"),
        # As strings, the first is lower and the second is higher than the required revision.
        (["0000_of_a_product"], "does not know its revision 0000_of_a_product"),
        (["a1b2c3"], "does not know its revision a1b2c3"),
        (["000"], "does not know its revision 000 "),
        (["0004", SCHEMA], f"several revisions of this program at once (0004, {SCHEMA}"),
    ],
)
def test_a_database_with_another_revision_is_refused(
    database: EmptyDatabase,
    found: list[str],
    expected: str,
) -> None:
    database.run("migrate")
    inserts = [f"INSERT INTO alembic_version VALUES ('{revision}')" for revision in found]
    database.rows("DELETE FROM alembic_version", *inserts, "SELECT 1")
    assert expected in problem_of(database)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER TABLE sessions DROP COLUMN is_remembered", "the column sessions.is_remembered"),
        ("DROP TABLE access_tokens", "the table access_tokens"),
    ],
)
def test_a_database_without_a_declared_column_or_table_is_refused(
    database: EmptyDatabase,
    change: str,
    expected: str,
) -> None:
    database.run("migrate")
    assert problem_of(database) == ""
    database.rows(change, "SELECT 1")
    assert f"has revision {SCHEMA} but lacks {expected}: " in problem_of(database)
    code, output = database.run("users", "list")
    assert (code, expected in output, output.count("\n")) == (1, True, 1)


def test_two_migrations_with_one_revision_refuse_to_migrate(
    database: EmptyDatabase,
    tmp_path: Path,
) -> None:
    """A product's own 0005 once replaced that of a new release without an error."""
    folder = tmp_path / "versions"
    first = write_revision(folder, "0001", None, CREATE_BOOKMARKS)
    second = write_revision(folder, "0001", None, name="of_a_release")
    with pytest.raises(WrongSchema) as refused:
        migrate(Secret(database.url), product=ProductData(migrations=folder))
    assert f"revision 0001: {second} and {first}" in str(refused.value)
    assert database.tables == set()


def test_a_collision_with_an_own_revision_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "versions"
    shutil.copytree(OWN_BRANCH.folder, folder)
    write_revision(folder, SCHEMA, "0004")
    with pytest.raises(WrongSchema, match=f"two migrations have the revision {SCHEMA}: "):
        require_single_head(Branch("this program", folder, "alembic_version"))


def test_several_newest_revisions_refuse_to_migrate(
    database: EmptyDatabase,
    product: ProductData,
) -> None:
    assert product.migrations is not None
    write_revision(product.migrations, "0002", "0001")
    write_revision(product.migrations, "0003", "0001")
    with pytest.raises(WrongSchema, match=r"2 newest revisions \(0002, 0003\)"):
        migrate(Secret(database.url), product=product)
    assert database.tables == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def upgrade(:", "cannot be read: "),
        ("down_revision = None", "does not assign a text to `revision`"),
        ("revision = '0002'\ndown_revision = '0007'", "cannot be used: "),
        ("revision = '0002'\ndown_revision = '0001'\n1 / 0", "cannot be used: ZeroDivisionError"),
    ],
)
def test_an_unusable_migration_of_a_product_is_named(
    database: EmptyDatabase,
    product: ProductData,
    text: str,
    expected: str,
) -> None:
    assert product.migrations is not None
    (product.migrations / "0002_broken.py").write_text(text)
    with pytest.raises(WrongSchema) as refused:
        migrate(Secret(database.url), product=product)
    assert (expected in str(refused.value), "\n" in str(refused.value)) == (True, False)
    assert database.tables == set()


def test_migrations_of_a_product_are_a_branch_with_a_table_of_their_own(
    database: EmptyDatabase,
    product: ProductData,
) -> None:
    database.run("migrate")
    problem = "the database is older than the product: run `latchkey migrate` first"
    assert problem_of(database, product) == problem
    own, added = migrate(Secret(database.url), product=product)
    assert (own.applied, added.applied, added.head) == ((), ("Revision 0001.",), "0001")
    assert database.rows("SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert database.rows("SELECT version_num FROM product_version") == [("0001",)]
    assert problem_of(database, product) == ""
    assert problem_of(database) == ""  # The product may be switched off.


def test_a_later_migration_of_a_product_is_required(
    database: EmptyDatabase,
    product: ProductData,
) -> None:
    assert product.migrations is not None
    migrate(Secret(database.url), product=product)
    write_revision(
        product.migrations, "0002", "0001", 'op.add_column("bookmarks", sa.Column("note", sa.Text))'
    )
    assert "older than the product (revision 0001; needed: 0002)" in problem_of(database, product)
    database.rows("INSERT INTO bookmarks VALUES ('1', 'https://example.com')", "SELECT 1")
    migrations = migrate_if_needed(Secret(database.url), product)
    assert [migration.head for migration in migrations] == [SCHEMA, "0002"]
    assert migrate_if_needed(Secret(database.url), product) == []
    assert database.rows("SELECT url, note FROM bookmarks") == [("https://example.com", None)]


def test_a_new_migration_follows_the_newest_one(
    database: EmptyDatabase, product: ProductData
) -> None:
    assert product.migrations is not None
    path = create_revision(product_branch(product.migrations), 'Add a "note" to the bookmarks')
    assert path == product.migrations / "0002_add_a_note_to_the_bookmarks.py"
    path.write_text(
        path.read_text().replace("pass", 'op.add_column("bookmarks", sa.Column("note", sa.Text))')
    )
    migrate(Secret(database.url), product=product)
    assert database.rows("SELECT version_num FROM product_version") == [("0002",)]
    assert database.rows("SELECT note FROM bookmarks") == []


def test_the_first_migration_of_a_product_has_the_number_one(
    database: EmptyDatabase, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    assert create_revision(product_branch(folder), "Create tables").name == "0001_create_tables.py"
    migrate(Secret(database.url), product=ProductData(migrations=folder))
    assert database.rows("SELECT version_num FROM product_version") == [("0001",)]


def test_a_column_without_a_migration_is_named(
    database: EmptyDatabase,
    product: ProductData,
) -> None:
    tables = MetaData()
    Table("bookmarks", tables, Column("id", Text, primary_key=True), Column("title", Text))
    migrate(Secret(database.url), product=product)
    changed = ProductData(tables=tables, migrations=product.migrations)
    assert problem_of(database, changed) == (
        "the database lacks the column bookmarks.title of the product: add a migration"
    )


def test_a_failed_migration_of_a_product_keeps_those_of_the_program(
    database: EmptyDatabase,
    product: ProductData,
) -> None:
    assert product.migrations is not None
    failing = 'op.execute("INSERT INTO nowhere VALUES (1)")'
    path = write_revision(product.migrations, "0002", "0001", failing)
    with pytest.raises(WrongSchema) as refused:
        migrate(Secret(database.url), product=product)
    message = str(refused.value)
    assert f"the migration 0002 of the product failed ({path}, line 11): " in message
    assert ("nowhere" in message, "\n" in message) == (True, False)
    assert database.rows("SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert {"bookmarks", "product_version"} & database.tables == set()
    write_revision(product.migrations, "0002", "0001")
    migrate(Secret(database.url), product=product)
    assert "bookmarks" in database.tables


def test_a_program_in_a_schema_of_its_own_ignores_other_schemas(
    postgres_server: PostgresServer, product: ProductData
) -> None:
    """`options` of the URL selects the schema, so that several programs share a database."""
    name = postgres_server.create()
    tables = (
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'latchkey')"
    )
    other = ("CREATE TABLE users (login TEXT)", "CREATE TABLE alembic_version (version_num TEXT)")
    postgres_server.do(
        postgres_server.fetch(
            name, *other, "INSERT INTO alembic_version VALUES ('f00d')", "CREATE SCHEMA latchkey"
        )
    )
    database = EmptyDatabase(
        f"{postgres_server.url_of(name)}?options=-csearch_path%3Dlatchkey", postgres_server
    )
    assert "no tables yet" in problem_of(database)
    migrate(Secret(database.url), product=product)
    assert problem_of(database, product) == ""
    code, output = database.run(*CREATE_ADA, typed=f"{PASSWORD}\n")
    assert (code, output.splitlines()[-1]) == (0, "created ada@example.com with the role admin")
    found = postgres_server.do(postgres_server.fetch(name, tables))
    assert {table for schema, table in found if schema == "public"} == {"users", "alembic_version"}
    assert ("latchkey", "bookmarks") in found
    assert postgres_server.do(postgres_server.fetch(name, "SELECT * FROM public.users")) == []
    postgres_server.drop(name)
