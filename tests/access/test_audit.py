"""Tests the entries of the audit log that users and administrators see, without HTTP."""

import json
from dataclasses import fields
from gettext import NullTranslations

import pytest

from db.access import audit, audit_entries
from db.audit import log as audit_log
from db.audit.events import EVENT_TEXTS, LIMIT_LABELS, LIMITED_ACTIONS
from db.audit.log import Actor
from db.audit.messages import (
    ACTOR_NAMES,
    COUNTED,
    THE_SYSTEM,
    UNDESCRIBED,
    UNDESCRIBED_OWN,
    describe_for_admin,
    describe_for_user,
    messages,
)
from db.crypto.passwords import Passwords
from db.errors import Forbidden
from db.messages import Part
from db.rate_limits.limits import ALL_LIMITS
from db.viewer import Admin, Operator, Viewer, require_admin
from tests.browser_client import Browser
from tests.conftest import TestApp
from web.languages import ENGLISH

DETAIL = {
    "from": "user",
    "to": "admin",
    "role": "user",
    "fields": "name slug phone",
    "device": "Firefox on Linux",
    "limit": "login-account",
    "times": 1000,
    "ended": 1,
}


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.mark.guide("D23", "D25")
@pytest.mark.asvs("S88")
def test_entries_contain_no_macs_or_session_ids() -> None:
    for entry_class in (audit_entries.OwnEntry, audit_entries.AdminEntry):
        named = {field.name for field in fields(entry_class)}
        assert not named & {"mac", "kid", "session_id"}
    # Administrators see the ids of users, which the URLs of their pages have.
    own = {field.name for field in fields(audit_entries.OwnEntry)}
    assert not own & {"actor_id", "target_id", "actor_name"}


async def test_own_entries_are_those_by_and_about_the_viewer(
    app: TestApp, viewer: Viewer, admin: Admin
) -> None:
    store = app.store
    cases = [
        ("account.enable", Actor("user", admin.id, "s", "198.51.100.7", "Safari"), viewer.id),
        ("account.enable", Actor("user", viewer.id, "s", "192.0.2.14", "Firefox"), admin.id),
        ("login", Actor("anonymous", None, "", "203.0.113.66", "curl"), viewer.id),
        ("login", Actor("anonymous", None, "", "203.0.113.66", "curl"), None),
        ("logout", Actor("user", admin.id, "s", "198.51.100.7", "Safari"), None),
        ("logout", Actor("system"), None),
        ("password.set", Actor("system"), viewer.id),
    ]
    for event, actor, target in cases:
        async with store.transaction():
            await audit_log.record(store, event, actor, target_id=target)
    found = await audit.list_own(viewer)
    assert [
        (entry.event, entry.is_own, entry.other, entry.ip_address, entry.browser)
        for entry in found.entries
    ] == [
        ("password.set", False, None, "", ""),
        ("login", False, None, "203.0.113.66", "curl"),
        ("account.enable", True, "Ada", "192.0.2.14", "Firefox"),
        ("account.enable", False, None, "", ""),
        ("signup", True, None, "192.0.2.14", "Firefox on Linux"),
    ]
    assert str(found.entries[0].text_parts({})) == "The system set a new password for you"


async def test_entries_of_a_deleted_account_are_listed(
    app: TestApp, admin: Admin, bob: Browser
) -> None:
    await app.change("DELETE FROM users WHERE name = 'Bob'")
    entry = (await audit.list_all(admin)).entries[0]
    assert (
        entry.event,
        entry.actor_type,
        entry.actor_name,
        entry.target_name,
        entry.themselves,
    ) == (
        "signup",
        "user",
        None,
        None,
        True,
    )


