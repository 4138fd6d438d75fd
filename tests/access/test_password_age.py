"""Tests that `password_changed_at` is set with each password, and by nothing else."""

from collections.abc import Callable

import pytest

from db.access import operator, user_import
from db.access.user_import import NewUser
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser
from tests.conftest import TestApp
from tests.mail import enabled_outbox, link_field, open_link, receive
from tests.test_foreign_hashes import HASHES

NEW = "another-No.7 by the sea"
CREATED = "2026-11-24T09:12:00.000000+00:00"
LATER = "2026-11-26T09:12:00.000000+00:00"


async def age_of(app: TestApp, name: str = "Alice") -> str | None:
    sql = f"SELECT password_changed_at FROM users WHERE name = '{name}'"
    ((moment,),) = await app.rows(sql)
    return moment


async def test_sign_up_sets_the_time(app: TestApp, alice: Browser) -> None:
    assert await age_of(app) == CREATED


async def test_a_change_sets_the_time(app: TestApp, alice: Browser) -> None:
    app.clock.move(days=2)
    await alice.post("/account/password", {"current_password": "wrong", "password": NEW})
    assert await age_of(app) == CREATED
    await alice.post("/account/password", {"current_password": PASSWORD, "password": NEW})
    assert await age_of(app) == LATER


async def test_a_reset_sets_the_time(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    alice, anonymous = await app.sign_up_user("Alice"), await app.browser("Nobody")
    app.clock.move(days=2)
    await anonymous.post("/forgot", {"email": alice.email})
    mail = await receive(app, "reset")
    await open_link(anonymous, mail)
    assert await age_of(app) == CREATED
    fields = {"password": NEW} | link_field(mail)
    assert (await anonymous.post("/reset", fields)).status_code == 303
    assert await age_of(app) == LATER


async def test_the_operator_sets_the_time(app: TestApp, alice: Browser) -> None:
    app.clock.move(days=2)
    await operator.set_user_password(Operator(app.store), alice.email, Secret(NEW))
    assert await age_of(app) == LATER


async def test_an_account_of_the_operator_has_the_time(app: TestApp) -> None:
    await app.create("Alice")
    assert await age_of(app) == CREATED


async def test_an_invited_user_sets_the_time(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    ada, grace = await app.admin(), await app.browser("Grace")
    form = {"email": "grace@example.com", "role": "user", "team": ""}
    await ada.post("/admin/invitations", form)
    mail = await receive(app, "invite")
    app.clock.move(days=2)
    await open_link(grace, mail)
    await grace.post("/join", {"name": "Grace", "password": PASSWORD} | link_field(mail))
    assert await age_of(app, "Grace") == LATER


async def test_an_account_without_a_password_has_no_time(make_app: Callable) -> None:
    app = await make_app(mail=enabled_outbox())
    ada = await app.admin()
    form = {"name": "Grace", "email": "grace@example.com", "role": "user", "team": ""}
    assert (await ada.post("/admin/add", form)).status_code == 303
    assert await age_of(app, "Grace") is None


async def test_an_imported_password_has_no_time(app: TestApp) -> None:
    user = NewUser(
        line=2,
        email="alice@example.com",
        name="Alice",
        created_at=app.clock(),
        password_hash=Secret(HASHES["bcrypt 2b"]),
    )
    await user_import.import_users(Operator(app.store), [user])
    assert await age_of(app) is None


@pytest.mark.parametrize("with_time", [True, False])
async def test_a_log_in_that_renews_the_hash_keeps_the_time(
    make_app: Callable, fast_passwords: Passwords, *, with_time: bool
) -> None:
    old_app = await make_app(hashing=fast_passwords)
    await old_app.sign_up_user("Alice")
    if not with_time:
        await old_app.change("UPDATE users SET password_changed_at = NULL")
    ((before,),) = await old_app.rows("SELECT password_hash FROM users")
    new_app = await make_app(old_app.path, hashing=Passwords())
    new_app.clock.move(days=2)
    await (await new_app.browser("Alice")).log_in()
    ((after,),) = await new_app.rows("SELECT password_hash FROM users")
    assert after != before
    assert await age_of(new_app) == (CREATED if with_time else None)
