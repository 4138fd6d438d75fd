"""Profiles, asked for without any HTTP: what may not be seen never leaves the database."""

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
def passwords(cheap: Passwords) -> Passwords:
    return cheap


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
async def test_a_colleague_gets_the_phone_alone(app: TestApp, alice: Browser, bob: Browser) -> None:
    await app.change("UPDATE users SET team = 'Harbour'")
    profile = await users.get_profile(await app.viewer_of(alice), "bob")
    assert (profile.email, profile.phone) == (None, "+49 30 1234")


@pytest.mark.guide("D22")
async def test_two_people_without_a_team_are_not_in_one(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    await app.change("UPDATE users SET team = ''")
    assert (await users.get_profile(await app.viewer_of(alice), "bob")).phone is None


@pytest.mark.guide("D22", "T2")
async def test_the_role_of_the_row_opens_and_that_of_the_cookie_does_not(
    app: TestApp, alice: Browser, ada: Browser, bob: Browser
) -> None:
    await app.create("Grace", "admin")
    await app.change_role(ada, "user")
    await app.change_role(alice, "admin")
    assert (await users.get_profile(await app.viewer_of(ada), "bob")).email is None
    assert (await users.get_profile(await app.viewer_of(alice), "bob")).email == "bob@example.com"


@pytest.mark.guide("D22", "T12")
async def test_the_database_itself_hands_out_null(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    """The very row that comes back from SQLite, before anything is made of it."""
    viewer = await app.viewer_of(alice)
    asked = {
        "viewer_id": viewer.id,
        "viewer_team": viewer.team,
        "viewer_is_admin": False,
        "slug": "bob",
    }
    row = await app.store.database.fetch_one(users.PROFILE(**asked))
    assert tuple(row)[-2:] == (None, None)
    assert len(tuple(row)) == len(fields(users.Profile))


@pytest.mark.guide("D23", "D25")
async def test_a_profile_names_its_columns_and_cannot_be_changed(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    assert {"password_hash", "disabled_at", "id"} <= set(table.c.keys()) - {
        f.name for f in fields(users.Profile)
    }
    profile = await users.get_profile(await app.viewer_of(alice), "bob")
    with pytest.raises(FrozenInstanceError):
        profile.email = "bob@example.com"


async def test_nobody_of_that_address_is_not_found(app: TestApp, alice: Browser) -> None:
    with pytest.raises(NotFound):
        await users.get_profile(await app.viewer_of(alice), "nobody")


@pytest.mark.guide("D12", "D16", "D21")
async def test_without_a_verified_session_there_is_nothing_to_ask_with(
    app: TestApp, alice: Browser
) -> None:
    """Neither the store, nor the claims of a cookie, nor something that looks like a viewer, finds
    anything.
    """
    claims = decode_claims(app.store, alice.cookie)
    ends = claims.expires_at
    for nobody in (None, app.store, claims):
        with pytest.raises(AttributeError):
            await users.get_profile(nobody, "alice")
    with pytest.raises(TypeError):
        Viewer(app.store, claims.user_id, "Alice", "admin", "alice", "", "", ends, ends, object())
    assert not hasattr(claims, "store")
