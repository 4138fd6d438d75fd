"""Tests of the audit log over HTTP: which entries are recorded, and who can read them."""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import get_args

import pytest

from db.access import operator
from db.audit.events import EVENT_TEXTS, Event
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.engine.statement import Conflict
from db.errors import LastAdmin
from db.viewer import Operator
from tests.access.test_mail import MAIL_EVENTS
from tests.audit_users import (
    ALICE,
    ANONYMOUS,
    BY_ADA,
    CLIENT_IP,
    FIREFOX_NAME,
    IPHONE_NAME,
    NEW,
    OPERATOR,
    SELECT_ENTRIES,
    WRONG,
    Entry,
    Users,
    create_users,
)
from tests.browser_client import HTMX, IPHONE, PASSWORD, Browser, Element, read
from tests.conftest import TestApp
from web.brand import SITE_NAME
from web.settings.paths import ROOT

# tests/test_account_deletion.py, test_data_download.py, test_invitations.py and
# test_audit_export.py test these.
ACCOUNT_EVENTS = {
    *("account.leave", "account.keep", "account.delete", "data.download", "audit.export"),
    *("invitation.create", "invitation.resend", "invitation.withdraw", "invitation.accept"),
}
# tests/test_import.py tests these.
OPERATOR_EVENTS = {"account.import"}


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
async def users(app: TestApp) -> Users:
    return await create_users(app)


# Recorded entries

Action = Callable[[Users], Awaitable[object]]


async def revoke_phone(users: Users) -> None:
    await users.alice.post(f"/devices/{await users.session_of(users.phone)}/revoke")


async def revoke_own(users: Users) -> None:
    await users.alice.post(f"/devices/{await users.session_of(users.alice)}/revoke")


async def demote_the_last(users: Users) -> None:
    await users.change_user("Grace", "role", role="user")
    await users.change_user("Ada", "role", role="user")


async def disable_the_last(users: Users) -> None:
    await users.change_user("Grace", "disable")
    await users.change_user("Ada", "disable")


async def enable_again(users: Users) -> None:
    await users.change_user("Bob", "disable")
    users.app.clock.move(minutes=1)
    await users.change_user("Bob", "enable")


def post(path: str, **fields: str) -> Action:
    return lambda users: users.alice.post(path, fields)


def as_operator(function: Callable, **given: object) -> Action:
    return lambda users: function(Operator(users.app.store), **given)


