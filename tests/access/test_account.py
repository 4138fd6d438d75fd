"""Tests the data access of the viewer's own account, without HTTP."""

import asyncio
from collections.abc import Callable
from dataclasses import fields

import pytest

from db.access import account
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.errors import NotLoggedIn
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp

NEW = Secret("another-No.7")


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def profiles(app: TestApp) -> list[tuple]:
    return await app.rows("SELECT name, slug, phone FROM users ORDER BY email")


@pytest.mark.guide("D23", "D25")
async def test_an_account_has_named_columns_without_the_hash(app: TestApp, alice: Browser) -> None:
    shown = await account.get_account(await app.viewer_of(alice))
    assert [field.name for field in fields(shown)] == [
        *("name", "email", "slug", "phone", "team", "delete_at"),
        *("password_changed_at", "language", "has_password"),
    ]
    assert shown == account.Account(
        *("Alice", "alice@example.com", "alice", "", "", None), app.clock(), "", True
    )


async def test_a_user_deleted_during_login_is_not_logged_in(app: TestApp, alice: Browser) -> None:
    viewer = await app.viewer_of(alice)
    await app.change("DELETE FROM users")
    with pytest.raises(NotLoggedIn) as raised:
        await account.get_account(viewer)
    assert raised.value.ended
    with pytest.raises(NotLoggedIn):
        await account.change_profile(viewer, name="Ghost")
    with pytest.raises(NotLoggedIn):
        await account.change_password(viewer, current=Secret(PASSWORD), new=NEW)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, ("Alice", "alice", "1")),
        ({"name": "Alice L"}, ("Alice L", "alice", "1")),
        ({"slug": "alice-l"}, ("Alice", "alice-l", "1")),
        ({"phone": ""}, ("Alice", "alice", "")),
    ],
)
async def test_a_profile_change_affects_only_the_given_fields(
    app: TestApp, alice: Browser, bob: Browser, given: dict[str, str], stored: tuple
) -> None:
    await app.change("UPDATE users SET phone = '1'")
    assert await account.change_profile(await app.viewer_of(alice), **given)
    assert await profiles(app) == [stored, ("Bob", "bob", "1")]


async def test_a_taken_slug_changes_nothing(app: TestApp, alice: Browser, bob: Browser) -> None:
    viewer = await app.viewer_of(alice)
    assert not await account.change_profile(viewer, name="Alice L", slug="bob", phone="1")
    assert await profiles(app) == [("Alice", "alice", ""), ("Bob", "bob", "")]
    assert [await account.is_slug_taken(viewer, slug) for slug in ("alice", "bob", "free")] == [
        False,
        True,
        False,
    ]


@pytest.mark.asvs("S102")
async def test_concurrent_changes_to_one_slug_succeed_for_one_user(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    viewers = [await app.viewer_of(user) for user in (alice, bob)] * 10
    done = await asyncio.gather(
        *[account.change_profile(viewer, slug="wonderland") for viewer in viewers]
    )
    assert done.count(True) == 10, "one user, ten times"
    assert sorted(slug == "wonderland" for _, slug, _ in await profiles(app)) == [False, True]


@pytest.mark.asvs("S46", "S16")
async def test_a_new_password_needs_the_current_one(
    app: TestApp, alice: Browser, alices_phone: Browser
) -> None:
    viewer, before = (
        await app.viewer_of(alice),
        await app.rows("SELECT password_hash FROM users"),
    )
    for wrong in ("", PASSWORD.upper(), "another-No.7"):
        assert await account.change_password(viewer, current=Secret(wrong), new=NEW) is None
    assert await app.rows("SELECT password_hash FROM users") == before
    assert await app.count("sessions") == 2
    session, ended = await account.change_password(viewer, current=Secret(PASSWORD), new=NEW)
    assert (ended, await app.count("sessions")) == (1, 1)
    alice.cookie = session.session.value.reveal()
    assert await alice.is_logged_in()
    assert await app.rows("SELECT password_hash FROM users") != before


SESSION_ENDINGS = {
    "logged out": "DELETE FROM sessions",
    "expired": "UPDATE sessions SET expires_at = created_at",
    "disabled": "UPDATE users SET disabled_at = created_at",
}
EVERY_ENDING = pytest.mark.parametrize("ending", SESSION_ENDINGS.values(), ids=SESSION_ENDINGS)


@pytest.mark.asvs("S01", "S46")
@EVERY_ENDING
async def test_an_ended_session_cannot_change_the_account(
    app: TestApp, alice: Browser, ending: str
) -> None:
    viewer = await app.viewer_of(alice)
    await app.change(ending)
    before = [await app.rows(f"SELECT * FROM {table}") for table in ("users", "sessions", "audit")]
    with pytest.raises(NotLoggedIn):
        await account.change_profile(viewer, name="Mallory", slug="mallory", phone="1")
    with pytest.raises(NotLoggedIn):
        await account.change_password(viewer, current=Secret(PASSWORD), new=NEW)
    assert [
        await app.rows(f"SELECT * FROM {table}") for table in ("users", "sessions", "audit")
    ] == before


async def test_a_profile_change_waits_for_an_uncommitted_log_out(make_app: Callable) -> None:
    """Another transaction has deleted the session and has not committed yet."""
    app, other = await make_app(), await make_app()
    viewer = await app.viewer_of(await app.sign_up_user("Alice"))
    async with other.store.transaction():
        await other.change("DELETE FROM sessions")
        waiting = asyncio.create_task(account.change_profile(viewer, name="Mallory"))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
    with pytest.raises(NotLoggedIn):
        await waiting
    assert await profiles(app) == [("Alice", "alice", "")]
