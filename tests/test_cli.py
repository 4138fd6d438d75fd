"""Tests of the command line."""

import os
import pty
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import argon2
import pytest

from tests.browser_client import PASSWORD
from tests.commands import CommandResult, run_command
from tests.conftest import SECRET
from tests.environment import ENVIRON, environ_of
from web.settings.paths import DATA, ROOT
from web.settings.settings import read_settings

Run = Callable[..., "CommandResult"]
LATCHKEY = Path(sys.executable).parent / "latchkey"
CREATE_ZOE = ["users", "create", "--email", "zoe@example.com", "--name", "Zoe", "--password-stdin"]


def test_the_command_is_installed_and_runs_in_any_folder(tmp_path: Path) -> None:
    """This test runs the installed program in a separate process."""
    environ = environ_of(tmp_path / "latchkey.db")
    completed = subprocess.run(
        [LATCHKEY, "migrate"], cwd=tmp_path, env=environ, capture_output=True, timeout=60
    )
    assert completed.returncode == 0, completed.stderr
    assert (tmp_path / "latchkey.db").exists()
    assert (
        subprocess.run(
            [LATCHKEY, "migrate"], env=environ | {"PORT": "x"}, capture_output=True
        ).returncode
        == 2
    )


def create(run: Run, name: str, *options: str) -> CommandResult:
    arguments = (
        "--email",
        f"{name.lower()}@example.com",
        "--name",
        name,
        *options,
        "--password-stdin",
    )
    return run("users", "create", *arguments, stdin=f"{PASSWORD}\n")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """Sets the usual umask, which makes new files readable by everyone."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.asvs("S96")
def test_a_new_database_is_private(run: Run, tmp_path: Path, usual_umask: None) -> None:
    assert run("migrate").returncode == 0
    create(run, "Ada")
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as reader:
        reader.execute("SELECT count(*) FROM users").fetchall()
        create(run, "Bob")
        assert {path.name: mode_of(path) for path in tmp_path.iterdir()} == {
            "latchkey.db": 0o600,
            "latchkey.db-wal": 0o600,
            "latchkey.db-shm": 0o600,
        }


@pytest.mark.asvs("S96")
def test_every_file_that_a_command_creates_is_private(
    run: Run, tmp_path: Path, usual_umask: None
) -> None:
    assert run("secret").returncode == 0
    (tmp_path / "anything").touch()  # A library could create a file in this way.
    assert mode_of(tmp_path / "anything") == 0o600


@pytest.mark.asvs("S96")
def test_an_existing_world_readable_database_is_made_private(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    names = (
        "latchkey.db",
        "latchkey.db-wal",
        "latchkey.db-shm",
        "latchkey.db.replaced-20261124T091200Z",
        "other.db",
    )
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    assert run("users", "list").stderr == ""
    assert {name: mode_of(tmp_path / name) for name in names if (tmp_path / name).exists()} == {
        name: 0o644 if name == "other.db" else 0o600 for name in names if (tmp_path / name).exists()
    }


@pytest.mark.asvs("S96")
def test_an_empty_database_file_is_made_private(run: Run, tmp_path: Path) -> None:
    (tmp_path / "latchkey.db").touch()
    (tmp_path / "latchkey.db").chmod(0o644)
    assert run("migrate").returncode == 0
    assert mode_of(tmp_path / "latchkey.db") == 0o600


def test_a_group_writable_database_keeps_its_mode(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    (tmp_path / "latchkey.db").chmod(0o660)
    assert run("users", "list").returncode == 0
    assert mode_of(tmp_path / "latchkey.db") == 0o660


@pytest.mark.asvs("S96")
def test_a_database_that_cannot_be_made_private_causes_a_warning(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    """A link is not followed, because root would change the mode of an arbitrary file."""
    (tmp_path / "latchkey.db").rename(tmp_path / "real.db")
    (tmp_path / "latchkey.db").symlink_to("real.db")
    (tmp_path / "real.db").chmod(0o644)
    result = run("users", "list")
    assert (result.returncode, result.stderr.count("\n")) == (0, 1)
    assert f"latchkey: warning: other users have access to {tmp_path}/latchkey.db" in result.stderr
    assert mode_of(tmp_path / "real.db") == 0o644


@pytest.mark.asvs("S96")
@pytest.mark.parametrize("command", ["migrate", "users list", "backup copy.db"])
def test_a_mistyped_path_changes_the_mode_of_no_other_file(
    run: Run, tmp_path: Path, command: str
) -> None:
    """With a path such as /etc/passwd, root would lock every other user out."""
    folder, text, other = tmp_path / "folder", tmp_path / "passwd", tmp_path / "other.db"
    folder.mkdir()
    text.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE users (id)")
    for path, mode in ((folder, 0o755), (text, 0o644), (other, 0o644)):
        path.chmod(mode)
        result = run(*command.split(), DATABASE_URL=f"sqlite:///{path}")
        assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
        assert mode_of(path) == mode


@pytest.mark.asvs("S96")
def test_the_data_folder_is_private(tmp_path: Path) -> None:
    """The test uses a copy of the checkout, because `data/` is inside it.

    An existing folder is made private as well.
    """
    for folder in ("web", "db"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    command = f"umask 022; exec {sys.executable} -c 'from web.cli.main import main; raise SystemExit(main())' users list"
    for existing in (False, True):
        if existing:
            (tmp_path / "data").chmod(0o755)
        completed = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env={}, capture_output=True, text=True
        )
        assert (completed.returncode, "latchkey migrate" in completed.stderr) == (1, True), (
            completed.stderr
        )
        # The command only reads.
        assert (mode_of(tmp_path / "data"), [*(tmp_path / "data").iterdir()]) == (0o700, [])


@pytest.mark.parametrize(
    ("command", "is_named"),
    [("users verify --all", True), ("users list", False)],
)
def test_a_command_that_writes_names_the_default_database(
    tmp_path: Path, command: str, is_named: bool
) -> None:
    """The test uses a copy of the checkout, because the default database is inside it."""
    for folder in ("web", "db"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    program = "from web.cli.main import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        cwd=tmp_path,
        env={"SESSION_SECRET": SECRET},
        capture_output=True,
        text=True,
    )
    named = f"DATABASE_URL is not set; the database is sqlite:///{tmp_path}/data/latchkey.db\n"
    assert (named in done.stderr) == is_named, done.stderr


@pytest.mark.skipif((ROOT / "product").is_dir(), reason="this checkout has a product")
def test_a_new_migration_needs_a_product(run: Run) -> None:
    refused = run("new-migration", "Add a note")
    assert (refused.returncode, "there is no product" in refused.stderr) == (1, True)
    assert not (ROOT / "product").exists()


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_FILE"])
def test_a_command_does_not_name_a_chosen_database(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/latchkey.db"
    path = tmp_path / "url"
    path.write_text(url)
    path.chmod(0o600)
    value = url if name == "DATABASE_URL" else str(path)
    done = run_command("migrate", environ={"SESSION_SECRET": SECRET, name: value})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["bdist_wheel", "sdist"])
def test_a_wheel_without_partials_is_not_built(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Latchkey runs from its checkout, and cannot be installed")


@pytest.mark.parametrize("command", ["users list", "audit verify", "serve", "backup copy.db"])
def test_a_mistyped_database_path_creates_no_file(run: Run, tmp_path: Path, command: str) -> None:
    refused = run(*command.split(), DATABASE_URL=f"sqlite:///{tmp_path}/latchky.db")
    assert (
        refused.returncode,
        f"{tmp_path}/latchky.db" in refused.stderr,
        [*tmp_path.iterdir()],
    ) == (1, True, [])


def test_the_database_of_another_program_is_not_changed(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as other, other:
        other.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "latchkey.db").read_bytes()
    assert run("users", "list").returncode == 1
    assert (tmp_path / "latchkey.db").read_bytes() == before


@pytest.mark.parametrize(
    "url", ["postgresql://data/x", "postgresql://data.invalid/x?max_size=many", "sqlite:///web"]
)
@pytest.mark.parametrize("command", ["migrate", "users list", "backup copy.db"])
def test_an_invalid_database_url_prints_one_line(run: Run, url: str, command: str) -> None:
    refused = run(*command.split(), DATABASE_URL=url)
    assert (refused.returncode in (1, 2), refused.stdout, refused.stderr.count("\n")) == (
        True,
        "",
        1,
    )
    assert refused.stderr.startswith("latchkey: ")


def test_every_command_decodes_percent_signs_in_a_path(run: Run, tmp_path: Path) -> None:
    (tmp_path / "100% sure").mkdir()
    url = f"sqlite:///{tmp_path}/100%25%20sure/latchkey.db"
    assert run("migrate", DATABASE_URL=url).returncode == 0
    assert run("backup", str(tmp_path / "copy.db"), DATABASE_URL=url).returncode == 0
    assert (tmp_path / "100% sure" / "latchkey.db").exists()


def run_latchkey(
    tmp_path: Path, *arguments: str, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess:
    """Runs `latchkey` in a separate process and returns its output as bytes."""
    settings = environ_of(tmp_path / "latchkey.db", **environ)
    command = [LATCHKEY, *arguments]
    return subprocess.run(command, env=settings, input=stdin, capture_output=True, timeout=60)


def test_unencodable_output_is_escaped(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    create(run, "Zoë", "--email", "zoe@example.com")
    result = run_latchkey(tmp_path, "users", "list", PYTHONIOENCODING="ascii")
    assert (result.returncode, rb"Zo\xeb" in result.stdout, result.stderr) == (0, True, b"")


@pytest.mark.asvs("S18")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_password_on_standard_input_is_utf_8_in_every_locale(
    run: Run, database: sqlite3.Connection, tmp_path: Path, encoding: str
) -> None:
    typed = f"{PASSWORD} ë\n".encode()
    result = run_latchkey(tmp_path, *CREATE_ZOE, stdin=typed, PYTHONIOENCODING=encoding)
    assert (result.returncode, result.stderr) == (0, b"")
    hashed = database.execute("SELECT password_hash FROM users").fetchone()[0]
    assert argon2.PasswordHasher().verify(hashed, f"{PASSWORD} ë")


def test_a_password_that_is_not_utf_8_is_refused(
    run: Run, database: sqlite3.Connection, tmp_path: Path
) -> None:
    result = run_latchkey(tmp_path, *CREATE_ZOE, stdin=b"caf\xe9-No.1-caf\xe9\n")
    assert (result.returncode, result.stderr) == (
        1,
        b"latchkey: The password is not UTF-8 text. Nothing was changed.\n",
    )
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_unwritable_output_prints_one_line(database: sqlite3.Connection, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    for output, expected in (
        (">/dev/full", b"latchkey: output: No space left on device\n"),
        ("| true", b""),
    ):
        command = f"{LATCHKEY} routes {output}"
        completed = subprocess.run(
            ["/bin/sh", "-c", command],
            env=ENVIRON,
            capture_output=True,
        )
        assert completed.stderr == expected


@dataclass
class Terminal:
    """A pseudo-terminal that runs `latchkey users create … --password-stdin`, and its output."""

    pid: int
    handle: int
    output: str = ""

    def wait_for(self, words: str) -> None:
        while words not in self.output:
            self.output += os.read(self.handle, 1000).decode()

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())

    def end(self) -> int:
        with suppress(OSError):  # Linux reports an error once the other end is closed.
            while more := os.read(self.handle, 1000):
                self.output += more.decode()
        os.close(self.handle)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(database: sqlite3.Connection, tmp_path: Path) -> Terminal:
    pid, handle = pty.fork()
    if pid == 0:
        arguments = [
            "users",
            "create",
            "--email",
            "ada@example.com",
            "--name",
            "Ada",
            "--password-stdin",
        ]
        os.execve(LATCHKEY, [str(LATCHKEY), *arguments], environ_of(tmp_path / "latchkey.db"))
    return Terminal(pid, handle)


@pytest.mark.asvs("S96")
def test_a_terminal_password_is_typed_twice_and_not_shown(
    terminal: Terminal, database: sqlite3.Connection
) -> None:
    terminal.wait_for("Password: ")
    terminal.type(f"{PASSWORD}\n")
    terminal.wait_for("Type the password again: ")
    terminal.type(f"{PASSWORD}\n")
    assert terminal.end() == 0, terminal.output
    assert PASSWORD not in terminal.output
    hashed = database.execute("SELECT password_hash FROM users").fetchone()[0]
    assert argon2.PasswordHasher().verify(hashed, PASSWORD)


@pytest.mark.parametrize(
    ("second", "expected"),
    [("something-else-No.1\n", "The two passwords differ"), ("\x04", "No password was typed")],
)
def test_a_terminal_password_that_is_not_confirmed_changes_nothing(
    terminal: Terminal, database: sqlite3.Connection, second: str, expected: str
) -> None:
    terminal.wait_for("Password: ")
    terminal.type(f"{PASSWORD}\n")
    terminal.wait_for("Type the password again: ")
    terminal.type(second)
    assert (terminal.end(), expected in terminal.output, "Traceback" in terminal.output) == (
        1,
        True,
        False,
    )
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_help_lists_every_command(run: Run) -> None:
    result = run("--help")
    assert result.returncode == 0
    assert all(
        command in result.stdout for command in ("serve", "migrate", "secret", "routes", "users")
    )


def test_a_generated_secret_is_accepted(run: Run) -> None:
    secret = run("secret").stdout.strip()
    assert run("migrate", SESSION_SECRET=secret, BASE_URL="https://example.com").returncode == 0
    assert secret != run("secret").stdout.strip()


def test_migrating_twice_changes_nothing(run: Run, database: sqlite3.Connection) -> None:
    before = list(database.execute("SELECT sql FROM sqlite_master ORDER BY name"))
    assert run("migrate").returncode == 0
    assert list(database.execute("SELECT sql FROM sqlite_master ORDER BY name")) == before


@pytest.mark.asvs("S38")
def test_a_new_database_lists_no_users(run: Run, database: sqlite3.Connection) -> None:
    assert run("users", "list").stdout == ""


@pytest.mark.asvs("S38")
def test_the_operator_creates_the_first_admin(run: Run, database: sqlite3.Connection) -> None:
    created = create(run, "Ada", "--role", "admin")
    assert (created.returncode, created.stdout) == (
        0,
        "created ada@example.com with the role admin\n",
    )
    assert "admin     ada@example.com  Ada" in run("users", "list").stdout


def test_creating_a_user_with_a_taken_email_prints_one_line(
    run: Run, database: sqlite3.Connection
) -> None:
    create(run, "Ada")
    repeated = create(run, "Ada")
    assert (repeated.returncode, repeated.stderr) == (
        1,
        "latchkey: An account with this email already exists.\n",
    )
    assert database.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_creating_a_user_refuses_a_weak_password(run: Run, database: sqlite3.Connection) -> None:
    refused = run(
        "users",
        "create",
        "--email",
        "a@example.com",
        "--name",
        "Ada",
        "--password-stdin",
        stdin="short\n",
    )
    assert refused.returncode == 1
    assert "Be at least 8 characters long" in refused.stderr
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_the_role_command_changes_the_role(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    assert run("users", "role", "Alice@Example.com", "admin").returncode == 0
    assert database.execute("SELECT role FROM users").fetchone() == ("admin",)


@pytest.mark.asvs("S38")
def test_the_role_command_does_not_demote_the_last_admin(
    run: Run, database: sqlite3.Connection
) -> None:
    create(run, "Ada", "--role", "admin")
    refused = run("users", "role", "ada@example.com", "user")
    assert (refused.returncode, "last administrator" in refused.stderr) == (1, True)
    assert database.execute("SELECT role FROM users").fetchone() == ("admin",)


def test_the_role_command_prints_one_line_for_an_unknown_email(
    run: Run, database: sqlite3.Connection
) -> None:
    refused = run("users", "role", "nobody@example.com", "admin")
    assert (refused.returncode, refused.stderr) == (1, "latchkey: no user with this email\n")


def test_the_set_password_command_replaces_the_hash(run: Run, database: sqlite3.Connection) -> None:
    create(run, "Alice")
    before = database.execute("SELECT password_hash FROM users").fetchone()
    result = run(
        "users", "set-password", "alice@example.com", "--password-stdin", stdin="another-No.7\n"
    )
    assert (result.returncode, result.stdout) == (
        0,
        "the password was changed, and 0 sessions were ended\n",
    )
    assert database.execute("SELECT password_hash FROM users").fetchone() != before
    result = run(
        "users",
        "set-password",
        "alice@example.com",
        "--password-stdin",
        stdin=f"{PASSWORD}\n",
        SESSION_STRATEGY="stateless",
    )
    assert result.stdout == "the password was changed, and every session was ended\n"


@pytest.mark.parametrize(
    "arguments", [(), ("dance",), ("users",), ("users", "role", "a@example.com", "king")]
)
def test_invalid_arguments_print_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("latchkey")


def test_control_characters_in_a_name_are_not_printed(
    run: Run, database: sqlite3.Connection
) -> None:
    create(run, "Alice")
    database.execute(
        "UPDATE users SET name = ?", ("Alice\x1b[2K\r\n2026-11-24  admin     bob@example.com  Bob",)
    )
    database.commit()
    output = run("users", "list").stdout
    assert (output.count("\n"), "\x1b" in output, "\r" in output) == (1, False, False)


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_an_invalid_setting_prints_one_line_and_exits_with_2(run: Run, command: str) -> None:
    refused = run(command, PORT="eighty")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        refused.stderr == "latchkey: PORT: must be a whole number from 1 to 65535, not 'eighty'\n"
    )


def test_a_database_without_tables_prints_one_line(run: Run, tmp_path: Path) -> None:
    refused = run("users", "list")
    assert (refused.returncode, "latchkey migrate" in refused.stderr) == (1, True)


def test_a_database_from_a_newer_version_is_refused(run: Run, database: sqlite3.Connection) -> None:
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    refused = run("users", "list")
    assert (refused.returncode, "newer than this program" in refused.stderr) == (1, True)


@pytest.mark.guide("D6")
def test_the_printed_routes_match_the_committed_file(run: Run) -> None:
    committed = (ROOT / "docs" / "access.txt").read_text()
    assert run("routes").stdout == committed, (
        "latchkey routes > docs/access.txt, and read what changed"
    )


OTHER_SECRET = "the secret of another host: w8Zk1yBn5Qe3Gt6U"
WRITE_COMMANDS = {
    "create": (
        "users",
        "create",
        "--email",
        "bob@example.com",
        "--name",
        "Bob",
        "--password-stdin",
    ),
    "role": ("users", "role", "alice@example.com", "admin"),
    "set-password": ("users", "set-password", "alice@example.com", "--password-stdin"),
}


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("command", WRITE_COMMANDS)
def test_a_command_with_another_secret_writes_nothing(
    run: Run, database: sqlite3.Connection, command: str
) -> None:
    create(run, "Alice")
    before = list(database.iterdump())
    refused = run(*WRITE_COMMANDS[command], stdin=f"{PASSWORD}\n", SESSION_SECRET=OTHER_SECRET)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "latchkey: nothing was changed: the audit log was written with another SESSION_SECRET: "
        "set the service's secret, or append the retired one\n"
    )
    assert list(database.iterdump()) == before
    assert (
        run(
            *WRITE_COMMANDS[command],
            stdin=f"{PASSWORD}\n",
            SESSION_SECRET=f"{OTHER_SECRET},{SECRET}",
        ).returncode
        == 0
    )
    assert run("audit", "verify", SESSION_SECRET=f"{OTHER_SECRET},{SECRET}").returncode == 0


@pytest.mark.asvs("S92")
def test_a_command_writes_nothing_if_the_head_was_changed(
    run: Run, database: sqlite3.Connection
) -> None:
    create(run, "Alice")
    with database:
        database.execute("UPDATE trail_head SET proof = seal")
    before = list(database.iterdump())
    refused = run(*WRITE_COMMANDS["role"])
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "nothing was changed: the audit log was changed by another program" in refused.stderr
    assert list(database.iterdump()) == before


@pytest.mark.parametrize("command", [("users", "list"), ("audit", "verify"), ("migrate",)])
def test_a_read_only_command_creates_no_secret(
    tmp_path: Path, command: tuple[str, ...], run: Run
) -> None:
    run("migrate")
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db"}
    settings = read_settings(environ, data=tmp_path / "data", make_secret=False)
    assert settings.session_secrets
    assert not (tmp_path / "data").exists()
    secret_path = DATA / "session_secret"
    before = secret_path.exists() and secret_path.read_bytes()
    assert run(*command, SESSION_SECRET="").returncode == 0
    assert (secret_path.exists() and secret_path.read_bytes()) == before