# Each function changes something, and the newest entry must equal the expected one.
CHANGES: dict[str, tuple[Action, Entry]] = {
    "log-out": (post("/logout"), Entry("logout")),
    "profile": (
        post("/account", name="Alice", slug="alice-a", phone="+49 30 1234"),
        Entry("profile.change", detail={"fields": "slug phone"}),
    ),
    "password": (
        post("/account/password", current_password=PASSWORD, password=NEW),
        Entry("password.change"),
    ),
    "one device": (
        revoke_phone,
        Entry("session.end", detail={"session": "phone", "device": IPHONE_NAME}),
    ),
    "one's own device": (revoke_own, Entry("logout")),
    "the other devices": (
        post("/devices/revoke-others"),
        Entry("session.end-others", detail={"ended": 1}),
    ),
    "all devices": (post("/devices/revoke-all"), Entry("session.end-all", detail={"ended": 2})),
    "role": (
        lambda users: users.change_user("Alice", "role", role="admin"),
        Entry("role.change", detail={"from": "user", "to": "admin"}, **BY_ADA),
    ),
    "one's own role": (
        lambda users: users.change_user("Ada", "role", role="user"),
        Entry("role.change", target_name="Ada", detail={"from": "admin", "to": "user"}, **BY_ADA),
    ),
    "team": (
        lambda users: users.change_user("Alice", "team", team="Harbour"),
        Entry("team.change", detail={"from": "", "to": "Harbour"}, **BY_ADA),
    ),
    "disable": (
        lambda users: users.change_user("Alice", "disable"),
        Entry("account.disable", detail={"ended": 2}, **BY_ADA),
    ),
    "enable": (
        enable_again,
        Entry(
            "account.enable",
            target_name="Bob",
            detail={"since": "2026-11-24T09:12:00+00:00"},
            **BY_ADA,
        ),
    ),
    "end sessions": (
        lambda users: users.change_user("Alice", "end-sessions"),
        Entry("session.end-all", detail={"ended": 2}, **BY_ADA),
    ),
    "operator, create": (
        as_operator(
            operator.create_user,
            name="Zoe",
            email="zoe@example.com",
            password=Secret(PASSWORD),
            role="user",
        ),
        Entry("account.create", target_name="Zoe", detail={"role": "user"}, **OPERATOR),
    ),
    "operator, role": (
        as_operator(operator.set_user_role, email="alice@example.com", role="admin"),
        Entry("role.change", detail={"from": "user", "to": "admin"}, **OPERATOR),
    ),
    "operator, password": (
        as_operator(operator.set_user_password, email="alice@example.com", password=Secret(NEW)),
        Entry("password.set", detail={"ended": 2}, **OPERATOR),
    ),
    "log-in": (
        lambda users: users.charlie.post("/login", ALICE),
        Entry("login", detail={"with": "password"}, session="charlie"),
    ),
    "sign-up": (
        lambda users: users.charlie.sign_up(),
        Entry("signup", actor_name="Charlie", target_name="Charlie", session="charlie"),
    ),
}
REFUSED_ATTEMPTS: dict[str, tuple[Action, Entry]] = {
    "log-in": (
        lambda users: users.charlie.post("/login", ALICE | {"password": WRONG}),
        Entry("login", "refused", **ANONYMOUS),
    ),
    "log-in with an unknown email": (
        lambda users: users.charlie.post(
            "/login", {"email": "nobody@example.com", "password": WRONG}
        ),
        Entry("login", "refused", target_name=None, **ANONYMOUS),
    ),
    "sign-up": (
        lambda users: users.charlie.post("/signup", ALICE | {"name": "Charlie", "password": NEW}),
        Entry("signup", "refused", **ANONYMOUS),
    ),
    "password": (
        post("/account/password", current_password=WRONG, password=NEW),
        Entry("password.change", "refused"),
    ),
    "confirmation": (
        post("/confirm", password=WRONG),
        Entry("confirm", "refused"),
    ),
    "an administrator's page": (
        lambda users: users.alice.get("/admin/users"),
        Entry("admin", "refused"),
    ),
    "an administrator's fragment": (
        lambda users: users.alice.get_fragment("/admin/audit"),
        Entry("admin", "refused"),
    ),
    "an administrator's JSON": (
        lambda users: users.alice.get("/api/admin/users"),
        Entry("admin", "refused"),
    ),
    "an administrator's change": (
        lambda users: users.change_user("Bob", "role", by=users.alice, role="admin"),
        Entry("admin", "refused"),
    ),
    "the last role": (
        demote_the_last,
        Entry("role.change", "refused", target_name="Ada", **BY_ADA),
    ),
    "the last account": (
        disable_the_last,
        Entry("account.disable", "refused", target_name="Ada", **BY_ADA),
    ),
    "operator, create": (
        as_operator(
            operator.create_user,
            name="Zoe",
            email="alice@example.com",
            password=Secret(PASSWORD),
            role="user",
        ),
        Entry("account.create", "refused", **OPERATOR),
    ),
}


def with_session_name(entry: Entry, users: Users) -> Entry:
    """Returns the entry with the session in its detail replaced by its name."""
    session = entry.detail.get("session")
    return (
        entry._replace(detail={**entry.detail, "session": users.sessions[session]})
        if session
        else entry
    )


@pytest.mark.asvs("S91")
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_is_recorded_in_one_complete_entry(users: Users, name: str) -> None:
    act, expected = CHANGES[name]
    before, state = await users.entries(), await users.state()
    await act(users)
    if users.charlie.cookie:
        users.sessions[await users.session_of(users.charlie)] = "charlie"
    entries = await users.entries()
    assert entries[: len(before)] == before
    assert with_session_name(entries[-1], users) == expected
    assert len(entries) == len(before) + (2 if name == "enable" else 1)
    assert await users.state() != state


