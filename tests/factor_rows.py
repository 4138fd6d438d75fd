"""Adds second steps to an account without the ceremonies, for tests of pages that show them."""

from base64 import urlsafe_b64encode

from db.tables import users
from tests.conftest import TestApp

ADDED_AT = "2026-11-24T09:00:00.000000+00:00"


def owner(email: str) -> str:
    return f"(SELECT id FROM {users.name} WHERE email = '{email}')"


def passkey_row(
    email: str,
    name: str = "iPhone",
    *,
    rp_id: str = "localhost",
    backed_up: bool = True,
    last_used_at: str | None = None,
) -> str:
    """Returns the INSERT of a passkey that no authenticator has."""
    used = f"'{last_used_at}'" if last_used_at else "NULL"
    credential_id = urlsafe_b64encode(f"{name} of {email}".encode()).decode().rstrip("=")
    return (
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, rp_id, sign_count, aaguid,"
        " transports, backed_up, name, created_at, last_used_at)"
        f" VALUES ('{name} of {email}', {owner(email)}, '{credential_id}', 'key', '{rp_id}', 0, '',"
        f" 'internal', {backed_up}, '{name}', '{ADDED_AT}', {used})"
    )


def app_row(email: str, *, last_used_at: str | None = None) -> str:
    """Returns the INSERT of an authenticator app whose secret cannot be decrypted."""
    used = f"'{last_used_at}'" if last_used_at else "NULL"
    return (
        "INSERT INTO totp (user_id, secret, kid, last_step, created_at, last_used_at)"
        f" VALUES ({owner(email)}, 'secret', 'kid', 0, '{ADDED_AT}', {used})"
    )


def code_rows(email: str, count: int = 10) -> list[str]:
    """Returns the INSERTs of recovery codes that nobody has."""
    return [
        "INSERT INTO recovery_codes (code_hash, user_id, created_at)"
        f" VALUES ('hash {number} of {email}', {owner(email)}, '{ADDED_AT}')"
        for number in range(count)
    ]


async def add_factors(app: TestApp, email: str, *rows: str) -> None:
    """Runs the INSERTs, and marks the account as one with a second step."""
    has_factor = f"UPDATE users SET has_factor = TRUE WHERE email = '{email}'"
    await app.change(*rows, has_factor)
