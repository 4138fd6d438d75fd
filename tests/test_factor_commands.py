"""Tests of `latchkey factors rekey` and `latchkey users reset-factors`."""

import sqlite3
from collections.abc import Callable

import pyotp
import pytest

from db.crypto.secret import Secret
from db.crypto.stored_secrets import StoredSecrets
from tests.authenticator_app import KEY
from tests.browser_client import PASSWORD
from tests.commands import CommandResult

Run = Callable[..., CommandResult]
OLD, NEW = "an old secret of at least 32 bytes", "a new secret of at least 32 bytes!"
ALICE = "alice@example.com"
MOMENT = "2026-11-24T09:12:00.000000+00:00"
CREATE = ("users", "create", "--email", ALICE, "--name", "Alice", "--password-stdin")


def create_alice(run: Run, database: sqlite3.Connection, secret: str) -> str:
    """Creates Alice with an app, a code, a passkey and a session, and returns her id."""
    assert run(*CREATE, stdin=PASSWORD, SESSION_SECRET=secret).returncode == 0
    ((user_id,),) = database.execute("SELECT id FROM users").fetchall()
    secrets = StoredSecrets([Secret(secret.encode())], "factor secrets")
    text = secrets.encrypt(user_id, Secret(pyotp.TOTP(KEY).byte_secret()))
    database.execute("UPDATE users SET has_factor = 1")
    database.execute(
        "INSERT INTO totp (user_id, secret, kid, last_step, created_at) VALUES (?, ?, ?, 0, ?)",
        (user_id, text, secrets.kid, MOMENT),
    )
    database.execute("INSERT INTO recovery_codes VALUES ('a', ?, ?)", (user_id, MOMENT))
    database.execute(
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, rp_id, sign_count, aaguid, "
        "transports, backed_up, name, created_at) "
        "VALUES ('a', ?, 'a', 'a', 'localhost', 0, '', '', 0, 'a', ?)",
        (user_id, MOMENT),
    )
    database.commit()
    return str(user_id)


def counts(database: sqlite3.Connection) -> tuple[int, ...]:
    tables = ("totp", "recovery_codes", "passkeys")
    return tuple(
        database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
    )


@pytest.mark.asvs("S94")
def test_rekey_encrypts_every_secret_with_the_first_key(
    run: Run, database: sqlite3.Connection
) -> None:
    user_id = create_alice(run, database, OLD)
    both = run("factors", "rekey", SESSION_SECRET=f"{NEW},{OLD}")
    assert (both.returncode, both.stdout) == (
        0,
        "1 secret was encrypted again; apps with the first key: 1\n",
    )
    text, kid = database.execute("SELECT secret, kid FROM totp").fetchone()
    assert (
        StoredSecrets([Secret(NEW.encode())], "factor secrets").decrypt(user_id, text, kid)
        is not None
    )
    again = run("factors", "rekey", SESSION_SECRET=NEW)
    assert (again.returncode, again.stdout[:1]) == (0, "0")


def test_rekey_fails_if_no_key_decrypts_a_secret(run: Run, database: sqlite3.Connection) -> None:
    create_alice(run, database, OLD)
    before = database.execute("SELECT secret, kid FROM totp").fetchall()
    result = run("factors", "rekey", SESSION_SECRET=NEW)
    assert result.returncode == 1
    assert "no key of SESSION_SECRET decrypts 1 authenticator app:" in result.stderr
    assert database.execute("SELECT secret, kid FROM totp").fetchall() == before


def test_the_operator_resets_the_second_steps(run: Run, database: sqlite3.Connection) -> None:
    create_alice(run, database, OLD)
    result = run("users", "reset-factors", ALICE, SESSION_SECRET=OLD)
    assert (result.returncode, result.stderr) == (0, "")
    assert counts(database) == (0, 0, 0)
    has_factor, ended_at = database.execute(
        "SELECT has_factor, sessions_ended_at FROM users"
    ).fetchone()
    assert has_factor == 0
    assert ended_at is not None
    event = database.execute("SELECT event FROM audit ORDER BY number DESC").fetchone()
    assert event == ("factor.reset",)
    again = run("users", "reset-factors", ALICE, SESSION_SECRET=OLD)
    assert (again.returncode, "nothing was changed" in again.stdout) == (0, True)


def test_a_reset_never_removes_the_last_way_in(run: Run, database: sqlite3.Connection) -> None:
    create_alice(run, database, OLD)
    database.execute("UPDATE users SET password_hash = '!'")
    database.commit()
    settings = {
        "SESSION_SECRET": OLD,
        "BASE_URL": "https://example.com",
        "HOST": "127.0.0.1",
    }
    result = run("users", "reset-factors", ALICE, **settings)
    assert (result.returncode, counts(database)) == (1, (1, 1, 1))
    assert "nothing else opens the account" in result.stderr


def test_a_reset_needs_an_account(run: Run, database: sqlite3.Connection) -> None:
    result = run("users", "reset-factors", "nobody@example.com", SESSION_SECRET=OLD)
    assert (result.returncode, result.stderr) == (1, "latchkey: no user with this email\n")


def test_doctor_reports_unusable_factors(run: Run, database: sqlite3.Connection) -> None:
    create_alice(run, database, OLD)
    database.execute("UPDATE users SET role = 'admin', has_factor = 0")
    database.execute("UPDATE passkeys SET rp_id = 'old.example.com'")
    database.commit()
    text = run("doctor", SESSION_SECRET=NEW, REQUIRE_FACTOR="admins").stdout
    assert "no key decrypts the secrets of 1:" in text
    assert "1 were created for another domain" in text
    assert "1 without a second step" in text
