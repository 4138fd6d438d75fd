"""Tests of backup and restore of an SQLite database."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.maintenance.atomic_files import copy_to_temporary
from db.maintenance.backup import BackupError, Content, back_up, restore
from db.maintenance.schema import migrate
from db.tables import SCHEMA
from tests.browser_client import Browser
from tests.conftest import TestApp
from tests.environment import ENVIRON, environ_of
from tests.privileges import LINK_CALLS, REFUSE_LINKS, needs_root, needs_setpriv, without
from web.cli.main import main

SERVICE = 65534  # This is the user and the group of a service.
NOW = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
def database_type() -> str:
    """Selects SQLite, because PostgreSQL has backup tools of its own."""
    return "sqlite"


@pytest.fixture
async def backup(app: TestApp, alice: Browser, tmp_path: Path) -> Path:
    """Returns a backup of a database in which Alice has an account."""
    path = tmp_path / "backup.db"
    back_up(app.settings.database_url, path)
    return path


@pytest.fixture
async def empty_app(app: TestApp) -> TestApp:
    """Returns an application that has closed its database, so that the file can be replaced."""
    await app.store.database.disconnect()
    return app


def url(path: Path) -> Secret[str]:
    return Secret(f"sqlite:///{path}")


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.reliability("R19")
async def test_a_backup_is_one_complete_private_file(
    app: TestApp, alice: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "folder with a space" / "back up.db"
    path.parent.mkdir()
    assert back_up(app.settings.database_url, path) == Content(SCHEMA, 1, 1)
    assert [*path.parent.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT name, email FROM users").fetchall() == [
            ("Alice", "alice@example.com")
        ]


@pytest.mark.reliability("R19")
async def test_a_backup_during_sign_ups_is_consistent_and_does_not_block(
    app: TestApp, tmp_path: Path
) -> None:
    users = [
        await app.browser(f"Person {number}", f"p{number}@example.com") for number in range(60)
    ]
    for user in users[:20]:
        await user.sign_up()
    sign_ups = asyncio.gather(*[user.sign_up() for user in users[20:]])
    paths = [tmp_path / f"{number}.db" for number in range(5)]
    contents = [await asyncio.to_thread(back_up, app.settings.database_url, path) for path in paths]
    assert {answer.status_code for answer in await sign_ups} == {303}
    counts = [content.users for content in contents]
    assert counts == sorted(counts)
    assert counts[0] >= 20
    for content in contents:
        # A backup contains a sign-up together with its session or not at all.
        assert content.users == content.sessions


@pytest.mark.reliability("R19")
async def test_a_backup_contains_no_deleted_data(
    app: TestApp, alice: Browser, bob: Browser, tmp_path: Path
) -> None:
    await app.change("UPDATE users SET phone = 'canary-of-alice' WHERE name = 'Alice'")
    await app.change("DELETE FROM users WHERE name = 'Alice'")
    back_up(app.settings.database_url, tmp_path / "backup.db")
    assert b"canary-of-alice" not in (tmp_path / "backup.db").read_bytes()


@pytest.mark.reliability("R19")
async def test_a_backup_overwrites_no_file(app: TestApp, alice: Browser, backup: Path) -> None:
    before = read_files(backup.parent)
    with pytest.raises(BackupError, match="already exists"):
        back_up(app.settings.database_url, backup)
    with pytest.raises(BackupError, match="already exists"):
        back_up(app.settings.database_url, app.path)
    assert read_files(backup.parent) == before


def test_a_database_of_another_program_is_not_backed_up(tmp_path: Path) -> None:
    source, path = tmp_path / "other.db", tmp_path / "backup.db"
    with closing(sqlite3.connect(source)) as other:
        other.execute("CREATE TABLE users (id)")
    with pytest.raises(BackupError, match="not a database of Latchkey"):
        back_up(url(source), path)
    with pytest.raises(BackupError, match="there is no database"):
        back_up(url(tmp_path / "missing.db"), path)
    assert [*tmp_path.iterdir()] == [source]


@pytest.mark.reliability("R19")
async def test_users_can_log_in_after_a_restore(
    make_app: Callable, alice: Browser, backup: Path, empty_app: TestApp
) -> None:
    """Bob signed up after the backup, so his account is in the replaced database."""
    app = await make_app()
    bob = await app.sign_up_user("Bob")
    await app.store.database.disconnect()
    content, kept = restore(app.settings.database_url, backup, NOW)
    assert (content, kept) == (
        Content(SCHEMA, 1, 1),
        app.path.with_name("latchkey.db.replaced-20261124T091200Z"),
    )
    assert stat.S_IMODE(app.path.stat().st_mode) == 0o600
    restored = await make_app()
    alice, bob = [
        replace(user, client=(await restored.browser("X")).client) for user in (alice, bob)
    ]
    assert (await alice.log_in()).status_code == 303
    assert await alice.is_logged_in()
    assert (await bob.log_in()).status_code == 422
    await restored.store.database.disconnect()
    restore(restored.settings.database_url, kept, NOW.replace(hour=10))
    assert (await log_in_again(await make_app(), bob)).status_code == 303


async def log_in_again(app: TestApp, bob: Browser):
    return await replace(bob, client=(await app.browser("Bob")).client).log_in()


@pytest.mark.reliability("R19")
async def test_a_backup_can_be_restored_without_an_existing_database(
    backup: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "latchkey.db"
    target.parent.mkdir()
    assert restore(url(target), backup, NOW) == (Content(SCHEMA, 1, 1), None)
    assert [*target.parent.iterdir()] == [target]


@needs_root
@pytest.mark.reliability("R19")
@pytest.mark.parametrize(("mode", "kept_mode"), [(0o600, 0o600), (0o660, 0o660), (0o644, 0o600)])
async def test_a_restore_by_root_keeps_the_owner_and_the_mode(
    backup: Path, empty_app: TestApp, mode: int, kept_mode: int
) -> None:
    """Otherwise the service, which runs as that user, could not open its database.

    Other users get no access.
    """
    os.chown(empty_app.path, SERVICE, SERVICE)
    empty_app.path.chmod(mode)
    _, kept = restore(empty_app.settings.database_url, backup, NOW)
    assert (
        owner_and_mode_of(empty_app.path)
        == owner_and_mode_of(kept)
        == (SERVICE, SERVICE, kept_mode)
    )


@needs_root
@pytest.mark.reliability("R19")
def test_the_first_restore_by_root_uses_the_owner_of_the_folder(
    migrated: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    os.chown(folder, SERVICE, SERVICE)
    back_up(url(migrated), tmp_path / "backup.db")
    restore(url(folder / "latchkey.db"), tmp_path / "backup.db", NOW)
    assert owner_and_mode_of(folder / "latchkey.db") == (SERVICE, SERVICE, 0o600)
    migrate(url(folder / "new.db"))
    assert owner_and_mode_of(folder / "new.db") == (SERVICE, SERVICE, 0o600)


@needs_root
@needs_setpriv
@pytest.mark.reliability("R19")
def test_a_restore_that_cannot_keep_the_owner_is_refused(migrated: Path, tmp_path: Path) -> None:
    target, backup = tmp_path / "latchkey.db", tmp_path / "backup.db"
    target.write_bytes(migrated.read_bytes())
    back_up(url(target), backup)
    os.chown(target, SERVICE, SERVICE)
    before = read_files(tmp_path)
    completed = run_in_process("restore", target, backup, before=without("chown"))
    assert (
        completed.returncode,
        "belongs to another user" in completed.stderr,
        completed.stderr.count("\n"),
    ) == (
        1,
        True,
        1,
    )
    assert (read_files(tmp_path), owner_and_mode_of(target)[0]) == (before, SERVICE)


@pytest.mark.reliability("R19")
def test_a_symbolic_link_at_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    """Otherwise the owner of the directory could make root overwrite any file."""
    source, temporary, other = (tmp_path / name for name in ("backup.db", "temporary.db", "other"))
    source.write_bytes(b"backup" * 1000)
    other.write_bytes(b"other")
    temporary.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        copy_to_temporary(temporary, source)
    assert other.read_bytes() == b"other"
    temporary.unlink()
    temporary.touch()
    copy_to_temporary(temporary, source)
    assert temporary.read_bytes() == source.read_bytes()


@pytest.mark.reliability("R19")
def test_a_replaced_world_readable_database_is_made_private(migrated: Path, tmp_path: Path) -> None:
    target, backup = tmp_path / "latchkey.db", tmp_path / "backup.db"
    target.write_bytes(migrated.read_bytes())
    back_up(url(target), backup)
    target.chmod(0o644)
    _, kept = restore(url(target), backup, NOW)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (target, kept)] == [0o600, 0o600]


@pytest.mark.reliability("R19")
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_the_journal_of_the_replaced_database_is_moved_with_it(
    migrated: Path, tmp_path: Path, suffix: str
) -> None:
    """SQLite would apply it to the restored database."""
    target, backup = tmp_path / "latchkey.db", tmp_path / "backup.db"
    back_up(url(migrated), backup)
    journal = target.with_name(f"latchkey.db{suffix}")
    journal.write_bytes(b"pages")
    _, kept = restore(url(target), backup, NOW)
    assert not journal.exists()
    assert Path(f"{kept}{suffix}").read_bytes() == b"pages"


@pytest.mark.skipif(
    not LINK_CALLS, reason="the numbers of the system calls of this machine are not known"
)
@pytest.mark.reliability("R19")
def test_a_backup_works_without_hard_links(migrated: Path, tmp_path: Path) -> None:
    target, backup = tmp_path / "latchkey.db", tmp_path / "backup.db"
    target.write_bytes(migrated.read_bytes())
    completed = run_in_process("backup", target, backup, prepare=REFUSE_LINKS)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "latchkey.db"]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    before = read_files(tmp_path)
    repeated = run_in_process("backup", target, backup, prepare=REFUSE_LINKS)
    assert (repeated.returncode, "already exists" in repeated.stderr, read_files(tmp_path)) == (
        1,
        True,
        before,
    )


def run_in_process(
    command: str, database: Path, file: Path, *, prepare: str = "", before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs `latchkey backup` or `restore` in a separate process, with fewer rights."""
    code = f"{prepare}\nfrom web.cli.main import main\nraise SystemExit(main())"
    environ = environ_of(database)
    arguments = [*before, sys.executable, "-c", code, command, str(file)]
    return subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=60)


