"""Tests the administrators' access to users, without HTTP. Each change checks the admin's role."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields

import pytest

from db.access import admin, data_export, invitations
from db.crypto.passwords import Passwords
from db.errors import Forbidden, LastAdmin, NotFound, NotLoggedIn
from db.tables import users
from db.viewer import Admin, require_admin
from tests.browser_client import Browser
from tests.confirmations import confirmed
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def admin_of(app: TestApp, user: Browser) -> Admin:
    return require_admin(await app.viewer_of(user))


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


@pytest.mark.guide("D21", "D30", "T2")
async def test_only_a_user_with_the_admin_role_in_the_database_is_an_admin(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    with pytest.raises(Forbidden):
        await admin_of(app, alice)
    await app.change_role(alice, "admin")
    assert (await admin_of(app, alice)).name == "Alice"
    await app.change_role(ada, "user")
    with pytest.raises(Forbidden):
        await admin_of(app, ada)


@pytest.mark.guide("D23", "D25")
@pytest.mark.asvs("S88")
async def test_a_user_summary_has_no_private_columns(app: TestApp, ada: Browser) -> None:
    named = {field.name for field in fields(admin.UserSummary)}
    assert not named & {"password_hash", "phone", "sessions_ended_at", "verified_at"}
    assert named - {"disabled", "verified", "session_count", "role_label"} < set(users.c.keys())
    (user,) = (await admin.search_users(await admin_of(app, ada))).users
    assert (user.name, user.role, user.disabled, user.session_count) == (
        "Ada",
        "admin",
        False,
        1,
    )


async def test_expired_sessions_are_not_counted(app: TestApp, ada: Browser, alice: Browser) -> None:
    app.clock.move(days=4)
    await ada.get("/dashboard")
    app.clock.move(days=4)
    found = await admin.search_users(await admin_of(app, ada), sort="name")
    assert [(user.name, user.session_count) for user in found.users] == [
        ("Ada", 1),
        ("Alice", 0),
    ]


@pytest.mark.parametrize(("page", "shown"), [(-1, 1), (0, 1), (1, 1), (2, 1)])
async def test_a_page_number_is_limited_to_the_existing_pages(
    app: TestApp, ada: Browser, page: int, shown: int
) -> None:
    viewer = await admin_of(app, ada)
    for q, total in (("", 1), ("unknown", 0)):
        found = await admin.search_users(viewer, q=q, page=page)
        assert (found.page, found.pages, found.total, len(found.users)) == (shown, 1, total, total)


@pytest.mark.asvs("S38", "S102")
@pytest.mark.parametrize("change", ["demote", "disable"])
async def test_two_admins_cannot_demote_or_disable_each_other_at_once(
    app: TestApp, ada: Browser, change: str
) -> None:
    grace = await app.admin("Grace")
    pairs = [(await admin_of(app, ada), "Grace"), (await admin_of(app, grace), "Ada")]

    async def apply_change(viewer: Admin, name: str) -> None:
        if change == "demote":
            await admin.change_user_role(confirmed(viewer), await id_of(app, name), "user")
            return
        await admin.disable(confirmed(viewer), await id_of(app, name))

    outcomes = await asyncio.gather(
        *[apply_change(*pair) for pair in pairs], return_exceptions=True
    )
    error = Forbidden if change == "demote" else NotLoggedIn
    assert {type(outcome) for outcome in outcomes} == {type(None), error}
    left = await app.rows("SELECT name FROM users WHERE role = 'admin' AND disabled_at IS NULL")
    assert len(left) == 1


@pytest.mark.asvs("S38")
async def test_the_last_administrator_keeps_role_account_and_sessions(
    app: TestApp, ada: Browser
) -> None:
    viewer = await admin_of(app, ada)
    for change in (
        admin.change_user_role(confirmed(viewer), viewer.id, "user"),
        admin.disable(confirmed(viewer), viewer.id),
    ):
        with pytest.raises(LastAdmin):
            await change
    assert await app.rows("SELECT role, disabled_at FROM users") == [("admin", None)]
    assert await app.count("sessions") == 1
    # A change to the current role is allowed.
    await admin.change_user_role(confirmed(viewer), viewer.id, "admin")


@pytest.mark.asvs("S05")
async def test_an_unknown_user_is_not_found_and_nothing_changes(app: TestApp, ada: Browser) -> None:
    viewer = await admin_of(app, ada)
    before = await app.rows("SELECT * FROM users")
    for change in (
        admin.change_user_role(confirmed(viewer), "unknown", "user"),
        admin.change_user_role(confirmed(viewer), "unknown", "admin"),
        admin.change_team(confirmed(viewer), "unknown", "Harbour"),
        admin.disable(confirmed(viewer), "unknown"),
        admin.enable(confirmed(viewer), "unknown"),
        admin.end_sessions(viewer, "unknown"),
    ):
        with pytest.raises(NotFound):
            await change
    assert await app.rows("SELECT * FROM users") == before
    assert await app.count("sessions") == 1


@pytest.mark.asvs("S66")
async def test_ending_sessions_returns_their_number(
    app: TestApp, ada: Browser, alice: Browser, alices_phone: Browser
) -> None:
    assert await admin.end_sessions(await admin_of(app, ada), await id_of(app, "Alice")) == 2
    assert await app.count("sessions") == 1


# An administrator can lose the role or the session while a request waits for its transaction.

Change = Callable[[Admin, str], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "role": lambda viewer, user_id: admin.change_user_role(confirmed(viewer), user_id, "admin"),
    "team": lambda viewer, user_id: admin.change_team(confirmed(viewer), user_id, "Harbour"),
    "disable": lambda viewer, user_id: admin.disable(confirmed(viewer), user_id),
    "enable": lambda viewer, user_id: admin.enable(confirmed(viewer), user_id),
    "delete": lambda viewer, user_id: admin.delete(confirmed(viewer), user_id),
    "keep": admin.keep,
    "download": lambda viewer, user_id: data_export.download_of_user(confirmed(viewer), user_id),
    "add": lambda viewer, _: admin.add_user(
        confirmed(viewer), name="Grace", email="grace@example.com", role="user", team=""
    ),
    "invite": lambda viewer, _: invitations.invite(
        confirmed(viewer), email="grace@example.com", role="user", team=""
    ),
    "end-sessions": admin.end_sessions,
}
EVERY_CHANGE = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
ENDINGS = {
    "demoted": ("UPDATE users SET role = 'user' WHERE name = 'Ada'", Forbidden),
    "disabled": ("UPDATE users SET disabled_at = created_at WHERE name = 'Ada'", NotLoggedIn),
    "logged out": (
        "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'Ada')",
        NotLoggedIn,
    ),
    "expired": (
        "UPDATE sessions SET expires_at = created_at WHERE user_id = (SELECT id FROM users WHERE name = 'Ada')",
        NotLoggedIn,
    ),
}
EVERY_ENDING = pytest.mark.parametrize(("ending", "error"), ENDINGS.values(), ids=ENDINGS)


async def stored_rows(app: TestApp) -> list[list[tuple]]:
    return [
        await app.rows(f"SELECT * FROM {table} ORDER BY id")
        for table in ("users", "sessions", "invitations")
    ]


@pytest.mark.asvs("S37", "S01")
@EVERY_CHANGE
@EVERY_ENDING
async def test_an_admin_whose_access_has_ended_changes_nothing(
    app: TestApp,
    ada: Browser,
    alice: Browser,
    change: Change,
    ending: str,
    error: type[Exception],
) -> None:
    viewer = await admin_of(app, ada)
    await app.change(ending)
    before = await stored_rows(app)
    for name in ("Alice", "Ada"):
        with pytest.raises(error):
            await change(viewer, await id_of(app, name))
    assert await stored_rows(app) == before
    assert (
        await app.rows(
            "SELECT event FROM audit WHERE event LIKE 'role%' OR event LIKE 'account.%able'"
            " OR event LIKE 'invit%' OR event LIKE 'data%' OR event IN ('account.leave', 'account.keep')"
        )
        == []
    )


@EVERY_CHANGE
@pytest.mark.parametrize("ending", ["demoted", "disabled", "logged out"])
async def test_an_admins_access_ends_without_session_rows_too(
    make_app: Callable, change: Change, ending: str
) -> None:
    app = await make_app(SESSION_STRATEGY="stateless")
    viewer = await admin_of(app, await app.admin("Ada"))
    await app.sign_up_user("Alice")
    everywhere = "UPDATE users SET sessions_ended_at = last_login_at WHERE name = 'Ada'"
    await app.change(everywhere if ending == "logged out" else ENDINGS[ending][0])
    before = await app.rows("SELECT * FROM users ORDER BY id")
    with pytest.raises(ENDINGS[ending][1]):
        await change(viewer, await id_of(app, "Alice"))
    assert await app.rows("SELECT * FROM users ORDER BY id") == before


@pytest.mark.parametrize("database_type", DATABASE_TYPES)
@EVERY_CHANGE
async def test_a_change_that_waited_for_the_demotion_is_refused(
    make_app: Callable, fast_passwords: Passwords, change: Change
) -> None:
    """Another transaction has demoted the administrator and has not committed yet."""
    app, other = await make_app(hashing=fast_passwords), await make_app(hashing=fast_passwords)
    viewer = await admin_of(app, await app.admin("Ada"))
    await app.sign_up_user("Alice")
    alice = await id_of(app, "Alice")
    before = await app.rows("SELECT * FROM users WHERE name = 'Alice'")
    async with other.store.transaction():
        await other.change(ENDINGS["demoted"][0])
        waiting = asyncio.ensure_future(change(viewer, alice))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
    with pytest.raises(Forbidden):
        await waiting
    assert await app.rows("SELECT * FROM users WHERE name = 'Alice'") == before


async def test_a_change_refused_for_the_role_is_in_the_audit_log(
    app: TestApp, ada: Browser, alice: Browser
) -> None:
    viewer = await admin_of(app, ada)
    await app.admin("Grace")
    await app.change_role(ada, "user")
    with pytest.raises(Forbidden):
        await admin.change_user_role(confirmed(viewer), await id_of(app, "Alice"), "admin")
    (entry,) = await app.rows("SELECT outcome, actor_id FROM audit WHERE event = 'admin'")
    assert entry == ("refused", viewer.id)
