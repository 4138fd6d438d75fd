"""Tests of the budgets of audit entries over HTTP."""

from collections.abc import Callable

import pytest

from db.crypto.passwords import Passwords
from db.rate_limits.limiter import try_take_token
from db.rate_limits.limits import ENTRIES_CLIENT, LOGIN_UNKNOWN
from tests.audit_users import ALICE, ANONYMOUS, CLIENT_IP, WRONG, Entry, Users, create_users
from tests.test_audit import activity


@pytest.fixture
async def limited(make_app: Callable, fast_passwords: Passwords) -> Users:
    return await create_users(await make_app(hashing=fast_passwords, RATE_LIMITS="enforce"))


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