def owner_and_mode_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def overwrite_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:4600] = b"\xff" * 504
    path.write_bytes(data)


def run_sql(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(sql)

    return change


@pytest.mark.reliability("R19")
@pytest.mark.asvs("S39")
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (truncate, "damaged"),
        (overwrite_page, "damaged"),
        (lambda path: path.write_bytes(b""), "not a database of Latchkey"),
        (lambda path: path.write_text("dear diary"), "not a database"),
        (Path.unlink, "there is no file"),
        (run_sql("DROP TABLE sessions"), "not a database of Latchkey"),
        (run_sql("DELETE FROM alembic_version"), "not a database of Latchkey"),
        (run_sql("UPDATE alembic_version SET version_num = '9999'"), "newer than this program"),
        (run_sql("DELETE FROM users"), "sessions without a user"),
        (lambda path: path.with_name("backup.db-wal").write_bytes(b"pages"), "in use"),
    ],
)
async def test_an_invalid_backup_is_refused_and_changes_no_file(
    backup: Path, empty_app: TestApp, damage: Callable[[Path], None], problem: str
) -> None:
    damage(backup)
    before = read_files(backup.parent)
    with pytest.raises(BackupError, match=problem):
        restore(empty_app.settings.database_url, backup, NOW)
    assert read_files(backup.parent) == before


