"""Tests the access to profiles, without HTTP. The database returns no hidden values."""

from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from db.access import users
from db.crypto.passwords import Passwords
from db.errors import NotFound
from db.sessions.claims import decode_claims
from db.tables import users as table
from db.viewer import Viewer
from tests.browser_client import Browser
from tests.conftest import TestApp


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def bob(app: TestApp, bob: Browser) -> Browser:
    await app.change("UPDATE users SET phone = '+49 30 1234', team = 'Harbour' WHERE name = 'Bob'")
    return bob


@pytest.mark.guide("D22", "D25", "T12")
async def test_a_user_of_another_team_sees_neither_email_nor_phone(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    profile = await users.get_profile(await app.viewer_of(alice), "bob")
    assert (profile.name, profile.team, profile.email, profile.phone) == (
        "Bob",
        "Harbour",
        None,
        None,
    )
    assert not {"bob@example.com", "+49 30 1234"} & set(map(str, asdict(profile).values()))


@pytest.mark.guide("D22")
async def test_a_user_of_the_same_team_sees_only_the_phone(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change("UPDATE users SET team = 'Harbour'")
    profile = await users.get_profile(await app.viewer_of(alice), "bob")
    assert (profile.email, profile.phone) == (None, "+49 30 1234")


@pytest.mark.guide("D22")
async def test_users_without_a_team_do_not_share_one(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change("UPDATE users SET team = ''")
    assert (await users.get_profile(await app.viewer_of(alice), "bob")).phone is None


@pytest.mark.guide("D22", "T2")
async def test_the_role_in_the_database_decides_not_the_role_in_the_cookie(
    app: TestApp, alice: Browser, ada: Browser, bob: Browser
) -> None:
    await app.create("Grace", "admin")
    await app.change_role(ada, "user")
    await app.change_role(alice, "admin")
    assert (await users.get_profile(await app.viewer_of(ada), "bob")).email is None
    assert (await users.get_profile(await app.viewer_of(alice), "bob")).email == "bob@example.com"


@pytest.mark.guide("D22", "T12")
async def test_the_database_returns_null_for_private_columns(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    """Checks the row itself, before it is converted to a Profile."""
    viewer = await app.viewer_of(alice)
    values = {
        "viewer_id": viewer.id,
        "viewer_team": viewer.team,
        "viewer_is_admin": False,
        "slug": "bob",
    }
    row = await app.store.database.fetch_one(users.PROFILE(**values))
    assert tuple(row)[-2:] == (None, None)
    assert len(tuple(row)) == len(fields(users.Profile))


@pytest.mark.guide("D23", "D25")
async def test_a_profile_has_named_columns_and_is_immutable(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    assert {"password_hash", "disabled_at"} <= set(table.c.keys()) - {
        f.name for f in fields(users.Profile)
    }
    profile = await users.get_profile(await app.viewer_of(alice), "bob")
    with pytest.raises(FrozenInstanceError):
        profile.email = "bob@example.com"


async def test_an_unknown_slug_is_not_found(app: TestApp, alice: Browser) -> None:
    with pytest.raises(NotFound):
        await users.get_profile(await app.viewer_of(alice), "unknown")


@pytest.mark.guide("D12", "D16", "D21")
async def test_a_profile_requires_a_viewer(app: TestApp, alice: Browser) -> None:
    """The store and the claims are rejected, and a Viewer cannot be constructed."""
    claims = decode_claims(app.store, alice.cookie)
    ends = claims.expires_at
    for wrong_viewer in (None, app.store, claims):
        with pytest.raises(AttributeError):
            await users.get_profile(wrong_viewer, "alice")
    with pytest.raises(TypeError):
        Viewer(app.store, claims.user_id, "Alice", "admin", "alice", "", "", ends, ends, object())
    assert not hasattr(claims, "store")