@pytest.mark.asvs("S91")
@pytest.mark.parametrize("name", REFUSED_ATTEMPTS)
async def test_a_refused_attempt_is_recorded_in_one_entry(users: Users, name: str) -> None:
    act, expected = REFUSED_ATTEMPTS[name]
    before = await users.entries()
    await act(users)
    entries = await users.entries()
    assert entries[-1] == expected
    # A sign-up with a taken email first attempts to log in.
    is_recorded_twice = name.startswith("the last") or name == "sign-up"
    assert len(entries) == len(before) + (2 if is_recorded_twice else 1)


@pytest.mark.asvs("S91")
async def test_the_operator_demoting_the_last_admin_is_recorded(app: TestApp, ada: Browser) -> None:
    with pytest.raises(LastAdmin):
        await app.change_role(ada, "user")
    assert (await app.rows(SELECT_ENTRIES))[-1][:5] == (
        "role.change",
        "refused",
        "operator",
        None,
        "Ada",
    )


async def test_requests_without_an_event_are_not_recorded(users: Users) -> None:
    before, alice_id = await users.entries(), await users.id_of("Alice")
    # These fields have their current values.
    await users.alice.post("/account", {"name": "Alice", "slug": "alice", "phone": ""})
    await users.alice.post("/account", {"name": "A"})
    await users.alice.post("/account", {"slug": "bob"})
    await users.alice.post("/account/check/name", {"name": "Zoe"})
    await users.alice.post("/account/password", {"current_password": PASSWORD, "password": "x"})
    await users.alice.post("/devices/nobodys/revoke")
    await users.bob.post("/devices/revoke-others")  # Bob has no other sessions.
    await users.change_user("Alice", "role", role="user")
    await users.change_user("Alice", "role", role="root")
    await users.change_user("Alice", "team", team="")
    await users.change_user("Alice", "enable")
    await users.ada.post("/admin/users/nobody/disable")
    # The form belongs to another viewer.
    await users.ada.post(f"/admin/users/{alice_id}/disable", {"viewer": alice_id})
    await users.ada.post(f"/admin/users/{alice_id}/disable", {}, Sec_Fetch_Site="cross-site")
    await users.charlie.post("/logout")
    await users.charlie.get("/admin/users")
    await users.charlie.post("/login", {"email": "alice@example.com", "password": ""})
    for path in ("/dashboard", "/devices", "/account", "/account/activity", "/api/session"):
        await users.alice.get(path)
    assert await users.entries() == before


async def test_a_logout_of_an_ended_session_is_not_recorded(users: Users) -> None:
    attacker = await users.app.attacker_with_cookie_of(users.alice)
    await users.alice.post("/logout")
    entries = await users.entries()
    assert entries[-1] == Entry("logout")
    await attacker.post("/logout")
    await users.app.change("UPDATE sessions SET expires_at = created_at")
    await users.bob.post("/logout")
    users.app.clock.move(days=8)
    await users.phone.post("/logout")
    assert await users.entries() == entries


@pytest.mark.parametrize("environ", [{"SESSION_SECRET": "s" * 40, "SESSION_STRATEGY": "stateless"}])
async def test_stateless_sessions_record_the_same_events(
    make_app: Callable,
) -> None:
    app = await make_app(RATE_LIMITS="off")
    alice, ada = await app.sign_up_user("Alice"), await app.admin("Ada")
    await ada.post(f"/admin/users/{(await app.viewer_of(alice)).id}/end-sessions")
    await alice.post("/logout")  # The session has already ended.
    await alice.log_in()
    await alice.post("/devices/revoke-all")
    await alice.log_in()
    await alice.post("/logout")
    entries = [(row[0], row[3], row[4], row[5]) for row in await app.rows(SELECT_ENTRIES)]
    assert entries[3:] == [
        ("session.end-all", "Ada", "Alice", ""),
        ("login", "Alice", "Alice", ""),
        ("session.end-all", "Alice", "Alice", ""),
        ("login", "Alice", "Alice", ""),
        ("logout", "Alice", "Alice", ""),
    ]
    await alice.log_in()
    assert (
        "An administrator logged you out everywhere" in (await alice.get("/account/activity")).text
    )


