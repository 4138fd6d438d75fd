"""The command line, as a person at the shell runs it."""

import io
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.people import PASSWORD
from web.cli import main
from web.settings import DATA, ROOT, read_settings

Run = Callable[..., "Told"]
LATCHKEY = Path(sys.executable).parent / "latchkey"


@dataclass
class Told:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`latchkey …`, with a database of its own."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> Told:
        settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "SESSION_SECRET": SECRET, **environ}
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(list(arguments), settings, io.StringIO(stdin))
            except SystemExit as stop:  # argparse's own way out
                code = int(stop.code or 0)
        return Told(code, out.getvalue(), err.getvalue())

    return run


def test_it_is_installed_and_runs_from_any_folder(tmp_path: Path) -> None:
    """The one test in a process of its own."""
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "SESSION_SECRET": SECRET}
    done = subprocess.run([LATCHKEY, "migrate"], cwd=tmp_path, env=environ, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "latchkey.db").exists()
    assert subprocess.run([LATCHKEY, "migrate"], env=environ | {"PORT": "x"}, capture_output=True).returncode == 2


@pytest.fixture
def database(run: Run, tmp_path: Path) -> sqlite3.Connection:
    assert run("migrate").returncode == 0
    return sqlite3.connect(tmp_path / "latchkey.db")


def create(run: Run, name: str, *options: str) -> Told:
    arguments = ("--email", f"{name.lower()}@example.com", "--name", name, *options, "--password-stdin")
    return run("users", "create", *arguments, stdin=f"{PASSWORD}\n")


def test_help_tells_every_command(run: Run) -> None:
    told = run("--help")
    assert told.returncode == 0
    assert all(command in told.stdout for command in ("serve", "migrate", "secret", "routes", "users"))


def test_a_fresh_secret_is_good_enough_to_start_with(run: Run) -> None:
    secret = run("secret").stdout.strip()
    assert run("migrate", SESSION_SECRET=secret, BASE_URL="https://example.com").returncode == 0
    assert secret != run("secret").stdout.strip()


def test_migrating_twice_changes_nothing(run: Run, database: sqlite3.Connection) -> None:
    before = list(database.execute("SELECT sql FROM sqlite_master ORDER BY name"))
    assert run("migrate").returncode == 0
    assert list(database.execute("SELECT sql FROM sqlite_master ORDER BY name")) == before


@pytest.mark.asvs("S38")
def test_a_fresh_database_has_nobody_in_it(run: Run, database: sqlite3.Connection) -> None:
    assert run("users", "list").stdout == ""


@pytest.mark.asvs("S38")
def test_the_first_administrator_is_made_at_the_shell(run: Run, database: sqlite3.Connection) -> None:
    made = create(run, "Ada", "--role", "admin")
    assert (made.returncode, made.stdout) == (0, "ada@example.com can log in now, as admin\n")
    assert "admin     ada@example.com  Ada" in run("users", "list").stdout


