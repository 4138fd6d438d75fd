"""Tests of the audit log over HTTP: which entries are recorded, and who can read them."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, get_args
from urllib.parse import urlencode

import pytest

from db.access import operator
from db.audit.events import EVENT_TEXTS, Event
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.engine.statement import Conflict
from db.errors import LastAdmin
from db.rate_limits.limiter import try_take_token
from db.rate_limits.limits import ENTRIES_CLIENT, LOGIN_UNKNOWN
from db.viewer import Operator
from tests.access.test_mail import MAIL_EVENTS
from tests.browser_client import HTMX, IPHONE, PASSWORD, Browser, Element, read
from tests.conftest import TestApp
from web.brand import SITE_NAME
from web.settings.paths import ROOT

# tests/test_account_deletion.py, test_data_download.py and test_invitations.py test these.
ACCOUNT_EVENTS = {
    *("account.leave", "account.keep", "account.delete", "data.download"),
    *("invitation.create", "invitation.resend", "invitation.withdraw", "invitation.accept"),
}
# tests/test_import.py tests these.
OPERATOR_EVENTS = {"account.import"}
NEW = "another-No.7 to the sea"
WRONG = "not-her-No.3 key"
CLIENT_IP = "192.0.2.14"
FIREFOX_NAME, IPHONE_NAME = "Firefox on Linux", "Safari on iPhone"
SELECT_ENTRIES = """
    SELECT event, outcome, actor, actors.name AS actor_name, targets.name AS target_name, session_id, address, browser, detail
    FROM audit LEFT JOIN users AS actors ON actors.id = actor_id LEFT JOIN users AS targets ON targets.id = target_id
    ORDER BY number