@pytest.mark.asvs("S92")
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_cannot_be_recorded_is_not_made(users: Users, name: str) -> None:
    act, expected = CHANGES[name]
    if name == "enable":
        await users.change_user("Bob", "disable")
    state, before = await users.state(), await users.entries()
    await users.app.break_inserts("audit")
    # The operator's functions raise this exception, and HTTP clients receive status 500.
    with suppress(Conflict):
        await act(users)
    assert await users.state() == state
    await users.app.restore_inserts("audit")
    assert await users.entries() == before
    await act(users)
    assert with_session_name((await users.entries())[-1], users)[:2] == expected[:2]


@pytest.mark.asvs("S92")
async def test_a_change_that_is_not_made_is_not_recorded(users: Users) -> None:
    before, state = await users.entries(), await users.state()
    await users.app.break_inserts("sessions")
    for act in (CHANGES["log-in"][0], CHANGES["sign-up"][0], CHANGES["password"][0]):
        await act(users)
    await users.app.restore_inserts("sessions")
    assert await users.state() == state
    assert await users.entries() == before


@pytest.mark.asvs("S48", "S92")
async def test_the_audit_log_holds_no_secrets_and_is_append_only(
    app: TestApp,
) -> None:
    secrets = {PASSWORD, NEW, WRONG, "+49 30 1234"}
    for act, _ in [*CHANGES.values(), *REFUSED_ATTEMPTS.values()]:
        for table in ("users", "sessions"):
            await app.change(f"DELETE FROM {table}")
        users = await create_users(app)
        browsers = (users.alice, users.phone, users.bob, users.ada, users.grace)
        secrets |= {user.cookie for user in browsers}
        secrets |= {app.store.keys.decode(user.cookie)["sid"] for user in browsers}
        secrets |= {
            value for row in await app.rows("SELECT password_hash FROM users") for value in row
        }
        secrets |= {
            value for row in await app.rows("SELECT token_hash FROM sessions") for value in row
        }
        before = await app.rows("SELECT * FROM audit ORDER BY number")
        await act(users)
        assert (await app.rows("SELECT * FROM audit ORDER BY number"))[: len(before)] == before
    stored = json.dumps(await app.rows("SELECT * FROM audit"))
    assert stored.count('"role.change"') > 3
    assert [secret for secret in secrets if secret in stored] == []


# Rate limits


@pytest.fixture
async def limited(make_app: Callable, fast_passwords: Passwords) -> Users:
    return await create_users(await make_app(hashing=fast_passwords, RATE_LIMITS="enforce"))


@pytest.mark.asvs("S104", "S91")
async def test_admin_changes_are_rate_limited_per_admin(limited: Users) -> None:
    alice_id = await limited.id_of("Alice")
    path = f"/admin/users/{alice_id}"
    for number in range(60):
        assert (
            await limited.ada.post(f"{path}/team", {"team": f"Team {number}"})
        ).status_code == 303
    state = await limited.state()
    for action in ("team", "role", "disable", "enable", "end-sessions"):
        for headers in ({}, HTMX):
            answer = await limited.ada.post(
                f"{path}/{action}", {"team": "Late", "role": "admin"}, **headers
            )
            assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)
    assert await limited.state() == state
    assert (await limited.entries())[-1] == Entry(
        "limit.reached",
        "refused",
        target_name="Ada",
        detail={"limit": "admin-change", "times": 1},
        **BY_ADA,
    )
    assert (await limited.grace.post(f"{path}/team", {"team": "Grace's"})).status_code == 303
    limited.app.clock.move(seconds=2)
    assert (await limited.ada.post(f"{path}/team", {"team": "Late"})).status_code == 303
    assert (await limited.ada.get("/admin/users")).status_code == 200
    assert (
        "You made changes in People too many times and had to wait"
        in (await limited.ada.get("/account/activity")).text
    )


@pytest.mark.asvs("S91")
@pytest.mark.guide("D7")
async def test_repeated_forbidden_requests_are_recorded_once_a_minute(
    limited: Users,
) -> None:
    app, before = limited.app, len(await limited.entries())
    assert (await limited.alice.get("/admin/users")).status_code == 403
    assert (await limited.alice.get("/admin/users")).status_code == 403
    writes = app.store.database._backend.writes
    for _ in range(20):
        assert (await limited.alice.get("/admin/users")).status_code == 403
    assert app.store.database._backend.writes == writes
    assert len(await limited.entries()) == before + 1
    await limited.bob.get("/admin/audit")
    assert len(await limited.entries()) == before + 2
    app.clock.move(seconds=61)
    for _ in range(3):
        await limited.alice.get("/admin/users")
    assert [entry.actor_name for entry in (await limited.entries())[before:]] == [
        "Alice",
        "Bob",
        "Alice",
    ]