@pytest.mark.reliability("R19")
async def test_a_damaged_database_can_be_replaced(backup: Path, empty_app: TestApp) -> None:
    empty_app.path.write_bytes(b"\xff" * 9000)
    _, kept = restore(empty_app.settings.database_url, backup, NOW)
    assert kept.read_bytes() == b"\xff" * 9000


@pytest.mark.reliability("R19")
def test_a_database_in_use_is_not_replaced(migrated: Path, tmp_path: Path) -> None:
    """A separate process opens the database, because SQLite's locks act between processes."""
    target, backup = tmp_path / "latchkey.db", tmp_path / "backup.db"
    target.write_bytes(migrated.read_bytes())
    back_up(url(target), backup)
    code = f"""
import sqlite3
connection = sqlite3.connect({str(target)!r})
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("SELECT count(*) FROM users").fetchall()
print("open", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(BackupError, match="in use: stop the program"):
            restore(url(target), backup, NOW)
        other.communicate("\n")
    assert restore(url(target), backup, NOW)[0] == Content(SCHEMA, 0, 0)


def test_backup_and_restore_print_one_line_and_set_the_exit_code(
    migrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latchkey.db").write_bytes(migrated.read_bytes())
    environ = environ_of(tmp_path / "latchkey.db")
    backup = str(tmp_path / "backup.db")
    assert main(["backup", backup], environ) == 0
    assert capsys.readouterr().out == f"backed up 0 users and 0 sessions to {backup}\n"
    assert main(["backup", backup], environ) == 1
    assert (
        capsys.readouterr().err == f"latchkey: {backup} already exists, and was not overwritten\n"
    )
    assert main(["restore", backup], environ) == 0
    assert "then start the program" in capsys.readouterr().out
    assert main(["restore", f"{backup}x"], environ) == 1
    assert main(["backup", backup], environ | {"PORT": "x"}) == 2


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_backup_commands_refer_postgresql_users_to_its_tools(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {**ENVIRON, "DATABASE_URL": "postgresql://me@127.0.0.1/latchkey"}
    assert main([command, str(tmp_path / "x")], environ) == 1
    assert "pg_dump" in (output := capsys.readouterr().err) or "pg_restore" in output
    assert output.count("\n") == 1
