"""Tests of the deletion of accounts, by their users and by administrators, and of its undoing."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from db import accounts, deletions
from db.access.outbox import Message
from db.errors import LastAdmin, NotFound, Refused
from db.hooks import HookEvent, collect_hooks, on
from db.maintenance.pruning import prune
from db.product import ProductData
from db.viewer import Operator
from tests.browser_client import Browser, read, set_cookie_of
from tests.conftest import TestApp
from tests.mail import (
    change_email,
    confirm_email,
    deliver,
    enabled_outbox,
    link_field,
    main_text,
    open_link,
    receive,
)
from web.product import Product

DEAD = "This link was used already, has expired, or was replaced by a newer mail."
BOTH_REQUEST_TYPES = pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
BOTH_STRATEGIES = pytest.mark.parametrize("strategy", ["database", "stateless"])
SURE = {"sure": "yes"}
LAST_ADMIN = "This is the last administrator"
DELETION_EVENTS = {"account.leave", "account.keep", "account.delete"}


@pytest.fixture
async def app(make_app: Callable) -> TestApp:
    return await make_app(mail=enabled_outbox())


@pytest.fixture
async def alice(app: TestApp) -> Browser:
    """Returns a logged-in user with a confirmed email."""
    alice = await app.sign_up_user("Alice")
    await confirm_email(app, alice)
    return alice


@pytest.fixture
async def mail(app: TestApp, alice: Browser) -> Message:
    """Returns the mail after Alice has asked to delete her account."""
    await alice.post("/account/delete")
    return await receive(app, "leaving")


async def deletion_times(app: TestApp) -> dict[str, str | None]:
    return dict(await app.rows("SELECT name, delete_at FROM users"))


async def id_of(app: TestApp, name: str) -> str:
    return (await app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]


async def events(app: TestApp) -> list[tuple]:
    found = await app.rows("SELECT event, outcome, actor FROM audit ORDER BY number")
    return [entry for entry in found if entry[0] in DELETION_EVENTS]


# The request


@BOTH_REQUEST_TYPES
@BOTH_STRATEGIES
async def test_a_request_ends_every_session_and_keeps_the_account(
    make_app: Callable, strategy: str, send: Callable
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    alice = await app.sign_up_user("Alice")
    phone = await app.browser("Alice")
    await phone.log_in()
    page = read(await alice.get("/account/delete"))
    assert page.one("form", id="deletion-form").one(name="viewer")
    answer = await send(alice, "/account/delete")
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/login"), (204, "/login")]
    assert set_cookie_of(answer)["session"]["max-age"] == "0"
    text = main_text(await alice.get("/login"))
    assert "You've been logged out everywhere. Your account will be deleted in seven days." in text
    assert not await phone.is_logged_in()
    assert await deletion_times(app) == {"Alice": "2026-12-01T09:12:00.000000+00:00"}
    assert await events(app) == [("account.leave", "done", "user")]


async def test_requests_are_rate_limited(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    for _ in range(5):
        assert (await alice.post("/account/delete")).status_code == 303
        assert (await alice.log_in()).status_code == 303
        assert (await alice.post("/account/keep")).status_code == 303
    answer = await alice.post("/account/delete")
    assert (answer.status_code, "Your account was not deleted." in answer.text) == (429, True)
    assert await deletion_times(app) == {"Alice": None}


@BOTH_REQUEST_TYPES
async def test_the_last_administrator_cannot_request_the_deletion(
    app: TestApp, alice: Browser, ada: Browser, send: Callable
) -> None:
    answer = await send(ada, "/account/delete")
    assert (answer.status_code, LAST_ADMIN in answer.text) == (409, True)
    assert await ada.is_logged_in()
    assert await deletion_times(app) == {"Ada": None, "Alice": None}
    assert await events(app) == [("account.leave", "refused", "user")]
    text = main_text(await ada.get("/account/activity"))
    assert "You could not delete your account: there is no other administrator" in text


async def test_an_administrator_who_could_not_log_in_yet_does_not_count(
    app: TestApp, ada: Browser
) -> None:
    await app.create("Bob", "admin")
    unconfirmed = "UPDATE users SET verified_at = NULL, last_login_at = NULL WHERE name = 'Bob'"
    await app.change(unconfirmed)
    assert (await ada.post("/account/delete")).status_code == 409
    assert await deletion_times(app) == {"Ada": None, "Bob": None}
    assert (await (await app.browser("Bob")).log_in()).status_code == 303
    assert (await ada.post("/account/delete")).status_code == 303


async def test_an_administrator_who_leaves_does_not_count_as_another(
    app: TestApp, ada: Browser
) -> None:
    bob = await app.admin("Bob")
    assert (await bob.post("/account/delete")).status_code == 303
    for path, fields in (
        ("/account/delete", {}),
        (f"/admin/users/{await id_of(app, 'Ada')}/role", {"role": "user"}),
        (f"/admin/users/{await id_of(app, 'Ada')}/disable", {}),
    ):
        assert (await ada.post(path, fields)).status_code == 409
    app.clock.move(days=8)
    await prune(app.store)
    assert await app.rows("SELECT name, role FROM users") == [("Ada", "admin")]


@BOTH_STRATEGIES
async def test_of_two_administrators_who_leave_at_once_one_stays(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    admins = [await app.admin("Ada"), await app.admin("Bob")]
    answers = await asyncio.gather(*(one.post("/account/delete") for one in admins))
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert [*(await deletion_times(app)).values()].count(None) == 1


async def test_an_unconfirmed_email_gets_no_mail(app: TestApp) -> None:
    bob = await app.sign_up_user("Bob")
    await deliver(app)
    await bob.post("/account/delete")
    app.clock.move(days=7)
    await prune(app.store)
    assert (await app.count("users"), await deliver(app)) == (0, [])


# Keeping the account


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("role", ["user", "admin"])
@BOTH_STRATEGIES
async def test_a_user_logs_in_and_keeps_the_account(
    make_app: Callable, strategy: str, role: str, send: Callable
) -> None:
    app = await make_app(SESSION_STRATEGY=strategy)
    await app.create("Bob", "admin")
    alice = await app.sign_up_user("Alice")
    await app.change_role(alice, role)
    await alice.post("/account/delete")
    app.clock.move(days=6)
    assert (await alice.log_in()).status_code == 303
    for path in ("/dashboard", "/account", "/account/delete"):
        banner = read(await alice.get(path)).one(id="deletion-banner")
        assert "Your account will be deleted on 1 December 2026." in banner.text
        assert banner.one("form").attrs["action"] == "/account/keep"
    answer = await send(alice, "/account/keep")
    shown = answer if send is Browser.post_fragment else await alice.get("/account")
    assert "Your account won't be deleted." in read(shown).text
    assert (await deletion_times(app))["Alice"] is None
    assert read(await alice.get("/dashboard")).all("div", id="deletion-banner") == []
    app.clock.move(days=2)
    await prune(app.store)
    assert "Alice" in await deletion_times(app)
    assert (await events(app))[-1] == ("account.keep", "done", "user")


async def test_an_account_that_is_not_leaving_is_not_kept_again(
    app: TestApp, alice: Browser
) -> None:
    assert (await alice.post("/account/keep")).status_code == 303
    assert await events(app) == []


@BOTH_REQUEST_TYPES
async def test_the_link_of_the_mail_keeps_the_account_without_a_session(
    app: TestApp, mail: Message, anonymous: Browser, send: Callable
) -> None:
    assert (mail.recipient, mail.facts["date"]) == (
        "alice@example.com",
        "1 December 2026, 09:12 UTC",
    )
    await open_link(anonymous, mail)
    page = await anonymous.get("/keep")
    assert "The account of alice@example.com is about to be deleted." in main_text(page)
    assert mail.token.reveal() not in page.text
    assert (await deletion_times(app))["Alice"] is not None
    answer = await send(anonymous, "/keep", link_field(mail))
    target = answer.headers.get("location") or answer.headers["hx-redirect"]
    assert (answer.status_code, target) in [(303, "/keep?done=1"), (204, "/keep?done=1")]
    assert "It won't be deleted." in main_text(await anonymous.get(target))
    assert await deletion_times(app) == {"Alice": None}
    assert not await anonymous.is_logged_in()
    assert (await events(app))[-1] == ("account.keep", "done", "user")


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("cause", ["used", "kept", "superseded", "disabled", "not opened"])
async def test_a_dead_link_keeps_nothing(
    app: TestApp, mail: Message, alice: Browser, anonymous: Browser, send: Callable, cause: str
) -> None:
    if cause != "not opened":
        await open_link(anonymous, mail)
    if cause == "used":
        other = await app.browser("Other")
        await open_link(other, mail)
        await other.post("/keep", link_field(mail))
    if cause in ("used", "kept", "superseded"):
        await alice.log_in()
        await alice.post("/account/keep")
        await alice.post("/account/delete")
    if cause == "kept":
        await alice.log_in()
        await alice.post("/account/keep")
    if cause == "disabled":
        await app.change("UPDATE users SET disabled_at = created_at")
    before = await deletion_times(app)
    answer = await send(anonymous, "/keep", link_field(mail))
    assert (answer.status_code, DEAD in main_text(answer)) == (410, True)
    assert await deletion_times(app) == before


async def test_a_form_of_another_link_keeps_nothing(
    app: TestApp, mail: Message, anonymous: Browser
) -> None:
    await open_link(anonymous, mail)
    assert (await anonymous.post("/keep", {"link": "0" * 16})).status_code == 409
    assert (await deletion_times(app))["Alice"] is not None


async def test_an_unsent_mail_about_a_kept_account_is_not_sent(
    app: TestApp, alice: Browser
) -> None:
    await alice.post("/account/delete")
    await alice.log_in()
    await alice.post("/account/keep")
    assert "leaving" not in [message.message_type for message in await deliver(app)]


async def test_a_lock_of_the_account_stops_its_deletion(app: TestApp, alice: Browser) -> None:
    await change_email(app, alice, "attacker@evil.example")
    moved = await receive(app, "moved")
    await alice.post("/account/delete")
    victim = await app.browser("Alice")
    await open_link(victim, moved)
    await victim.post("/not-me", SURE | link_field(moved))
    app.clock.move(days=8)
    await prune(app.store)
    assert await app.rows("SELECT email, delete_at FROM users") == [("alice@example.com", None)]


# The deletion


@BOTH_STRATEGIES
@pytest.mark.asvs("S93")
async def test_pruning_deletes_the_account_after_seven_days(
    make_app: Callable, strategy: str
) -> None:
    app = await make_app(mail=enabled_outbox(), SESSION_STRATEGY=strategy)
    await app.create("Ada", "admin")
    alice = await app.sign_up_user("Alice")
    await confirm_email(app, alice)
    await deliver(app)
    await alice.post("/account/delete")
    app.clock.move(days=7, seconds=-1)
    await prune(app.store)
    assert "Alice" in await deletion_times(app)
    await alice.log_in()
    assert await alice.is_logged_in()
    app.clock.move(seconds=1)
    await prune(app.store)
    assert "Alice" not in await deletion_times(app)
    assert not await alice.is_logged_in()
    assert (await alice.log_in()).status_code == 422
    assert (await events(app))[-1] == ("account.delete", "done", "system")
    assert (await receive(app, "deleted")).recipient == alice.email
    assert (await app.sign_up_user("Alice")).email == alice.email
    assert sorted(await deletion_times(app)) == ["Ada", "Alice"]


@pytest.mark.asvs("S93")
async def test_a_deletion_takes_everything_but_the_audit_log(app: TestApp, alice: Browser) -> None:
    alice_id = await id_of(app, "Alice")
    await app.create("Bob", "admin")
    await app.change_role(alice, "admin")
    await alice.post("/admin/invitations", {"email": "grace@example.com", "role": "user"})
    await alice.post("/account/email", {"email": "new@example.com"})
    await app.change(
        "INSERT INTO access_tokens (id, user_id, name, token_hash, scopes, created_at, expires_at)"
        f" SELECT 'a', '{alice_id}', 'a', 'a', '', created_at, created_at FROM users LIMIT 1"
    )
    async with app.store.transaction():
        assert await deletions.delete_user(app.store, alice_id) == alice.email
    for table in ("sessions", "tokens", "access_tokens", "invitations"):
        assert await app.count(table) == 0, table
    unsent = f"SELECT count(*) FROM outbox WHERE user_id = '{alice_id}' AND sent_at IS NULL"
    assert await app.rows(unsent) == [(0,)]
    assert await app.rows("SELECT name FROM users") == [("Bob",)]
    entries = await app.rows(f"SELECT detail FROM audit WHERE target_id = '{alice_id}'")
    assert entries
    assert alice.email not in str(entries)


async def test_the_last_administrator_is_not_deleted_at_the_end(app: TestApp, ada: Browser) -> None:
    await app.change("UPDATE users SET delete_at = created_at")
    await prune(app.store)
    assert await app.rows("SELECT name FROM users") == [("Ada",)]
    async with app.store.transaction():
        with pytest.raises(LastAdmin):
            await deletions.delete_user(app.store, await id_of(app, "Ada"))
        with pytest.raises(NotFound):
            await deletions.delete_user(app.store, "unknown")
    assert await ada.is_logged_in()


async def test_an_account_that_another_table_needs_does_not_stop_pruning(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await app.sign_up_user("Bob")
    await app.change(
        "CREATE TABLE notes (user_id TEXT REFERENCES users (id))",
        "INSERT INTO notes SELECT id FROM users WHERE name = 'Alice'",
        "UPDATE users SET delete_at = created_at",
    )
    await prune(app.store)
    assert await app.rows("SELECT name FROM users") == [("Alice",)]
    assert "cannot be deleted: a row of another table needs it" in caplog.text
    await app.change("DELETE FROM notes")
    await prune(app.store)
    assert await app.count("users") == 0


@pytest.mark.parametrize(
    ("error", "logged"),
    [(Refused("It has an invoice."), "a hook refused"), (ValueError(), "failed, and will")],
)
async def test_a_failing_hook_does_not_stop_the_deletion_of_others(
    make_app: Callable, caplog: pytest.LogCaptureFixture, error: Exception, logged: str
) -> None:
    @on("account.delete")
    async def refuse_first(store, event: HookEvent) -> None:
        if event.target_id == first:
            raise error

    hooks = collect_hooks({"refuse_first": refuse_first})
    app = await make_app(product=Product(ProductData(hooks=hooks)))
    for name in ("Alice", "Bob"):
        await app.sign_up_user(name)
    [(first,), _] = await app.rows("SELECT id FROM users ORDER BY id")
    await app.change("UPDATE users SET delete_at = created_at")
    await prune(app.store)
    assert await app.rows("SELECT id FROM users") == [(first,)]
    assert logged in caplog.text and first in caplog.text


async def test_delete_user_works_for_the_operator(app: TestApp, alice: Browser) -> None:
    operator, alice_id = Operator(app.store), await id_of(app, "Alice")
    async with accounts.change_user(operator, "account.delete", alice_id) as detail:
        detail["sessions"] = await deletions.delete_user(app.store, alice_id) != ""
    assert await app.count("users") == 0
    assert await events(app) == [("account.delete", "done", "operator")]


# Administrators


@BOTH_REQUEST_TYPES
@BOTH_STRATEGIES
async def test_an_administrator_closes_and_deletes_an_account(
    make_app: Callable, strategy: str, send: Callable
) -> None:
    app = await make_app(mail=enabled_outbox(), SESSION_STRATEGY=strategy)
    ada, alice = await app.admin(), await app.sign_up_user("Alice")
    await confirm_email(app, alice)
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    page = read(await ada.get(path)).one("form", id="user-deletion")
    assert "Delete the account of alice@example.com" in page.text
    answer = await send(ada, f"{path}/delete", SURE)
    assert (answer.status_code, answer.headers.get("location")) in [(303, path), (200, None)]
    changed = answer if answer.status_code == 200 else await ada.get(path)
    assert (
        "The account of Alice is disabled. It will be deleted in seven days." in read(changed).text
    )
    text = main_text(await ada.get(path))
    assert "This account will be deleted on 1 December 2026." in text
    assert "Will be deleted" in main_text(await ada.get("/admin/users"))
    assert not await alice.is_logged_in()
    assert (await alice.log_in()).status_code == 422
    removal = await receive(app, "removal")
    assert (removal.recipient, removal.token) == (alice.email, None)
    app.clock.move(days=7)
    await prune(app.store)
    assert [*await deletion_times(app)] == ["Ada"]
    assert (await receive(app, "deleted")).recipient == alice.email


@BOTH_REQUEST_TYPES
@pytest.mark.parametrize("box", [{}, {"sure": ""}, {"sure": "no"}])
async def test_without_the_ticked_box_no_account_is_closed(
    app: TestApp, alice: Browser, ada: Browser, send: Callable, box: dict
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}/delete"
    answer = await send(ada, path, box)
    assert (answer.status_code, "Tick the box to delete this account." in answer.text) == (
        422,
        True,
    )
    assert await alice.is_logged_in()
    assert (await deletion_times(app))["Alice"] is None


@BOTH_REQUEST_TYPES
async def test_an_administrator_keeps_a_closed_account(
    app: TestApp, alice: Browser, ada: Browser, send: Callable
) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    await ada.post(f"{path}/delete", SURE)
    page = read(await ada.get(path)).one("form", action=f"{path}/keep")
    assert "Keep the account" in page.text
    assert (await send(ada, f"{path}/keep")).status_code in (200, 303)
    assert (await deletion_times(app))["Alice"] is None
    await ada.post(f"{path}/enable")
    assert (await alice.log_in()).status_code == 303
    text = main_text(await alice.get("/account/activity"))
    assert "An administrator closed your account, which is deleted in seven days" in text
    assert "An administrator stopped the deletion of your account" in text


async def test_an_enabled_account_is_kept(app: TestApp, alice: Browser, ada: Browser) -> None:
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    await ada.post(f"{path}/delete", SURE)
    await ada.post(f"{path}/enable")
    assert (await deletion_times(app))["Alice"] is None
    assert (await alice.log_in()).status_code == 303


async def test_a_user_cannot_undo_the_deletion_by_an_administrator(
    app: TestApp, mail: Message, alice: Browser, ada: Browser, anonymous: Browser
) -> None:
    await ada.post(f"/admin/users/{await id_of(app, 'Alice')}/delete", SURE)
    await open_link(anonymous, mail)
    assert (await anonymous.post("/keep", link_field(mail))).status_code == 410
    assert (await deletion_times(app))["Alice"] is not None


@pytest.mark.parametrize("name", ["Ada", "Bob"])
async def test_an_administrator_cannot_close_these_accounts(
    app: TestApp, ada: Browser, name: str
) -> None:
    """Tries Ada's own account, and that of a user who does not exist anymore."""
    user_id = await id_of(app, "Ada") if name == "Ada" else "unknown"
    answer = await ada.post(f"/admin/users/{user_id}/delete", SURE)
    assert answer.status_code == (422 if name == "Ada" else 404)
    assert await ada.is_logged_in()
    assert await deletion_times(app) == {"Ada": None}


async def test_the_other_administrator_may_be_closed_but_not_the_last(
    app: TestApp, ada: Browser
) -> None:
    bob = await app.admin("Bob")
    ada_id, bob_id = await id_of(app, "Ada"), await id_of(app, "Bob")
    await ada.post("/account/delete")
    await ada.log_in()
    answer = await ada.post(f"/admin/users/{bob_id}/delete", SURE)
    assert (answer.status_code, LAST_ADMIN in answer.text) == (409, True)
    assert (await bob.post(f"/admin/users/{ada_id}/delete", SURE)).status_code == 303
    assert (await deletion_times(app))["Bob"] is None


async def test_a_demoted_administrator_cannot_close_an_account(
    app: TestApp, alice: Browser, ada: Browser
) -> None:
    await app.create("Bob", "admin")
    await app.change_role(ada, "user")
    path = f"/admin/users/{await id_of(app, 'Alice')}"
    for action in ("delete", "keep"):
        assert (await ada.post(f"{path}/{action}", SURE)).status_code == 403
    assert await alice.is_logged_in()
    assert (await deletion_times(app))["Alice"] is None


def test_the_link_of_the_mail_lives_as_long_as_the_account() -> None:
    assert timedelta(days=7) == deletions.DELETION_GRACE