# The activity page


def sentences(page: Element | str) -> list[str]:
    page = read(page) if isinstance(page, str) else page
    return [item.one("h3").text for item in page.one("ol", id="activity").all("li")]


async def activity(user: Browser, query: str = "") -> list[str]:
    answer = await user.get(f"/account/activity{query}")
    assert answer.status_code == 200
    return sentences(answer.text)


async def test_activity_describes_events_in_plain_words(users: Users) -> None:
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    await users.charlie.post("/signup", ALICE | {"name": "Charlie", "password": NEW})
    await revoke_phone(users)
    await users.alice.post("/account", {"phone": "1", "slug": "a-l"})
    await users.alice.get("/admin/users")
    await users.change_user("Alice", "team", team="Harbour")
    await users.change_user("Alice", "role", role="admin")
    await users.change_user("Bob", "team", by=users.alice, team="Harbour")
    assert await activity(users.alice) == [
        "You added Bob to the team Harbour",
        "An administrator made you an administrator",
        "An administrator added you to the team Harbour",
        "You tried to open a page for administrators Refused",
        "You changed your profile: profile URL, phone",
        "You logged out another device: Safari on iPhone",
        "Someone tried to sign up with your email Refused",
        "Someone tried to log in to your account Refused",
        "Someone tried to log in to your account Refused",
        "You logged in with your password",
        "You created your account",
    ]
    assert (await activity(users.bob))[0] == "An administrator added you to the team Harbour"
    assert (await activity(users.ada))[0] == "You made Alice an administrator"


async def test_activity_shows_time_client_and_advice(users: Users) -> None:
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    page = read(await users.alice.get("/account/activity"))
    entry = page.one("ol", id="activity").all("li")[0]
    assert entry.attrs["data-outcome"] == "refused"
    assert entry.one("span", **{"class": "tag no"}).text == "Refused"
    day, time = entry.all("time")
    assert (day.text, time.text) == ("24 November 2026", "09:12 UTC")
    assert time.attrs["datetime"] == "2026-11-24T09:12:00Z"
    client = entry.one("p", **{"class": "note meta"})
    assert [part.text for part in client.all("span")] == [FIREFOX_NAME, CLIENT_IP]
    assert "change your password" in page.one("section").text
    assert page.one("title").text == f"Activity · {SITE_NAME}"
    assert "/account/activity" in [
        link.attrs.get("href") for link in read(await users.alice.get("/account")).all("a")
    ]


async def test_activity_has_one_heading_for_each_day(app: TestApp) -> None:
    alice = await app.sign_up_user("Alice")
    await app.change("UPDATE audit SET at = '2026-11-23T23:59:59.000000+00:00'")
    for number in range(2):
        await alice.post("/account", {"phone": str(number)})
    page = read(await alice.get("/account/activity"))
    headings = [item.one("h2") for item in page.one("ol", id="activity").all("li")]
    assert [(heading.text, "hidden" in heading.attrs) for heading in headings] == [
        ("24 November 2026", False),
        ("24 November 2026", True),
        ("23 November 2026", False),
    ]


@pytest.mark.asvs("S05", "S88")
async def test_entries_of_other_users_are_not_shown(users: Users) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    alice_id, before = await users.id_of("Alice"), await activity(users.bob)
    for query in (
        f"?user_id={alice_id}",
        f"?target_id={alice_id}",
        "?q=alice",
        "?actor=alice&page=1",
        "?event=login",
    ):
        assert await activity(users.bob, query) == before
    for text in ("Alice", "Harbour", "Refused</span></h3>"):
        assert text not in (await users.bob.get("/account/activity")).text
    for headers in ({}, HTMX):
        for path in (
            "/admin/audit",
            "/admin/audit?q=alice",
            "/admin/audit?event=login&outcome=refused&page=1",
        ):
            answer = await users.bob.get(path, **headers)
            assert (answer.status_code, "Harbour" in answer.text, "Alice" in answer.text) == (
                403,
                False,
                False,
            )
            assert (await users.charlie.get(path, **headers)).status_code in (303, 401)
        assert (await users.charlie.get("/account/activity", **headers)).status_code in (303, 401)