async def test_a_page_is_limited_and_shows_whether_there_are_more(
    app: TestApp, admin: Admin
) -> None:
    for _ in range(audit.PAGE_SIZE - 2):
        async with app.store.transaction():
            await audit_log.record(app.store, "logout", Actor("user", admin.id))
    for page in (await audit.list_all(admin), await audit.list_own(admin)):
        assert (len(page.entries), page.more, page.first) == (25, False, 1)
    async with app.store.transaction():
        await audit_log.record(app.store, "logout", Actor("user", admin.id))
    for list_entries in (audit.list_all, audit.list_own):
        first, second = await list_entries(admin), await list_entries(admin, page=2)
        assert (len(first.entries), first.more, len(second.entries), second.more) == (
            25,
            True,
            1,
            False,
        )
        assert second.first == 26


async def test_the_operator_verifies(app: TestApp, admin: Admin) -> None:
    result = await audit.verify_log(Operator(app.store))
    assert (result.entries, result.problem) == (2, "")
    kept = (result.head.number, result.head.mac)
    assert (await audit.verify_log(Operator(app.store), kept)).problem == ""
    assert (await audit.verify_log(Operator(app.store), (3, "0" * 64))).problem.startswith(
        "entry 3 is missing"
    )


async def test_entries_of_an_earlier_version_are_verified_and_shown_as_todays(
    app: TestApp, viewer: Viewer, admin: Admin
) -> None:
    """The MAC covers the actor type, so such an entry keeps the former one."""
    former = [("member", "user"), ("stranger", "anonymous"), ("program", "system")]
    for actor_type, _ in former:
        actor = Actor(actor_type, ip_address="203.0.113.66", browser="curl")
        limit = {"limit": "member-hashes", "times": 1}
        await audit_log.record(app.store, "limit.reached", actor, limit, target_id=viewer.id)
    stored = [row for (row,) in await app.rows("SELECT actor FROM audit ORDER BY number")][-3:]
    assert stored == [actor_type for actor_type, _ in former]
    assert (await audit.verify_log(Operator(app.store))).problem == ""
    shown = (await audit.list_own(viewer)).entries[2::-1]
    assert [(entry.actor_type, entry.ip_address) for entry in shown] == [
        ("user", ""),
        ("anonymous", "203.0.113.66"),
        ("system", ""),
    ]
    entry = (await audit.list_all(admin)).entries[0]
    assert entry.actor_type == "system"
    assert "passwords of logged-in users" in str(entry.note({}))


async def test_only_an_admin_can_list_all_entries(app: TestApp, viewer: Viewer) -> None:
    with pytest.raises(Forbidden):
        await audit.list_all(require_admin(viewer))


@pytest.mark.parametrize("event", EVENT_TEXTS)
@pytest.mark.parametrize("outcome", ["done", "refused"])
def test_every_event_has_a_sentence_for_every_actor_type(event: str, outcome: str) -> None:
    for actor, is_own, other in (
        ("user", True, None),
        ("user", True, "Bob"),
        ("user", False, None),
        ("anonymous", False, None),
        ("operator", False, None),
        ("system", False, None),
    ):
        for detail in (DETAIL, {}):
            sentence = str(
                describe_for_user(event, outcome, actor, detail, is_own=is_own, other=other)
            )
            assert sentence.startswith(
                (
                    "You ",
                    "An administrator ",
                    "A new user ",
                    "Someone ",
                    "The operator ",
                    "The system ",
                )
            )
            assert "{" not in sentence
            assert "  " not in sentence
            assert len(sentence) > 10


class Brackets(NullTranslations):
    """A catalog of every sentence of `messages`, whose translations are in angle brackets."""

    def gettext(self, message: str) -> str:
        return f"<{message}>" if message in TRANSLATED else message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"<{msgid1 if n == 1 else msgid2}>"

    def format_number(self, value: int) -> str:
        return str(value)


TRANSLATED = {*messages(), *ACTOR_NAMES.values(), THE_SYSTEM, COUNTED, UNDESCRIBED, UNDESCRIBED_OWN}


