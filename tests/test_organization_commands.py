"""Tests of `latchkey organizations`, and of the key of client secrets."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from db.crypto.secret import Secret
from db.crypto.stored_secrets import StoredSecrets
from tests.commands import CommandResult
from tests.dns_server import DnsServer, serving_dns
from tests.environment import SECRET
from tests.factor_rows import app_row
from tests.lying_provider import CLIENT_ID, CLIENT_SECRET, LyingProvider, serving

Run = Callable[..., CommandResult]
DOMAIN = "example.com"
PROOF = "latchkey-verification=abc"
MOMENT = "2026-11-24T09:12:00.000000+00:00"
ON = {"ORGANIZATIONS": "on", "BASE_URL": "http://localhost:8000"}
NEW = "a new secret of at least 32 bytes!"


@pytest.fixture
def lying() -> Iterator[LyingProvider]:
    with serving(LyingProvider()) as provider:
        yield provider


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with serving_dns() as server:
        yield server


def add(database: sqlite3.Connection, issuer: str, secret: str = SECRET) -> None:
    secrets = StoredSecrets([Secret(secret.encode())], "client secrets")
    text = secrets.encrypt(DOMAIN, Secret(CLIENT_SECRET.encode()))
    database.execute(
        "INSERT INTO organizations VALUES (?, 'Example Corp', ?, ?, ?, ?, 'openid email', 1, '', "
        "?, ?, NULL)",
        (DOMAIN, issuer, CLIENT_ID, text, secrets.kid, PROOF, MOMENT),
    )
    database.commit()


def verified(database: sqlite3.Connection) -> list[bool]:
    return [
        moment is not None
        for (moment,) in database.execute("SELECT verified_at FROM organizations").fetchall()
    ]


def test_the_operator_verifies_a_domain(run: Run, database: sqlite3.Connection) -> None:
    add(database, "https://id.example.com")
    listed = run("organizations", "list", **ON).stdout
    assert "not verified" in listed
    assert DOMAIN in listed
    result = run("organizations", "verify", "Example.COM", **ON)
    assert (result.returncode, result.stdout[:20]) == (0, "verified example.com")
    assert verified(database) == [True]
    event = "SELECT actor, detail FROM audit WHERE event = 'organization.verify'"
    ((actor, detail),) = database.execute(event).fetchall()
    assert (actor, DOMAIN in detail) == ("operator", True)


def test_the_operator_removes_an_organization(run: Run, database: sqlite3.Connection) -> None:
    add(database, "https://id.example.com")
    assert run("organizations", "remove", DOMAIN, **ON).returncode == 0
    assert verified(database) == []


@pytest.mark.parametrize("command", ["verify", "remove", "check"])
def test_an_unknown_domain_is_named(run: Run, database: sqlite3.Connection, command: str) -> None:
    result = run("organizations", command, "example.org", **ON)
    assert result.returncode == 1
    assert "there is no organization with the domain example.org" in result.stderr


@pytest.mark.parametrize(("records", "answer"), [([PROOF], "yes"), (["other"], "no"), ([], "no")])
def test_the_check_prints_provider_and_record(
    run: Run,
    database: sqlite3.Connection,
    lying: LyingProvider,
    dns: DnsServer,
    records: list[str],
    answer: str,
) -> None:
    add(database, lying.issuer)
    dns.records[f"_latchkey.{DOMAIN}"] = list(records)
    result = run("organizations", "check", DOMAIN, DNS_SERVER=dns.address, **ON)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    assert "http://localhost:8000/login/with/example.com/callback" in result.stdout
    assert ["in", "DNS", answer] in lines
    assert ["its", "value", PROOF] in lines
    assert CLIENT_SECRET not in result.stdout


def test_the_check_fails_if_the_provider_cannot_be_used(
    run: Run, database: sqlite3.Connection, dns: DnsServer
) -> None:
    add(database, "http://127.0.0.1:9")
    result = run("organizations", "check", DOMAIN, DNS_SERVER=dns.address, **ON)
    assert result.returncode == 1
    assert "no connection" in result.stdout


@pytest.mark.asvs("S94")
def test_rekey_encrypts_the_client_secrets(run: Run, database: sqlite3.Connection) -> None:
    add(database, "https://id.example.com")
    both = run("factors", "rekey", SESSION_SECRET=f"{NEW},{SECRET}")
    assert both.returncode == 0, both.stderr
    assert "client secrets of organizations with the first key: 1" in both.stdout
    text, kid = database.execute("SELECT client_secret, kid FROM organizations").fetchone()
    secret = StoredSecrets([Secret(NEW.encode())], "client secrets").decrypt(DOMAIN, text, kid)
    assert secret is not None
    assert secret.reveal().decode() == CLIENT_SECRET


def test_rekey_and_doctor_name_client_secrets_without_a_key(
    run: Run, database: sqlite3.Connection
) -> None:
    add(database, "https://id.example.com", secret="another secret of at least 32 bytes")
    before = database.execute("SELECT client_secret, kid FROM organizations").fetchall()
    result = run("factors", "rekey", SESSION_SECRET=NEW)
    assert result.returncode == 1
    assert "decrypts 1 client secret of organizations" in result.stderr
    assert database.execute("SELECT client_secret, kid FROM organizations").fetchall() == before
    doctor = run("doctor", SESSION_SECRET=NEW)
    assert "no key decrypts the client secrets of 1" in doctor.stdout


def test_rekey_names_apps_and_client_secrets_without_a_key(
    run: Run, database: sqlite3.Connection
) -> None:
    add(database, "https://id.example.com", secret="another secret of at least 32 bytes")
    create = ("users", "create", "--email", "ada@example.com", "--name", "Ada", "--password-stdin")
    assert run(*create, stdin="a long passphrase of Ada 1!\n").returncode == 0
    database.execute(app_row("ada@example.com"))
    database.commit()
    result = run("factors", "rekey", SESSION_SECRET=NEW)
    assert result.returncode == 1
    assert "decrypts 1 authenticator app:" in result.stderr
    assert "decrypts 1 client secret of organizations" in result.stderr


@pytest.mark.parametrize(("command", "code"), [("verify", 0), ("check", 1)])
def test_commands_say_that_organizations_are_off(
    run: Run,
    database: sqlite3.Connection,
    lying: LyingProvider,
    dns: DnsServer,
    command: str,
    code: int,
) -> None:
    add(database, lying.issuer)
    settings = {**ON, "DNS_SERVER": dns.address}
    assert "ORGANIZATIONS" not in run("organizations", "check", DOMAIN, **settings).stdout
    result = run("organizations", command, DOMAIN, **{**settings, "ORGANIZATIONS": "off"})
    assert result.returncode == code
    assert "ORGANIZATIONS is off" in result.stdout
