"""The audit trail, asked for without any HTTP: what each reader's row names, and how it is put into
words.
"""

import json
from dataclasses import fields

import pytest

from db.access import audit
from db.audit import log as trail
from db.audit.events import EVENTS, LIMITS
from db.audit.log import By
from db.audit.messages import Part, tell_admin, tell_owner
from db.crypto.passwords import Passwords
from db.errors import Forbidden
from db.rate_limits.limits import EVERY
from db.viewer import Admin, Operator, Viewer, require_admin
from tests.conftest import House
from tests.people import Browser

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
def passwords(cheap: Passwords) -> Passwords:
    return cheap


def said(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


@pytest.mark.guide("D23", "D25")
@pytest.mark.asvs("S88")
def test_neither_reader_is_given_seals_sessions_or_ids() -> None:
    for row in (audit.Own, audit.Entry):
        named = {field.name for field in fields(row)}
        assert not named & {"seal", "kid", "session_id", "actor_id", "target_id"}
    assert "actor_name" not in {field.name for field in fields(audit.Own)}


async def test_ones_own_are_those_that_one_did_or_that_were_done_to_one(
    house: House, viewer: Viewer, admin: Admin
) -> None:
    store = house.store
    cases = [
        ("account.enable", By("member", admin.id, "s", "198.51.100.7", "Safari"), viewer.id),
        ("account.enable", By("member", viewer.id, "s", "192.0.2.14", "Firefox"), admin.id),
        ("login", By("stranger", None, "", "203.0.113.66", "curl"), viewer.id),
        ("login", By("stranger", None, "", "203.0.113.66", "curl"), None),
        ("logout", By("member", admin.id, "s", "198.51.100.7", "Safari"), None),
        ("logout", By("program"), None),
        ("password.set", By("program"), viewer.id),
    ]
    for event, by, target in cases:
        async with store.transaction():
            await trail.record(store, event, by, target_id=target)
    found = await audit.list_own(viewer)
    assert [
        (entry.event, entry.mine, entry.other, entry.address, entry.browser)
        for entry in found.entries
    ] == [
        ("password.set", False, None, "", ""),
        ("login", False, None, "203.0.113.66", "curl"),
        ("account.enable", True, "Ada", "192.0.2.14", "Firefox"),
        ("account.enable", False, None, "", ""),
        ("signup", True, None, "192.0.2.14", "Firefox on Linux"),
    ]
    assert said(found.entries[0].told) == "The system set a new password for you"


async def test_everything_is_told_though_an_account_is_gone(
    house: House, admin: Admin, bob: Browser
) -> None:
    await house.change("DELETE FROM users WHERE name = 'Bob'")
    entry = (await audit.list_all(admin)).entries[0]
    assert (entry.event, entry.actor, entry.actor_name, entry.target_name, entry.themselves) == (
        "signup",
        "member",
        None,
        None,
        True,
    )


async def test_a_page_is_no_longer_than_a_page_and_says_whether_there_are_more(
    house: House, admin: Admin
) -> None:
    for _ in range(audit.PAGE_SIZE - 2):
        async with house.store.transaction():
            await trail.record(house.store, "logout", By("member", admin.id))
    for page in (await audit.list_all(admin), await audit.list_own(admin)):
        assert (len(page.entries), page.more, page.first) == (25, False, 1)
    async with house.store.transaction():
        await trail.record(house.store, "logout", By("member", admin.id))
    for ask in (audit.list_all, audit.list_own):
        first, second = await ask(admin), await ask(admin, page=2)
        assert (len(first.entries), first.more, len(second.entries), second.more) == (
            25,
            True,
            1,
            False,
        )
        assert second.first == 26


async def test_the_operator_verifies(house: House, admin: Admin) -> None:
    verdict = await audit.verify(Operator(house.store))
    assert (verdict.rows, verdict.problem) == (2, "")
    kept = (verdict.head.number, verdict.head.seal)
    assert (await audit.verify(Operator(house.store), kept)).problem == ""
    assert (await audit.verify(Operator(house.store), (3, "0" * 64))).problem.startswith(
        "entry 3 is missing"
    )


async def test_only_whose_row_says_admin_reads_all(house: House, viewer: Viewer) -> None:
    with pytest.raises(Forbidden):
        await audit.list_all(require_admin(viewer))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("outcome", ["done", "refused"])
def test_every_event_is_a_sentence_for_everyone_whom_it_may_be_about(
    event: str, outcome: str
) -> None:
    for actor, mine, other in (
        ("member", True, None),
        ("member", True, "Bob"),
        ("member", False, None),
        ("stranger", False, None),
        ("operator", False, None),
        ("program", False, None),
    ):
        for detail in (DETAIL, {}):
            sentence = said(tell_owner(event, outcome, actor, detail, mine=mine, other=other))
            assert sentence.startswith(
                ("You ", "An administrator ", "Someone ", "The operator ", "The system ")
            )
            assert "{" not in sentence
            assert "  " not in sentence
            assert len(sentence) > 10


def test_what_people_have_chosen_stands_apart_and_cannot_be_a_placeholder() -> None:
    told = tell_owner(
        "team.change",
        "done",
        "member",
        {"from": "{name}", "to": "\u202ex"},
        mine=True,
        other="{to}'s",
    )
    assert [part.text for part in told if part.foreign] == ["{to}'s", "{name}", "\u202ex"]
    assert said(told) == "You changed {to}'s's team from {name} to \u202ex"
    assert tell_admin("team.change", {"from": "A", "to": "B"}) == [
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
def test_who_had_no_team_or_has_none_now_is_told_so(
    detail: tuple[str, str], own: str, others: str, note: str
) -> None:
    change = dict(zip(("from", "to"), detail, strict=True))
    for other, predicate in ((None, own), ("Bob", others)):
        told = tell_owner("team.change", "done", "member", change, mine=True, other=other)
        assert said(told) == f"You {predicate}"
    assert said(tell_admin("team.change", change)) == note


def test_every_limit_that_is_told_of_has_its_words() -> None:
    assert {limit.name for limit in EVERY} - {"email-seen", "denied"} == set(LIMITS)
    told = tell_admin("limit.reached", {"limit": "login-account", "times": 3})
    assert said(told) == "log-ins to one account, 3 times"


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
            "You tried to change your password 10 times too many and had to wait",
        ),
    ],
)
def test_what_one_did_oneself_is_told_so(
    event: str, outcome: str, detail: dict[str, object], sentence: str
) -> None:
    assert said(tell_owner(event, outcome, "member", detail, mine=True, other=None)) == sentence


async def test_a_detail_is_json_whatever_is_in_it(house: House, viewer: Viewer) -> None:
    odd = {"to": 'x"\n\u202e\ud7ff☃', "from": "</bdi>"}
    async with house.store.transaction():
        await trail.record(house.store, "team.change", By("member", viewer.id), odd)
    ((detail,),) = await house.rows("SELECT detail FROM audit WHERE event = 'team.change'")
    assert json.loads(detail) == odd
    assert (await audit.verify(Operator(house.store))).problem == ""
