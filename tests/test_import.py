"""Tests of `latchkey users import` and `export`, and of the operator's changes of accounts."""

import csv
import io
import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from db.access import operator, user_import
from db.access.user_import import NewUser
from db.errors import LastAdmin
from db.mail.state import OutboxState
from db.viewer import Operator
from tests.browser_client import Browser
from tests.commands import CommandResult, run_command
from tests.conftest import Clock, TestApp
from tests.environment import environ_of
from tests.test_foreign_hashes import HASHES

Run = Callable[..., CommandResult]
BCRYPT = HASHES["bcrypt 2b"]


@pytest.fixture
def run(tmp_path: Path, migrated: Path) -> Run:
    """Returns a function that runs `latchkey` with a database of its own."""
    database = tmp_path / "latchkey.db"
    database.write_bytes(migrated.read_bytes())
    environ = environ_of(database)

    def run(*arguments: object, stdin: str = "") -> CommandResult:
        return run_command(*map(str, arguments), environ=environ, stdin=stdin)

    return run


@pytest.fixture
def import_text(run: Run, tmp_path: Path) -> Run:
    """Returns a function that imports a text as a file."""

    def import_text(text: str, *options: str, suffix: str = ".csv") -> CommandResult:
        path = tmp_path / f"users{suffix}"
        path.write_text(text)
        return run("users", "import", path, *options)

    return import_text


@pytest.fixture
def rows(tmp_path: Path) -> Callable:
    def rows(sql: str) -> list[tuple]:
        with closing(sqlite3.connect(tmp_path / "latchkey.db")) as database:
            return database.execute(sql).fetchall()

    return rows