def test_an_address_that_is_taken_is_one_line_and_no_second_account(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Ada")
    again = create(run, "Ada")
    assert (again.returncode, again.stderr) == (1, "latchkey: An account with this email already exists.\n")
    assert database.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_a_weak_password_is_refused_in_the_guides_words(run: Run, database: sqlite3.Connection) -> None:
    refused = run("users", "create", "--email", "a@example.com", "--name", "Ada", "--password-stdin", stdin="short\n")
    assert refused.returncode == 1
    assert "Be at least 8 characters long" in refused.stderr
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_a_role_changes(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    assert run("users", "role", "Alice@Example.com", "admin").returncode == 0
    assert database.execute("SELECT role FROM users").fetchone() == ("admin",)


@pytest.mark.asvs("S38")
def test_the_last_administrator_cannot_be_demoted(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Ada", "--role", "admin")
    refused = run("users", "role", "ada@example.com", "user")
    assert (refused.returncode, "last administrator" in refused.stderr) == (1, True)
    assert database.execute("SELECT role FROM users").fetchone() == ("admin",)


def test_a_role_of_nobody_is_one_line(run: Run, database: sqlite3.Connection) -> None:
    refused = run("users", "role", "nobody@example.com", "admin")
    assert (refused.returncode, refused.stderr) == (1, "latchkey: nobody has this address\n")


def test_setting_a_password_replaces_the_hash(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    before = database.execute("SELECT password_hash FROM users").fetchone()
    told = run("users", "set-password", "alice@example.com", "--password-stdin", stdin="another-No.7\n")
    assert (told.returncode, told.stdout) == (0, "the password is set, and 0 sessions are ended\n")
    assert database.execute("SELECT password_hash FROM users").fetchone() != before
    told = run(
        "users",
        "set-password",
        "alice@example.com",
        "--password-stdin",
        stdin=f"{PASSWORD}\n",
        SESSION_STRATEGY="stateless",
    )
    assert told.stdout == "the password is set, and every session is ended\n"


@pytest.mark.parametrize("arguments", [(), ("dance",), ("users",), ("users", "role", "a@example.com", "king")])
def test_a_wrong_call_is_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    told = run(*arguments)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert told.stderr.startswith("latchkey")


def test_a_name_cannot_write_on_the_operators_screen(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    database.execute("UPDATE users SET name = ?", ("Alice\x1b[2K\r\n2026-11-24  admin     bob@example.com  Bob",))
    database.commit()
    told = run("users", "list").stdout
    assert (told.count("\n"), "\x1b" in told, "\r" in told) == (1, False, False)


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_wrong_setting_is_one_line_that_names_it_and_exit_2(run: Run, command: str) -> None:
    refused = run(command, PORT="eighty")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "latchkey: PORT: must be a whole number from 1 to 65535, not 'eighty'\n"


def test_a_database_without_tables_is_one_line_and_untouched(run: Run, tmp_path: Path) -> None:
    refused = run("users", "list")
    assert (refused.returncode, "latchkey migrate" in refused.stderr) == (1, True)


def test_a_database_from_a_newer_version_is_refused(run: Run, database: sqlite3.Connection) -> None:
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    refused = run("users", "list")
    assert (refused.returncode, "newer than this program" in refused.stderr) == (1, True)


@pytest.mark.guide("D6")
def test_the_access_table_is_as_committed(run: Run) -> None:
    committed = (ROOT / "docs" / "access.txt").read_text()
    assert run("routes").stdout == committed, "latchkey routes > docs/access.txt, and read what changed"


OTHER = "the secret of another shell: w8Zk1yBn5Qe3Gt6U"
WRITING = {
    "create": ("users", "create", "--email", "bob@example.com", "--name", "Bob", "--password-stdin"),
    "role": ("users", "role", "alice@example.com", "admin"),
    "set-password": ("users", "set-password", "alice@example.com", "--password-stdin"),
}


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("command", WRITING)
def test_without_the_services_secret_a_command_writes_nothing(
    run: Run, database: sqlite3.Connection, command: str
) -> None:
    create(run, "Alice")
    before = list(database.iterdump())
    refused = run(*WRITING[command], stdin=f"{PASSWORD}\n", SESSION_SECRET=OTHER)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "latchkey: nothing is changed: the audit log was written under another SESSION_SECRET: "
        "set the service's, or append the retired one\n"
    )
    assert list(database.iterdump()) == before
    assert run(*WRITING[command], stdin=f"{PASSWORD}\n", SESSION_SECRET=f"{OTHER},{SECRET}").returncode == 0
    assert run("audit", "verify", SESSION_SECRET=f"{OTHER},{SECRET}").returncode == 0


@pytest.mark.asvs("S92")
def test_where_the_head_was_changed_a_command_writes_nothing(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    with database:
        database.execute("UPDATE trail_head SET proof = seal")
    before = list(database.iterdump())
    refused = run(*WRITING["role"])
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "nothing is changed: the audit log was changed by another program" in refused.stderr
    assert list(database.iterdump()) == before


@pytest.mark.parametrize("command", [("users", "list"), ("audit", "verify"), ("migrate",)])
def test_a_command_that_only_reads_makes_no_secret(tmp_path: Path, command: tuple[str, ...], run: Run) -> None:
    run("migrate")
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db"}
    settings = read_settings(environ, data=tmp_path / "data", make_secret=False)
    assert settings.session_secrets
    assert not (tmp_path / "data").exists()
    kept = DATA / "session_secret"
    before = kept.exists() and kept.read_bytes()
    assert run(*command, SESSION_SECRET="").returncode == 0
    assert (kept.exists() and kept.read_bytes()) == before