@pytest.mark.parametrize("event", EVENT_TEXTS)
@pytest.mark.parametrize("outcome", ["done", "refused"])
def test_the_list_of_messages_has_every_sentence(event: str, outcome: str) -> None:
    limits = [{"limit": limit, "times": 1} for limit in LIMITED_ACTIONS]
    moves = [{"from": "A", "to": "B"}, {"from": "A"}, {"to": "B"}, {"to": "admin"}]
    for detail in ({}, {"times": 2}, {"to": "user"}, {"reason": "last-admin"}, *moves, *limits):
        for actor, is_own, other in (
            ("user", True, None),
            ("user", True, "Bob"),
            ("user", False, None),
            ("system", False, None),
        ):
            sentence = describe_for_user(
                event, outcome, actor, detail, is_own=is_own, other=other
            ).in_language_of(Brackets())
            assert (sentence[0], sentence[-1]) == ("<", ">"), sentence


@pytest.mark.parametrize(
    ("event", "detail", "own", "note"),
    [
        ("login", {}, "You logged in", ""),
        ("login", {"with": "passkey"}, "You logged in with a passkey", "passkey"),
        ("login", {"with": "password"}, "You logged in with your password", "password"),
        (
            "login",
            {"with": "password", "factor": "authenticator app"},
            "You logged in with your password and your authenticator app",
            "password and authenticator app",
        ),
        (
            "login",
            {"with": "password", "factor": "passkey"},
            "You logged in with your password and a passkey",
            "password and passkey",
        ),
        (
            "login",
            {"with": "password", "factor": "recovery code"},
            "You logged in with your password and a recovery code",
            "password and recovery code",
        ),
        (
            "login",
            {"with": "password", "factor": "remembered browser"},
            "You logged in with your password, in a browser that is not asked for a second step",
            "password, in a remembered browser",
        ),
        (
            "factor.add",
            {"factor": "passkey", "label": "{x} iPhone"},
            "You added a passkey: {x} iPhone",
            "passkey: {x} iPhone",
        ),
        (
            "factor.remove",
            {"factor": "passkey", "label": "iPhone"},
            "You removed a passkey: iPhone",
            "passkey: iPhone",
        ),
        (
            "factor.add",
            {"factor": "authenticator app"},
            "You set up an authenticator app",
            "authenticator app",
        ),
        (
            "factor.remove",
            {"factor": "authenticator app"},
            "You removed your authenticator app",
            "authenticator app",
        ),
        ("factor.add", {"factor": "damaged"}, "You added a second step", ""),
        ("recovery.use", {}, "You used a recovery code", ""),
        ("recovery.renew", {}, "You made new recovery codes", ""),
        (
            "confirm",
            {"factor": "password"},
            "You confirmed with your password that it's you",
            "password",
        ),
        (
            "confirm",
            {"factor": "authenticator app"},
            "You confirmed with your authenticator app that it's you",
            "authenticator app",
        ),
    ],
)
def test_an_entry_about_a_second_step_names_it(
    event: str, detail: dict[str, str], own: str, note: str
) -> None:
    sentence = describe_for_user(event, "done", "user", detail, is_own=True, other=None)
    assert str(sentence) == own
    translated = sentence.in_language_of(Brackets())
    assert (translated[0], translated[-1]) == ("<", ">")
    assert str(describe_for_admin(event, detail)) == note


def test_the_name_of_a_passkey_is_marked_as_text_of_a_user() -> None:
    detail = {"factor": "passkey", "label": "\u202ex"}
    sentence = describe_for_user("factor.add", "done", "user", detail, is_own=True, other=None)
    assert [part.text for part in sentence.parts_in(ENGLISH) if part.is_user_text] == ["\u202ex"]


def test_a_failed_second_step_is_about_someone_else() -> None:
    for event, sentence in (
        ("factor", "Someone entered your password, but failed at the second step"),
        ("login", "Someone tried to log in to your account"),
    ):
        described = describe_for_user(event, "refused", "anonymous", {}, is_own=False, other=None)
        assert str(described) == sentence