@pytest.mark.asvs("S88")
async def test_activity_does_not_show_the_client_of_an_admin(
    app: TestApp,
) -> None:
    alice = await app.sign_up_user("Alice")
    ada = replace(await app.admin("Ada"), user_agent=IPHONE)
    await ada.post(f"/admin/users/{(await app.viewer_of(alice)).id}/team", {"team": "Harbour"})
    page = (await alice.get("/account/activity")).text
    assert "An administrator added you to the team" in page
    assert not {text for text in ("Ada", IPHONE_NAME) if text in page}
    assert IPHONE_NAME in (await ada.get("/admin/audit")).text


async def make_entries(app: TestApp, many: int) -> None:
    """Makes Alice change her profile this many times."""
    alice = await app.sign_up_user("Alice")
    for number in range(many):
        await alice.post("/account", {"phone": str(number)})


async def test_activity_is_paginated(app: TestApp) -> None:
    await make_entries(app, 51)
    alice = await app.browser("Alice")
    await alice.log_in()
    seen = []
    for page, more in (("", True), ("?page=2", True), ("?page=3", False)):
        answer = await alice.get(f"/account/activity{page}")
        seen += sentences(answer.text)
        links = {
            link.attrs["rel"]: link.attrs["href"]
            for link in read(answer).one("nav", aria_label="Pages").all("a")
        }
        assert ("next" in links, "prev" in links) == (more, page != "")
        assert all(re.fullmatch(r"/account/activity\?page=[1-3]", href) for href in links.values())
    assert (len(seen), seen[0]) == (53, "You logged in with your password")
    assert seen[-1] == "You created your account"
    assert "No older entries" in (await alice.get("/account/activity?page=4")).text
    for invalid in ("?page=0", "?page=-1", "?page=x", "?page=%00", "?page=9999999999999999999"):
        assert await activity(alice, invalid) == seen[:25], invalid
    for past_end in ("?page=999999999", "?page=50001"):
        assert "No older entries" in (await alice.get(f"/account/activity{past_end}")).text


# Event registry


@pytest.mark.asvs("S91", "S113")
def test_every_event_has_a_label_and_is_documented() -> None:
    section = (
        (ROOT / "docs" / "operations.md")
        .read_text()
        .partition("## Audit log")[2]
        .partition("\n## ")[0]
    )
    documented = dict(re.findall(r"^\| `([a-z.-]+)` \| ([^|]+) \|", section, re.M))
    assert documented == {name: words.label for name, words in EVENT_TEXTS.items()}
    assert set(EVENT_TEXTS) == set(get_args(Event))


@pytest.mark.asvs("S91")
def test_every_event_of_the_registry_is_tested() -> None:
    tested = {entry.event for _, entry in [*CHANGES.values(), *REFUSED_ATTEMPTS.values()]} | {
        "limit.reached",
        "entries.left-out",
    }
    tested |= {"session.end-guessing"}
    tested |= {
        "role.create",
        "role.edit",
        "role.delete",
        "access",
        "token.create",
        "token.revoke",
    }  # see tests/test_roles.py and tests/test_access_tokens.py
    tested |= {
        "confirm",
        "factor",
        "factor.add",
        "factor.remove",
        "factor.reset",
        "recovery.renew",
        "recovery.use",
    }  # see tests/test_second_step.py, test_factors_of_accounts.py and those of each second step
    # See tests/test_provider_login.py, test_provider_logout.py and test_identities.py.
    tested |= {"provider", "provider.logout"}
    tested |= {"identity.link", "identity.take-over", "identity.unlink"}
    # See tests/test_organizations.py.
    tested |= {f"organization.{change}" for change in ("add", "change", "verify", "remove")}
    tested |= MAIL_EVENTS | ACCOUNT_EVENTS | OPERATOR_EVENTS
    assert tested == set(EVENT_TEXTS)