"""


class Entry(NamedTuple):
    """An entry of the audit log, with the session by the name that the tests give it, such as
    `alice`.
    """

    event: str
    outcome: str = "done"
    actor: str = "user"
    actor_name: str | None = "Alice"
    target_name: str | None = "Alice"
    session: str = "alice"
    ip_address: str = CLIENT_IP
    browser: str = FIREFOX_NAME
    detail: Mapping[str, object] = MappingProxyType({})


@dataclass
class Users:
    """The users of these tests, and the names of their sessions."""

    app: TestApp
    alice: Browser
    phone: Browser
    bob: Browser
    ada: Browser
    grace: Browser
    charlie: Browser
    sessions: dict[str, str]

    async def entries(self) -> list[Entry]:
        rows = await self.app.rows(SELECT_ENTRIES)
        return [
            Entry(
                *row[:5], self.sessions.get(row[5], row[5]), *row[6:8], json.loads(row[8] or "{}")
            )
            for row in rows
        ]

    async def id_of(self, name: str) -> str:
        return (await self.app.rows(f"SELECT id FROM users WHERE name = '{name}'"))[0][0]

    async def change_user(
        self, name: str, action: str, by: Browser | None = None, **fields: str
    ) -> None:
        """Changes the user with that name as an administrator, who is Ada by default."""
        await (by or self.ada).post(f"/admin/users/{await self.id_of(name)}/{action}", fields)

    async def session_of(self, user: Browser) -> str:
        return (await self.app.viewer_of(user)).session_id

    async def state(self) -> list[list[tuple]]:
        """Returns all rows that a change could affect."""
        return [
            await self.app.rows(f"SELECT * FROM {table} ORDER BY id")
            for table in ("users", "sessions")
        ]


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def create_users(app: TestApp) -> Users:
    """Creates Alice with two devices, Bob, two administrators and an anonymous user."""
    alice, bob = await app.sign_up_user("Alice"), await app.sign_up_user("Bob")
    phone = replace(await app.browser("Alice"), user_agent=IPHONE)
    await phone.log_in()
    ada, grace = await app.admin("Ada"), await app.admin("Grace")
    users = Users(app, alice, phone, bob, ada, grace, await app.browser("Charlie"), {})
    for name in ("alice", "phone", "bob", "ada", "grace"):
        users.sessions[await users.session_of(getattr(users, name))] = name
    return users


@pytest.fixture
async def users(app: TestApp) -> Users:
    return await create_users(app)


# Recorded entries

Action = Callable[[Users], Awaitable[object]]
ANONYMOUS = {"actor": "anonymous", "actor_name": None, "session": ""}
BY_ADA = {"actor_name": "Ada", "session": "ada"}
OPERATOR = {"actor": "operator", "actor_name": None, "session": "", "ip_address": "", "browser": ""}


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
        Entry("login", session="charlie"),
    ),
    "sign-up": (
        lambda users: users.charlie.sign_up(),
        Entry("signup", actor_name="Charlie", target_name="Charlie", session="charlie"),
    ),
}
ALICE = {"email": "alice@example.com", "password": PASSWORD}
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
        "You logged in",
        "You created your account",
    ]
    assert (await activity(users.bob))[0] == "An administrator added you to the team Harbour"
    assert (await activity(users.ada))[0] == "You made Alice an administrator"


async def test_activity_shows_time_client_and_advice(users: Users) -> None:
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    page = read(await users.alice.get("/account/activity"))
    entry = page.one("ol", id="activity").all("li")[0]
    assert entry.attrs["data-outcome"] == "refused"
    assert entry.one("span", **{"class": "tag"}).text == "Refused"
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
    assert (len(seen), seen[0], seen[-1]) == (53, "You logged in", "You created your account")
    assert "No older entries" in (await alice.get("/account/activity?page=4")).text
    for invalid in ("?page=0", "?page=-1", "?page=x", "?page=%00", "?page=9999999999999999999"):
        assert await activity(alice, invalid) == seen[:25], invalid
    for past_end in ("?page=999999999", "?page=50001"):
        assert "No older entries" in (await alice.get(f"/account/activity{past_end}")).text


# The audit page


def rows_of(page: Element) -> list[list[str]]:
    return [
        [" ".join(cell.text.split()) for cell in row.children if isinstance(cell, Element)]
        for row in page.one("table", id="audit").one("tbody").all("tr")
    ]


async def search_entries(users: Users, query: str) -> list[list[str]]:
    answer = await users.ada.get(f"/admin/audit?{query}")
    assert answer.status_code == 200
    page = read(answer)
    return rows_of(page) if page.all("table") else []


async def test_the_audit_page_shows_actor_target_time_client_and_outcome(users: Users) -> None:
    await users.charlie.post("/login", {"email": "nobody@example.com", "password": WRONG})
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    await users.change_user("Alice", "role", role="admin")
    await users.alice.post("/logout")
    today = "today at 09:12 UTC"
    client = f"{CLIENT_IP}{FIREFOX_NAME}"
    rows = await search_entries(users, "")
    assert rows[:4] == [
        ["Log out", "Alice", "Themselves", today, client, "Result: Done"],
        ["Change roleuser to administrator", "Ada", "Alice", today, client, "Result: Done"],
        ["Log in", "Not logged in", "Alice", today, client, "Result: Refused"],
        ["Log in", "Not logged in", "No account", today, client, "Result: Refused"],
    ]
    assert [
        "Create accountrole: administrator",
        "Operator",
        "Ada",
        today,
        "Server",
        "Result: Done",
    ] in rows


async def test_the_audit_page_filters_by_text_event_and_outcome(users: Users) -> None:
    await users.charlie.post("/login", ALICE | {"password": WRONG})
    await users.change_user("Alice", "team", team="Harbour")
    await users.bob.get("/admin/users")
    labels = {
        query: [row[0] for row in await search_entries(users, query)]
        for query in (
            "q=ALICE",
            "q=bob@example",
            "q=192.0.2.",
            "q=alice&outcome=refused",
            "event=team.change",
            "event=login&outcome=refused",
            "q=alice&event=team.change",
            "outcome=refused",
            "q=%25",
            "q=_",
            "q=nobody",
            "q=' OR 1=1 --",
        )
    }
    team = "Change teaminto Harbour"
    assert labels == {
        "q=ALICE": [team, "Log in", "Log in", "Sign up"],
        "q=bob@example": ["Administrators' page", "Sign up"],
        "q=192.0.2.": [
            row[0]
            for row in await search_entries(users, "")
            if not row[0].startswith("Create account")
        ],
        "q=alice&outcome=refused": ["Log in"],
        "event=team.change": [team],
        "event=login&outcome=refused": ["Log in"],
        "q=alice&event=team.change": [team],
        "outcome=refused": ["Administrators' page", "Log in"],
        "q=%25": [],
        "q=_": [],
        "q=nobody": [],
        "q=' OR 1=1 --": [],
    }


async def test_the_audit_page_ignores_invalid_parameters(users: Users) -> None:
    unfiltered = await search_entries(users, "")
    for query in (
        "event=x",
        "outcome=maybe",
        "page=x",
        "event=login' --",
        "sort=name",
        "page=0",
        "event=%00",
    ):
        assert await search_entries(users, query) == unfiltered, query
    assert await search_entries(users, "page=x&q=bob&event=x") == await search_entries(
        users, "q=bob"
    )
    for past_end in ("page=999999999", "page=50001", "page=2"):
        assert await search_entries(users, past_end) == []


async def test_the_audit_form_and_page_links_keep_the_filter(users: Users) -> None:
    for number in range(30):
        await users.change_user("Alice", "team", team=f"Team {number}")
    page = read(await users.ada.get("/admin/audit?q=alice&event=team.change&outcome=done"))
    assert page.one("input", id="q").attrs["value"] == "alice"
    assert [option.attrs["value"] for option in page.all("option", selected=True)] == [
        "team.change",
        "done",
    ]
    assert len(rows_of(page)) == 25
    assert page.one(id="result-list").one("p", role="status").text == (
        "Entries 1 to 25 found for “alice”, newest first."
    )
    older = page.one("a", rel="next").attrs["href"]
    assert older == "/admin/audit?q=alice&event=team.change&outcome=done&page=2"
    page = read(await users.ada.get(older))
    assert [row[0] for row in rows_of(page)][-1] == "Change teaminto Team 0"
    assert page.one("a", rel="prev").attrs["href"].endswith("&page=1")
    assert page.all("a", rel="next") == []
    assert {option.attrs["value"] for option in page.one("select", id="event").all("option")} == {
        "",
        *EVENT_TEXTS,
    }


@pytest.mark.guide("D29")
async def test_activity_and_audit_page_cost_two_statements(users: Users) -> None:
    for number in range(30):
        await users.change_user("Alice", "team", team=f"Team {number}")
    for user, path in (
        (users.alice, "/account/activity"),
        (users.ada, "/admin/audit?q=a&outcome=done"),
    ):
        before = users.app.statements
        page = await user.get(path)
        assert users.app.statements - before == 2
        fragment = await user.get_fragment(path)
        assert fragment.text.partition("</title>\n")[2].strip() in page.text
        assert len(read(fragment).all("h1")) == 1


async def test_only_admins_have_a_link_to_the_audit_page(users: Users) -> None:
    for user, expected in ((users.ada, True), (users.alice, False)):
        links = [
            link.attrs.get("href")
            for link in read(await user.get("/dashboard")).one(id="nav").all("a")
        ]
        assert ("/admin/audit" in links) == expected


MARKUP = [
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    '" data-hx-get="/logout" data-hx-trigger="load',
    "</bdi></h3></ol></main><form action=//evil.example>",
    "{{ 7 * 7 }}{% include 'layout.html' %}{name}{to}",
    "\u202eecilA <b>\u2066",
    "'s{whose}",
]


@pytest.mark.asvs("S33")
async def test_audit_pages_render_user_text_as_text(app: TestApp) -> None:
    ada = await app.admin("Ada")
    shapes = []
    for number, text in enumerate(["Plain", *MARKUP]):
        await app.change("DELETE FROM audit", "DELETE FROM users WHERE name <> 'Ada'")
        user_agent = f"{text}/1.0 Mozilla/5.0 {text} Firefox/9.0".encode(
            "ascii", "replace"
        ).decode()
        user = await app.sign_up_user(
            text, email=f"guest{number}@example.com", user_agent=user_agent
        )
        await ada.post(f"/admin/users/{(await app.viewer_of(user)).id}/team", {"team": text[:40]})
        pages = [
            read(await ada.get("/account/activity")),
            read(await user.get("/account/activity")),
        ]
        pages += [read(await ada.get("/admin/audit"))]
        assert text in [found.text for found in pages[0].all("bdi")] + [
            found.text for found in pages[2].all("bdi")
        ]
        assert text[:40] in [found.text for found in pages[1].all("bdi")]
        shapes.append([page.shape for page in pages])
        search = read(await ada.get(f"/admin/audit?{urlencode({'q': text})}"))
        # The form removes direction marks at the ends, as it does for a pasted email.
        assert search.one("input", id="q").attrs["value"] == text.strip("\u202e\u2066")
    assert all(shape == shapes[0] for shape in shapes)


async def test_a_corrupted_entry_is_still_shown(users: Users) -> None:
    await users.change_user("Alice", "team", team="Harbour")
    for detail in (
        "",
        "{",
        "[1]",
        "null",
        '{"to": {"a": []}}',
        '{"times": "x", "ended": null, "fields": 7}',
    ):
        await users.app.change(f"UPDATE audit SET detail = '{detail}'")
        for event in (
            "team.change",
            "role.change",
            "limit.reached",
            "profile.change",
            "{whose}{x",
            "bicycle.steal",
        ):
            for outcome in ("done", "refused", "perhaps"):
                await users.app.change(f"UPDATE audit SET event = '{event}', outcome = '{outcome}'")
                for user, path in ((users.alice, "/account/activity"), (users.ada, "/admin/audit")):
                    assert (await user.get(path)).status_code == 200


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
    tested |= MAIL_EVENTS | ACCOUNT_EVENTS | OPERATOR_EVENTS
    assert tested == set(EVENT_TEXTS)


# Entry budgets


async def count_of(users: Users, event: str) -> int:
    return [entry.event for entry in await users.entries()].count(event)


@pytest.mark.asvs("S95", "S91")
async def test_many_changes_of_one_account_are_summarized(limited: Users) -> None:
    for number in range(25):
        limited.app.clock.move(seconds=2)
        assert (await limited.alice.post("/account", {"phone": str(number)})).status_code == 303
    assert await count_of(limited, "profile.change") == 10
    summaries = [entry for entry in await limited.entries() if entry.event == "entries.left-out"]
    assert [entry.detail["times"] for entry in summaries] == [1, 10]
    assert summaries[1] == Entry(
        "entries.left-out", detail={"event": "profile.change", "limit": "entries", "times": 10}
    )
    assert (await activity(limited.alice))[
        0
    ] == "You did this more often than is listed here: Change profile (10 times)"
    assert (await limited.app.rows("SELECT phone FROM users WHERE name = 'Alice'")) == [("24",)]


@pytest.mark.asvs("S95", "S91")
async def test_logins_from_one_network_do_not_hide_one_from_another(
    make_app: Callable, fast_passwords: Passwords
) -> None:
    app = await make_app(
        hashing=fast_passwords, RATE_LIMITS="enforce", TRUSTED_PROXIES="192.0.2.14"
    )
    alice = await app.sign_up_user("Alice")
    for _ in range(20):
        alice.cookie = None
        assert (await alice.log_in()).status_code == 303
    attacker = await app.browser("Alice", headers={"X-Forwarded-For": "203.0.113.9"})
    assert (await attacker.log_in()).status_code == 303
    rows = await app.rows("SELECT address FROM audit WHERE event = 'login' ORDER BY number")
    assert rows == [(CLIENT_IP,)] * 10 + [("203.0.113.9",)]


@pytest.mark.asvs("S95", "S91")
async def test_failed_logins_with_unknown_emails_do_not_hide_others(limited: Users) -> None:
    store = limited.app.store
    async with store.transaction():
        while await try_take_token(store, LOGIN_UNKNOWN, CLIENT_IP):
            pass
    before = await count_of(limited, "login")
    await limited.charlie.post("/login", {"email": "nobody@example.com", "password": WRONG})
    assert await count_of(limited, "login") == before
    assert (await limited.entries())[-1].detail == {"limit": "login-unknown", "times": 1}
    await limited.charlie.post("/login", ALICE | {"password": WRONG})
    assert (await limited.entries())[-1] == Entry("login", "refused", **ANONYMOUS)


@pytest.mark.asvs("S95")
async def test_the_accounts_of_one_client_share_an_entry_budget(
    limited: Users, caplog: pytest.LogCaptureFixture
) -> None:
    store = limited.app.store
    async with store.transaction():
        while await try_take_token(store, ENTRIES_CLIENT, CLIENT_IP):
            pass
    before = await count_of(limited, "profile.change")
    await limited.alice.post("/account", {"phone": "1"})
    await limited.bob.post("/account", {"phone": "2"})
    assert await count_of(limited, "profile.change") == before
    system = {
        "actor": "system",
        "actor_name": None,
        "target_name": None,
        "session": "",
        "browser": "",
    }
    left_out = {"event": "profile.change", "limit": "entries-client", "times": 1}
    assert (await limited.entries())[-1] == Entry("entries.left-out", detail=left_out, **system)
    assert "limit entries-client: 1 audit entries of one client were left out" in caplog.text


@pytest.mark.asvs("S91")
async def test_admin_changes_have_no_entry_budget(limited: Users) -> None:
    for number in range(30):
        await limited.change_user("Alice", "team", team=f"Team {number}")
    assert await count_of(limited, "team.change") == 30
