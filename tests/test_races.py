"""Tests of concurrent requests: one email makes one account, and two clicks have one effect."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import httpx
import pytest

from db.access import account, admin, devices
from db.crypto.passwords import Passwords
from db.errors import Forbidden, LastAdmin, NotLoggedIn, Unavailable
from db.maintenance.pruning import prune
from db.role_names import BUILT_IN_ROLES
from db.sessions.claims import decode_claims
from db.sessions.lifecycle import end_session, get_viewer, start_session
from db.tables import SCHEMA
from db.viewer import UNKNOWN_CLIENT, require_admin
from tests.browser_client import PASSWORD, Browser, read, set_cookie_of
from tests.confirmations import confirmed
from tests.conftest import TestApp
from tests.databases import DATABASE_TYPES

TAKEN = "An account with this email already exists."
NEW_PASSWORD = "another-No.7 to the sea"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    """Runs the tests on both databases, because each has its own locks."""
    return request.param


@pytest.mark.asvs("S18")
async def test_fifty_concurrent_sign_ups_with_one_email_make_one_account(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    spellings = [
        "alice@example.com",
        "ALICE@EXAMPLE.COM",
        "Alice@Example.com ",
        "alice@ｅxample.com",
        "aLICE@example.COM",
    ]
    browsers = [
        await app.browser("Alice", email=spelling, password=f"{number}-{PASSWORD}")
        for number, spelling in enumerate(spellings * 10)
    ]
    answers = await asyncio.gather(*[user.sign_up() for user in browsers])
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 49
    for answer in answers:
        if answer.status_code == 422:
            assert TAKEN in read(answer).one(id="email-message").text
            assert set_cookie_of(answer) == {}
    assert await app.rows("SELECT email FROM users") == [("alice@example.com",)]
    assert await app.count("sessions") == 1


@pytest.mark.guide("A14")
@pytest.mark.asvs("S102")
async def test_two_clicks_on_sign_up_make_one_account_and_both_log_in(
    app: TestApp, anonymous: Browser
) -> None:
    fields = {"name": "Charlie", "email": "charlie@example.com", "password": PASSWORD}
    answers = await asyncio.gather(
        anonymous.post("/signup", fields), anonymous.post("/signup", fields)
    )
    assert [answer.status_code for answer in answers] == [303, 303]
    assert (await app.count("users"), await app.count("sessions")) == (1, 2)
    assert await anonymous.is_logged_in()


@pytest.mark.reliability("R06")
async def test_five_hundred_concurrent_sign_ups_with_one_name_all_succeed(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    pending = [
        await app.browser("Alice", email=f"alice{number}@example.com") for number in range(500)
    ]
    while pending:
        answers = await asyncio.gather(*[user.sign_up() for user in pending])
        assert {answer.status_code for answer in answers} <= {303, 503}
        assert all(
            "retry-after" in answer.headers for answer in answers if answer.status_code == 503
        )
        pending = [
            user for user, answer in zip(pending, answers, strict=True) if answer.status_code == 503
        ]
    slugs = [slug for (slug,) in await app.rows("SELECT slug FROM users")]
    assert (len(set(slugs)), "alice" in slugs, await app.count("sessions")) == (500, True, 500)


@pytest.mark.asvs("S102")
async def test_two_clicks_on_revoke_end_only_one_device(
    alice: Browser, alices_phone: Browser
) -> None:
    page = read(await alice.get("/devices"))
    (phone,) = [found for found in page.all(data_device=True) if "data-current" not in found.attrs]
    path = phone.one("form").attrs["action"]
    answers = await asyncio.gather(*[alice.post(path) for _ in range(2)])
    assert sorted(answer.status_code for answer in answers) == [303, 404]
    assert [await alice.is_logged_in(), await alices_phone.is_logged_in()] == [True, False]


@pytest.mark.asvs("S102")
async def test_two_clicks_on_log_out_have_the_effect_of_one(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    answers = await asyncio.gather(alice.post("/logout"), alice.post("/logout"))
    assert [answer.headers["location"] for answer in answers] == ["/login"] * 2
    assert [await alice.is_logged_in(), await bob.is_logged_in()] == [False, True]


async def test_log_out_everywhere_ends_a_session_with_requests_in_progress(
    alice: Browser, alices_phone: Browser
) -> None:
    requests = [alices_phone.get("/dashboard") for _ in range(10)]
    answers = await asyncio.gather(alice.post("/devices/revoke-all"), *requests)
    assert {answer.status_code for answer in answers} <= {200, 303}
    assert not await alices_phone.is_logged_in()


@pytest.mark.asvs("S103")
async def test_sixty_concurrent_log_ins_keep_fifty_sessions(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    await app.sign_up_user("Alice")
    browsers = [await app.browser("Alice") for _ in range(60)]
    answers = await asyncio.gather(*[browser.log_in() for browser in browsers])
    assert {answer.status_code for answer in answers} == {303}
    assert await app.count("sessions") == 50


@pytest.mark.guide("B14")
@pytest.mark.asvs("S65")
async def test_fifty_concurrent_requests_during_renewal_all_succeed(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(days=4)
    before = app.store.database._backend.writes
    answers = await asyncio.gather(*[alice.get("/dashboard") for _ in range(50)])
    assert {answer.status_code for answer in answers} == {200}
    assert await alice.is_logged_in()
    assert await app.rows("SELECT expires_at FROM sessions") == [
        ("2026-12-05T09:12:00.000000+00:00",)
    ]
    assert app.store.database._backend.writes - before <= 50


@pytest.mark.asvs("S38")
async def test_concurrent_role_changes_leave_at_least_one_administrator(
    app: TestApp,
) -> None:
    browsers = [await app.admin(name) for name in ("Ada", "Agnes", "Barbara", "Dorothy", "Grace")]
    admins = [require_admin(await app.viewer_of(user)) for user in browsers]
    for _ in range(6):
        await app.change("UPDATE users SET role = 'user' WHERE id <> (SELECT max(id) FROM users)")
        changes = [
            admin.change_user_role(confirmed(one), two.id, role)
            for one in admins
            for two in admins
            for role in BUILT_IN_ROLES
        ]
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {str, LastAdmin, Forbidden}
        assert await app.rows("SELECT id FROM users WHERE role = 'admin'") != []
        await app.change("UPDATE users SET role = 'admin'")
    disabling = [
        admin.disable(confirmed(one), two.id)
        for one, two in zip(admins, [*admins[1:], admins[0]], strict=True)
    ]
    outcomes = await asyncio.gather(*disabling, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), LastAdmin, NotLoggedIn}
    enabled = await app.rows("SELECT id FROM users WHERE disabled_at IS NULL")
    assert len(enabled) == len(browsers) - outcomes.count(None) > 0


ROUNDS = 200
RESTORE_ROGUE = "UPDATE users SET role = 'admin', disabled_at = NULL WHERE name = 'Rogue'"


async def run_concurrently(number: int, *changes: Coroutine) -> list[object]:
    """Runs the changes concurrently and returns their results or errors.

    Every other round starts them in the opposite order.
    """
    order = -1 if number % 2 else 1
    return (await asyncio.gather(*changes[::order], return_exceptions=True))[::order]


@pytest.mark.asvs("S37", "S102")
async def test_a_demoted_admin_cannot_undo_the_demotion(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    other_admin, rogue = [
        require_admin(await app.viewer_of(await app.admin(name))) for name in ("Keeper", "Rogue")
    ]
    bob_id = (await app.viewer_of(await app.sign_up_user("Bob"))).id
    for number in range(ROUNDS):
        demotion, undoing, promotion = await run_concurrently(
            number,
            admin.change_user_role(confirmed(other_admin), rogue.id, "user"),
            admin.change_user_role(confirmed(rogue), rogue.id, "admin"),
            admin.change_user_role(confirmed(rogue), bob_id, "admin"),
        )
        assert demotion == "admin"
        assert {type(undoing), type(promotion)} <= {str, Forbidden}
        assert await app.rows("SELECT role FROM users WHERE name = 'Rogue'") == [("user",)]
        bob_role = "admin" if promotion == "user" else "user"
        assert await app.rows("SELECT role FROM users WHERE name = 'Bob'") == [(bob_role,)]
        await app.change(RESTORE_ROGUE, "UPDATE users SET role = 'user' WHERE name = 'Bob'")


@pytest.mark.asvs("S37", "S66", "S102")
async def test_a_disabled_admin_cannot_undo_the_disabling(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    other_admin, browser = (
        require_admin(await app.viewer_of(await app.admin("Keeper"))),
        await app.admin("Rogue"),
    )
    for number in range(ROUNDS):
        rogue = require_admin(await app.viewer_of(browser))
        disabling, enabling = await run_concurrently(
            number,
            admin.disable(confirmed(other_admin), rogue.id),
            admin.enable(confirmed(rogue), rogue.id),
        )
        assert (disabling, type(enabling) in (bool, NotLoggedIn)) == (None, True)
        assert await app.rows("SELECT name FROM users WHERE disabled_at IS NOT NULL") == [
            ("Rogue",)
        ]
        await app.change(RESTORE_ROGUE)
        async with app.store.transaction():
            session = await start_session(
                app.store, rogue.id, "admin", UNKNOWN_CLIENT, confirmation=None
            )
        browser.cookie = session.session.value.reveal()


@pytest.mark.asvs("S08", "S102")
async def test_a_session_changes_nothing_after_its_end(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    """Relies on the numbers of the audit log, which have the order of the commits."""
    app = await make_app(hashing=fast_passwords)
    alice = await app.sign_up_user("Alice")
    for number in range(ROUNDS):
        viewer, claims = await app.viewer_of(alice), decode_claims(app.store, alice.cookie)
        async with app.store.transaction():
            phone = await start_session(
                app.store, viewer.id, "user", UNKNOWN_CLIENT, confirmation=None
            )
        others = await get_viewer(app.store, decode_claims(app.store, phone.session.value.reveal()))
        changed, _ = await run_concurrently(
            number,
            account.change_profile(viewer, phone=f"1 {number}"),
            devices.revoke_others(others) if number % 3 else end_session(app.store, claims),
        )
        entries = await app.rows("SELECT event FROM audit ORDER BY number DESC LIMIT 2")
        assert entries[0] in [("logout",), ("session.end-others",)]
        assert (entries[1] == ("profile.change",)) == (changed is True), changed
        assert changed is True or type(changed) is NotLoggedIn
        alice.cookie = phone.session.value.reveal()


@pytest.mark.asvs("S38", "S102")
async def test_concurrent_changes_of_the_same_users_do_not_deadlock(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    browsers = [await app.admin(name) for name in ("Ada", "Agnes", "Barbara")]
    admins = [require_admin(await app.viewer_of(user)) for user in browsers]
    for number in range(ROUNDS // 10):
        outcomes = await asyncio.gather(
            *[
                admin.change_team(confirmed(one), two.id, f"{one.id} {number}"[:40])
                for one in admins
                for two in admins
            ],
            *[
                admin.change_user_role(confirmed(one), two.id, "admin")
                for one in admins
                for two in admins
            ],
            *[account.change_profile(one, phone=str(number)) for one in admins],
            *[devices.revoke_others(one) for one in admins],
            *[(await app.browser(user.name)).log_in() for user in browsers],
        )
        answers = [
            outcome.status_code for outcome in outcomes if isinstance(outcome, httpx.Response)
        ]
        assert answers == [303] * len(browsers)


@pytest.mark.asvs("S102")
async def test_only_one_of_twenty_concurrent_users_gets_a_slug(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(hashing=fast_passwords)
    browsers = [await app.sign_up_user(f"Guest{number}") for number in range(20)]
    answers = await asyncio.gather(
        *[user.post("/account", {"slug": "wonderland"}) for user in browsers]
    )
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 19
    assert await app.rows("SELECT count(*) AS n FROM users WHERE slug = 'wonderland'") == [(1,)]


async def test_concurrent_swaps_of_slugs_are_answered(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    """Makes each change wait for the other on PostgreSQL, which aborts one for a retry."""
    viewers = [await app.viewer_of(user) for user in (alice, bob)]
    for _ in range(3):
        swapped = [
            account.change_profile(viewer, slug=slug)
            for viewer, slug in zip(viewers, ("bob", "alice"), strict=True)
        ]
        assert await asyncio.gather(*swapped) == [False, False]
    assert await app.rows("SELECT slug FROM users ORDER BY slug") == [("alice",), ("bob",)]


@pytest.mark.asvs("S06", "S102")
@pytest.mark.parametrize("strategy", ["database", "stateless"])
async def test_concurrent_log_ins_log_outs_and_password_changes_are_serializable(
    make_app: Callable, fast_passwords: Passwords, strategy: str
) -> None:
    app = await make_app(hashing=fast_passwords, SESSION_STRATEGY=strategy)
    alice, old, new = await app.sign_up_user("Alice"), PASSWORD, NEW_PASSWORD
    for _ in range(6):
        browsers = [await app.browser("Alice") for _ in range(6)]
        leaving, changing, after = [await app.attacker_with_cookie_of(alice) for _ in range(3)]
        log_out, changed, *answers = await asyncio.gather(
            leaving.post("/devices/revoke-all"),
            changing.post("/account/password", {"current_password": old, "password": new}),
            *[user.log_in(old) for user in browsers],
        )
        assert {
            log_out.headers["location"].partition("?")[0],
            *({a.status_code for a in answers} - {303, 422}),
        } == {"/login"}
        assert not await after.is_logged_in(), "both requests end the session"
        if changed.headers["location"] == "/account":
            assert [await user.is_logged_in() for user in browsers] == [False] * 6, (
                "the old password is refused"
            )
            old, new = new, old
        alice = await app.browser("Alice")
        assert (await alice.log_in(new)).status_code == 422
        assert (await alice.log_in(old)).status_code == 303


@pytest.mark.reliability("R06")
async def test_concurrent_ends_of_sessions_do_not_deadlock(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    """Prunes half of the sessions while their user logs in and ends all or all other sessions."""
    app = await make_app(hashing=fast_passwords)
    alice = await app.sign_up_user("Alice")
    for _ in range(4):
        for user in [await app.browser("Alice") for _ in range(25)]:
            await user.log_in()
        app.clock.move(days=8)
        browsers = [await app.browser("Alice") for _ in range(8)]
        for user in browsers:
            await user.log_in()
        viewers = [await app.viewer_of(user) for user in browsers]
        outcomes = await asyncio.gather(
            *[prune(app.store) for _ in range(3)],
            *[devices.revoke_others(viewer) for viewer in viewers],
            *[user.log_in() for user in browsers],
            devices.revoke_all(viewers[0]),
            *[alice.log_in() for _ in range(4)],
            return_exceptions=True,
        )
        assert {
            outcome.status_code for outcome in outcomes if isinstance(outcome, httpx.Response)
        } == {303}
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)} <= {
            NotLoggedIn
        }
        await alice.log_in()
        await devices.revoke_all(await app.viewer_of(alice))
        await prune(app.store)
        assert await app.count("sessions") == 0


NEXT_REVISION = f"{int(SCHEMA) + 1:04}"
NEXT_VERSION = (
    "ALTER TABLE users ADD COLUMN shoe_size TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN country TEXT",
    "CREATE TABLE notes (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id))",
    "CREATE INDEX sessions_country ON sessions (country)",
    f"UPDATE alembic_version SET version_num = '{NEXT_REVISION}'",
)


@pytest.mark.reliability("R18")
async def test_requests_succeed_while_a_later_version_migrates_the_tables(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    """Applies a migration of a later version while this version serves requests."""
    app, other = await make_app(hashing=fast_passwords), await make_app(hashing=fast_passwords)
    alice = await app.sign_up_user("Alice")
    migrated = asyncio.Event()

    async def visit(number: int) -> set[int]:
        codes, after = set(), 0
        while after < 3:
            after += migrated.is_set()
            user = await app.browser(
                f"Guest{number}", email=f"guest{number}.{len(codes)}.{after}@example.com"
            )
            codes |= {
                (await alice.get("/dashboard")).status_code,
                (await user.sign_up()).status_code,
            }
            codes |= {
                (await user.get("/devices")).status_code,
                (await user.post("/logout")).status_code,
            }
        return codes

    async def migrate() -> None:
        """Applies the migration, and retries it when PostgreSQL aborts it because of a deadlock."""
        while not migrated.is_set():
            with suppress(Unavailable):
                async with other.store.transaction():
                    for statement in NEXT_VERSION:
                        await asyncio.sleep(0.02)
                        await other.change(statement)
                migrated.set()

    *codes, _ = await asyncio.gather(*[visit(number) for number in range(4)], migrate())
    assert set.union(*codes) <= {200, 303, 422}
    assert await app.rows("SELECT version_num FROM alembic_version") == [(NEXT_REVISION,)]