def test_a_sentence_is_translated_as_a_whole() -> None:
    class German(Brackets):
        def gettext(self, message: str) -> str:
            return {
                "{actor} changed your team from {from} to {to}": "Team {to} statt {from}: {actor}",
                "An administrator": "Ein Administrator",
            }[message]

    detail = {"from": "A", "to": "B"}
    sentence = describe_for_user("team.change", "done", "user", detail, is_own=False, other=None)
    assert sentence.parts_in(German()) == [
        Part("Team ", False),
        Part("B", True),
        Part(" statt ", False),
        Part("A", True),
        Part(": ", False),
        Part("Ein Administrator", False),
    ]


def test_user_text_is_marked_and_cannot_be_a_placeholder() -> None:
    sentence = describe_for_user(
        "team.change",
        "done",
        "user",
        {"from": "{name}", "to": "\u202ex"},
        is_own=True,
        other="{to}'s",
    )
    parts = sentence.parts_in(ENGLISH)
    assert [part.text for part in parts if part.is_user_text] == ["{to}'s", "{name}", "\u202ex"]
    assert str(sentence) == "You changed {to}'s's team from {name} to \u202ex"
    note = describe_for_admin("team.change", {"from": "A", "to": "B"})
    assert note.parts_in(ENGLISH) == [
        Part("A", True),
        Part(" to ", False),
        Part("B", True),
    ]


@pytest.mark.parametrize(
    ("detail", "own", "others", "note"),
    [
        (
            ("A", "B"),
            "changed your own team from A to B",
            "changed Bob's team from A to B",
            "A to B",
        ),
        (("", "B"), "joined the team B", "added Bob to the team B", "into B"),
        (("A", ""), "left the team A", "removed Bob from the team A", "out of A"),
    ],
)
def test_a_sentence_describes_joining_and_leaving_a_team(
    detail: tuple[str, str], own: str, others: str, note: str
) -> None:
    change = dict(zip(("from", "to"), detail, strict=True))
    for other, predicate in ((None, own), ("Bob", others)):
        parts = describe_for_user("team.change", "done", "user", change, is_own=True, other=other)
        assert str(parts) == f"You {predicate}"
    assert str(describe_for_admin("team.change", change)) == note


def test_every_recorded_limit_has_a_label() -> None:
    assert {limit.name for limit in ALL_LIMITS} - {"email-seen", "denied"} == set(LIMIT_LABELS)
    parts = describe_for_admin("limit.reached", {"limit": "login-account", "times": 3})
    assert str(parts) == "log-ins to one account, 3 times"


@pytest.mark.parametrize(
    ("event", "outcome", "detail", "sentence"),
    [
        (
            "role.change",
            "done",
            {"from": "admin", "to": "user"},
            "You stopped being an administrator",
        ),
        (
            "role.change",
            "refused",
            {},
            "You could not stop being an administrator: there is no other administrator",
        ),
        (
            "profile.change",
            "done",
            {"fields": "name slug"},
            "You changed your profile: name, profile URL",
        ),
        (
            "limit.reached",
            "refused",
            {"limit": "password-change", "times": 10},
            "You tried to change your password too many times and had to wait (10 times)",
        ),
    ],
)
def test_own_actions_are_described_in_the_second_person(
    event: str, outcome: str, detail: dict[str, object], sentence: str
) -> None:
    parts = describe_for_user(event, outcome, "user", detail, is_own=True, other=None)
    assert str(parts) == sentence


async def test_a_detail_with_special_characters_is_stored_as_json(
    app: TestApp, viewer: Viewer
) -> None:
    odd = {"to": 'x"\n\u202e\ud7ff☃', "from": "</bdi>"}
    async with app.store.transaction():
        await audit_log.record(app.store, "team.change", Actor("user", viewer.id), odd)
    ((detail,),) = await app.rows("SELECT detail FROM audit WHERE event = 'team.change'")
    assert json.loads(detail) == odd
    assert (await audit.verify_log(Operator(app.store))).problem == ""