def test_a_csv_file_creates_accounts(import_text: Run, rows: Callable) -> None:
    result = import_text(
        "email,name,role,team,phone,slug,created_at,verified,disabled,password_hash\n"
        f'Ada@Example.com," Ada ",admin,Crew,"+1, 2",countess,2020-01-31T12:00:00+02:00,yes,,{BCRYPT}\n'
        "bob@bücher.example,Bob,,,,,2020-02-01,2020-02-02,TRUE,\n"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("2 accounts imported (1 administrator, 1 without a password)\n")
    found = rows(
        "SELECT email, name, role, team, phone, slug, created_at, verified_at IS NULL,"
        " disabled_at IS NULL, password_hash, search_key FROM users ORDER BY email"
    )
    assert found == [
        (
            *("ada@example.com", "Ada", "admin", "Crew", "+1, 2", "countess"),
            *("2020-01-31T10:00:00.000000+00:00", 0, 1, BCRYPT, "ada\nada@example.com"),
        ),
        (
            *("bob@xn--bcher-kva.example", "Bob", "user", "", "", "bob"),
            *("2020-02-01T00:00:00.000000+00:00", 0, 0, "!"),
            "bob\nbob@xn--bcher-kva.example\nbob@bücher.example",
        ),
    ]


def test_json_lines_create_accounts(import_text: Run, rows: Callable) -> None:
    lines = [
        {"email": "ada@example.com", "name": "Ada", "verified": True, "disabled": None},
        {"email": "bob@example.com", "name": "Bob", "verified": False, "disabled": True},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    result = import_text(text, suffix=".jsonl")
    assert (result.returncode, result.stderr) == (0, "")
    assert rows(
        "SELECT email, verified_at IS NULL, disabled_at IS NULL FROM users ORDER BY email"
    ) == [("ada@example.com", 0, 1), ("bob@example.com", 1, 0)]


def test_standard_input_is_imported_with_a_format(run: Run, rows: Callable) -> None:
    text = "email,name\nada@example.com,Ada\n"
    assert run("users", "import", "-", "--format", "csv", stdin=text).returncode == 0
    assert rows("SELECT email FROM users") == [("ada@example.com",)]
    result = run("users", "import", "-", stdin=text)
    assert (result.returncode, "--format" in result.stderr) == (1, True)


def test_users_of_one_name_get_slugs_of_their_own(import_text: Run, rows: Callable) -> None:
    text = "email,name\n" + "".join(f"u{n}@example.com,Ada Smith\n" for n in range(250))
    assert import_text(text).returncode == 0
    slugs = [slug for (slug,) in rows("SELECT slug FROM users")]
    assert len(set(slugs)) == 250
    assert "ada-smith" in slugs
    assert all(slug.startswith("ada-smith") for slug in slugs)


def test_a_file_with_invalid_lines_imports_nothing(import_text: Run, rows: Callable) -> None:
    result = import_text(
        "email,name,role,created_at,verified,password_hash,slug\n"
        "ada@example.com,Ada,,,,,\n"
        "not an email,A,,,,,\n"
        "bob@example.com,Bob,owner,,,,\n"
        "eve@example.com,Eve,,tomorrow,maybe,plain text,\n"
        "ADA@example.com,Other Ada,,,,,\n"
        "fay@example.com,Fay,,,,,,too many\n"
        "gus@example.com,Gus,,2999-01-01,,,Not a slug\n"
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "line 3: email: Please enter a valid email.",
        "line 3: name: Name must be at least 2 characters long.",
        "line 4: role: there is no role 'owner'",
        "line 5: created_at: must be a time of the past such as 2024-05-01T12:00:00Z",
        "line 5: verified: must be true, false or a time of the past such as 2024-05-01T12:00:00Z",
        "line 5: the format of the password hash is unknown: argon2, bcrypt, PBKDF2 and scrypt are "
        "known (leave it empty, and the user chooses a new password by mail)",
        "line 6: email: line 2 has the same email",
        "line 7: it has 8 fields, and the header has 7",
        "line 8: slug: Use 2 to 40 characters: lowercase letters (a–z), digits and hyphens.",
        "line 8: created_at: must be a time of the past such as 2024-05-01T12:00:00Z",
        "latchkey: nothing was imported, because 6 lines are not valid: correct them, or add "
        "--skip-invalid (and --skip-existing for accounts that exist)",
    ]
    assert rows("SELECT email FROM users") == []


def test_invalid_lines_can_be_skipped(import_text: Run, rows: Callable) -> None:
    text = "email,name\nada@example.com,Ada\nx,Bob\nbob@example.com,Bob\n"
    result = import_text(text, "--skip-invalid")
    assert (result.returncode, result.stderr) == (0, "line 3: email: Please enter a valid email.\n")
    assert rows("SELECT email FROM users ORDER BY email") == [
        ("ada@example.com",),
        ("bob@example.com",),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: the column email is missing"),
        ("name,email,pasword_hash\n", "line 1: the column 'pasword_hash' is unknown"),
        ("name,email,name\n", "line 1: the column name appears twice"),
        ('email,name\n"ada@example.com,Ada\n', "the file is not CSV"),
    ],
)
@pytest.mark.parametrize("option", ["--dry-run", "--skip-existing"])
def test_a_file_that_is_not_the_format_is_refused(
    import_text: Run, rows: Callable, text: str, problem: str, option: str
) -> None:
    result = import_text(text, option)
    assert (result.returncode, result.stderr.startswith(problem)) == (1, True)
    assert rows("SELECT email FROM users") == []


@pytest.mark.parametrize("line", ["x", "[1]", '{"email": ["a"], "name": "b"}', '{"name": "Ada"}'])
def test_a_line_that_is_no_json_object_of_texts_is_refused(import_text: Run, line: str) -> None:
    result = import_text(f'{{"email": "a@example.com", "name": "Al"}}\n{line}\n', suffix=".jsonl")
    assert (result.returncode, result.stderr.startswith("line 2: ")) == (1, True)


def test_a_file_that_is_not_utf_8_is_refused(run: Run, rows: Callable, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes("email,name\nzoe@example.com,Zoë\n".encode("latin-1"))
    result = run("users", "import", path, "--skip-invalid")
    assert (result.returncode, result.stderr) == (
        1,
        "the file is not UTF-8 text\nlatchkey: nothing was imported\n",
    )
    assert rows("SELECT email FROM users") == []


def test_existing_accounts_are_refused_or_skipped(import_text: Run, rows: Callable) -> None:
    import_text("email,name\nada@example.com,Ada\n")
    text = "email,name,slug\nada@example.com,Changed,ada\nbob@example.com,Bob,\n"
    result = import_text(text)
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        1,
        "line 2: an account has this email",
    )
    assert rows("SELECT count(*) FROM users") == [(1,)]
    result = import_text(text, "--skip-existing")
    assert (result.returncode, "1 skipped, which exist" in result.stdout) == (0, True)
    assert rows("SELECT email, name FROM users ORDER BY email") == [
        ("ada@example.com", "Ada"),
        ("bob@example.com", "Bob"),
    ]


def test_a_slug_that_an_account_has_is_refused(import_text: Run, rows: Callable) -> None:
    import_text("email,name\nada@example.com,Ada\n")
    result = import_text("email,name,slug\nother@example.com,Other,ada\n")
    assert result.stderr.startswith("line 2: slug: an account has this slug\n")
    assert rows("SELECT count(*) FROM users") == [(1,)]


def test_a_dry_run_changes_nothing(import_text: Run, rows: Callable) -> None:
    result = import_text("email,name\nada@example.com,Ada\n", "--dry-run")
    assert result.returncode == 0
    assert result.stdout == (
        "1 account would be imported (1 without a password, 1 with an email that is not "
        "confirmed)\n"
    )
    assert rows("SELECT count(*) FROM users") == [(0,)]
    assert rows("SELECT count(*) FROM audit") == [(0,)]


def test_each_transaction_of_an_import_has_one_audit_entry(
    import_text: Run, run: Run, rows: Callable
) -> None:
    text = "email,name\n" + "".join(f"u{n}@example.com,Ada\n" for n in range(501))
    assert import_text(text).returncode == 0
    assert rows("SELECT event, actor, detail FROM audit") == [
        ("account.import", "operator", '{"count": 500}'),
        ("account.import", "operator", '{"count": 1}'),
    ]
    assert run("audit", "verify").returncode == 0


def test_hashes_are_neither_printed_nor_exported_without_the_option(
    import_text: Run, run: Run
) -> None:
    result = import_text(f"email,name,password_hash\nada@example.com,Ada,{BCRYPT[:-1]}\n")
    assert (result.returncode, BCRYPT[:20] in result.stderr) == (1, False)
    import_text(f"email,name,password_hash\nada@example.com,Ada,{BCRYPT}\n")
    exported = run("users", "export").stdout
    assert "ada@example.com" in exported
    assert BCRYPT not in exported
    assert "password_hash" not in exported


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_an_import_of_an_export_is_the_same(
    import_text: Run, run: Run, rows: Callable, tmp_path: Path, file_format: str
) -> None:
    columns = (
        "email, name, role, team, phone, slug, created_at, verified_at, disabled_at,"
        " password_hash, search_key"
    )
    import_text(
        "email,name,role,team,phone,slug,created_at,verified,disabled,password_hash\n"
        f'ada@example.com,"Ada ""the, one""",admin,Crew,"+1, 2",,2020-01-31T12:00:00.123456Z,1,,{BCRYPT}\n'
        "bob@bücher.example,Zoë ‏שלום,,,,zoe,,,yes,\n"
    )
    before = rows(f"SELECT {columns} FROM users ORDER BY email")
    path = tmp_path / f"export.{file_format}"
    result = run("users", "export", "--with-hashes", "--output", path)
    assert (result.returncode, result.stdout) == (0, f"2 accounts exported to {path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as database, database:
        database.execute("DELETE FROM users")
    assert run("users", "import", path).returncode == 0
    assert rows(f"SELECT {columns} FROM users ORDER BY email") == before


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_outside_of_the_calendar_is_refused(
    import_text: Run, rows: Callable, time: str
) -> None:
    result = import_text(f"email,name,created_at\na@example.com,Ann,{time}\n")
    assert (result.returncode, "line 2: created_at: must be a time" in result.stderr) == (1, True)
    assert rows("SELECT * FROM users") == []


@pytest.mark.asvs("S107")
def test_no_cell_of_an_export_is_a_formula(import_text: Run, run: Run, rows: Callable) -> None:
    names = ["=1+1", "@SUM(A1)", "-2+3", "+1+cmd|x", "'=1+1", "'Ada", "O'Neil"]
    lines = [{"email": f"={n}@example.com", "name": name} for n, name in enumerate(names)]
    assert import_text("\n".join(map(json.dumps, lines)), suffix=".jsonl").returncode == 0
    exported = run("users", "export").stdout
    cells = [cell for row in csv.reader(io.StringIO(exported)) for cell in row]
    assert {"'=1+1", "'@SUM(A1)", "'-2+3", "''=1+1", "'Ada", "'=0@example.com"} <= set(cells)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    before = rows("SELECT email, name FROM users ORDER BY email")
    assert [name for _, name in before] == names
    run("users", "delete", "--now", "=0@example.com")
    assert import_text(exported, "--skip-existing").returncode == 0
    assert rows("SELECT email, name FROM users ORDER BY email") == before


def test_an_export_overwrites_no_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("kept")
    result = run("users", "export", "--output", path)
    assert (result.returncode, result.stderr) == (1, f"latchkey: {path}: File exists\n")
    assert path.read_text() == "kept"


def test_an_export_has_every_account(import_text: Run, run: Run) -> None:
    text = "email,name\n" + "".join(f"u{n}@example.com,Ada\n" for n in range(1001))
    import_text(text)
    exported = list(csv.DictReader(io.StringIO(run("users", "export").stdout)))
    assert {row["email"] for row in exported} == {f"u{n}@example.com" for n in range(1001)}


async def test_an_import_leaves_out_an_email_that_someone_uses_by_now(
    app: TestApp, alice: Browser, clock: Clock
) -> None:
    users = [
        NewUser(n, f"{name}@example.com", name, clock()) for n, name in enumerate(["alice", "bo"])
    ]
    assert await user_import.import_users(Operator(app.store), users) == 1
    assert await app.rows("SELECT email, name FROM users ORDER BY email") == [
        ("alice@example.com", "Alice"),
        ("bo@example.com", "bo"),
    ]


async def test_an_email_that_its_user_may_get_back_is_not_imported(
    make_app: Callable, clock: Clock
) -> None:
    app: TestApp = await make_app(mail=OutboxState(is_enabled=True))
    await app.create("Alice")
    caller = Operator(app.store)
    await operator.set_user_email(caller, "alice@example.com", "new@example.com")
    users = [NewUser(2, "alice@example.com", "Charlie", clock())]
    assert (await user_import.find_clashes(caller, users)).existing == {2}
    assert await user_import.import_users(caller, users) == 0
    assert await app.rows("SELECT email FROM users") == [("new@example.com",)]


async def test_imported_accounts_are_found_in_the_search(
    app: TestApp, ada: Browser, clock: Clock
) -> None:
    user = NewUser(2, "zoe@example.com", "Zoë", clock())
    await user_import.import_users(Operator(app.store), [user])
    assert "zoe@example.com" in (await ada.get("/admin/users?q=ZOË")).text


# The operator's changes of one account.


async def test_a_disabled_user_is_logged_out_until_enabled(app: TestApp, alice: Browser) -> None:
    caller = Operator(app.store)
    await operator.disable_user(caller, alice.email)
    assert not await alice.is_logged_in()
    assert (await alice.log_in()).status_code == 422
    assert await operator.enable_user(caller, alice.email)
    assert not await operator.enable_user(caller, alice.email)
    assert (await alice.log_in()).status_code == 303
    entries = await app.rows("SELECT event, actor, outcome FROM audit WHERE actor = 'operator'")
    assert entries == [
        ("account.disable", "operator", "done"),
        ("account.enable", "operator", "done"),
    ]


async def test_a_deleted_account_is_gone_with_its_sessions(app: TestApp, alice: Browser) -> None:
    await operator.delete_user_now(Operator(app.store), alice.email)
    assert await app.count("users") == await app.count("sessions") == 0
    assert not await alice.is_logged_in()
    newest = await app.rows("SELECT event, actor FROM audit ORDER BY number DESC LIMIT 1")
    assert newest == [("account.delete", "operator")]


async def test_a_scheduled_deletion_disables_the_account_until_enabled(
    app: TestApp, alice: Browser, clock: Clock
) -> None:
    delete_at = await operator.schedule_user_deletion(Operator(app.store), alice.email)
    assert (delete_at - clock()).days == 7
    assert not await alice.is_logged_in()
    assert await app.rows("SELECT delete_at IS NULL FROM users") in ([(0,)], [(False,)])
    await operator.enable_user(Operator(app.store), alice.email)
    assert await app.rows("SELECT delete_at, disabled_at FROM users") == [(None, None)]
    assert (await alice.log_in()).status_code == 303


@pytest.mark.parametrize(
    "change",
    [operator.disable_user, operator.delete_user_now, operator.schedule_user_deletion],
    ids=["disable", "delete", "schedule"],
)
async def test_the_last_administrator_can_be_neither_disabled_nor_deleted(
    app: TestApp, ada: Browser, change: Callable
) -> None:
    with pytest.raises(LastAdmin):
        await change(Operator(app.store), ada.email)
    assert await ada.is_logged_in()
    assert await app.rows("SELECT delete_at, disabled_at FROM users") == [(None, None)]
    newest = await app.rows("SELECT outcome FROM audit ORDER BY number DESC LIMIT 1")
    assert newest == [("refused",)]


async def test_the_operator_changes_an_email_and_both_are_notified(
    make_app: Callable,
) -> None:
    app: TestApp = await make_app(mail=OutboxState(is_enabled=True))
    await app.create("Alice")
    alice = await app.browser("Alice")
    await alice.log_in()
    await app.change("DELETE FROM outbox")
    outcome = await operator.set_user_email(Operator(app.store), alice.email, "new@example.com")
    assert outcome == "changed"
    assert await app.rows("SELECT email, search_key FROM users") == [
        ("new@example.com", "alice\nnew@example.com")
    ]
    assert await app.rows("SELECT kind, recipient FROM outbox ORDER BY kind") == [
        ("arrived", "new@example.com"),
        ("moved", alice.email),
    ]
    newest = await app.rows("SELECT event, actor, detail FROM audit ORDER BY number DESC LIMIT 1")
    event, actor, detail = newest[0]
    assert (event, actor) == ("email.change", "operator")
    assert json.loads(detail) == {"from": "a…@example.com", "to": "n…@example.com"}
    assert await alice.is_logged_in()


async def test_without_a_notice_only_the_new_email_is_notified(make_app: Callable) -> None:
    app: TestApp = await make_app(mail=OutboxState(is_enabled=True))
    await app.create("Alice")
    await operator.set_user_email(
        Operator(app.store), "alice@example.com", "new@example.com", tells_old=False
    )
    assert await app.rows("SELECT kind, recipient FROM outbox") == [("arrived", "new@example.com")]
    assert await app.count("tokens") == 0


async def test_the_operator_cannot_give_an_account_the_email_of_another(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    assert await operator.set_user_email(Operator(app.store), alice.email, bob.email) == "taken"
    await operator.disable_user(Operator(app.store), alice.email)
    outcome = await operator.set_user_email(Operator(app.store), alice.email, "new@example.com")
    assert outcome == "disabled"
    assert await app.rows("SELECT email FROM users ORDER BY email") == [
        (alice.email,),
        (bob.email,),
    ]


def test_the_commands_change_accounts(import_text: Run, run: Run, rows: Callable) -> None:
    import_text("email,name,role\nada@example.com,Ada,admin\nbob@example.com,Bob,\n")
    outputs = [
        run("users", "disable", "bob@example.com").stdout,
        run("users", "enable", "bob@example.com").stdout,
        run("users", "enable", "bob@example.com").stdout,
        run("users", "set-email", "bob@example.com", "Robert@example.com").stdout,
        run("users", "delete", "robert@example.com", "--now").stdout,
    ]
    assert outputs == [
        "bob@example.com was disabled, and every session was ended\n",
        "bob@example.com was enabled\n",
        "bob@example.com was enabled before; nothing was changed\n",
        "bob@example.com has the email robert@example.com now\n",
        "robert@example.com was deleted\n",
    ]
    assert rows("SELECT email FROM users") == [("ada@example.com",)]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["delete", "ada@example.com"], "the last administrator can't be demoted"),
        (["disable", "nobody@example.com"], "no user with this email"),
        (["set-email", "ada@example.com", "nothing"], "not an email: nothing"),
        (["set-email", "nobody@example.com", "x@example.com"], "no user with this email"),
        (["import", "/no/such/file.csv"], "/no/such/file.csv: No such file or directory"),
    ],
)
def test_a_refused_command_prints_one_line(
    import_text: Run, run: Run, rows: Callable, arguments: list[str], problem: str
) -> None:
    import_text("email,name,role\nada@example.com,Ada,admin\n")
    result = run("users", *arguments)
    assert (result.returncode, result.stderr.startswith(f"latchkey: {problem}")) == (1, True)
    assert result.stderr.count("\n") == 1
    assert rows("SELECT email, delete_at, disabled_at FROM users") == [
        ("ada@example.com", None, None)
    ]
