"""Tests of the rate limits on logging in: per client and account, per network, at known browsers.

They also check that the limits do not reveal when a user logs in.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from db.access import operator
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.rate_limits.limits import LOGIN_ACCOUNT, LOGIN_CLIENT_ACCOUNT, USER_HASHES
from db.viewer import Operator
from tests.browser_client import PASSWORD, Browser
from tests.conftest import Clock, TestApp

WRONG = "not-her-No.7 key"
BOTH = pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Makes the test's client a trusted proxy, so that a test can set any client IP address."""
    return environ | {"RATE_LIMITS": "enforce", "TRUSTED_PROXIES": "192.0.2.14"}


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


async def guess(
    browser: Browser, ip_address: str, email: str = "alice@example.com", password: str = WRONG
) -> int:
    """Logs in at a browser without cookies and returns the status of the answer."""
    return (await send(browser, ip_address, email, password)).status_code


async def send(
    browser: Browser, ip_address: str, email: str = "alice@example.com", password: str = WRONG
):
    browser.client.cookies.clear()
    return await browser.post(
        "/login", {"email": email, "password": password}, X_Forwarded_For=ip_address
    )


async def attack(
    app: TestApp, hours: float, ip_addresses: Callable[[int], str], every: float = 10.0
) -> Counter[str]:
    """Guesses as often as the answers allow while the user logs in at a new browser.

    The user logs in every `every` minutes. `ip_addresses` returns the IP address of a guess by its
    number. Returns how many guesses were sent and verified, and how many log-ins of the user
    succeeded ("in") or were refused.
    """
    attacker, user, clock = (
        await app.browser("Charlie"),
        await app.browser("Alice"),
        app.clock,
    )
    end, attack_at, user_at = (
        clock() + timedelta(hours=hours),
        clock(),
        clock() + timedelta(minutes=15),
    )
    seen: Counter[str] = Counter()
    while clock.moment < end:
        clock.moment = min(attack_at, user_at)
        if clock.moment == attack_at:
            answer = await send(attacker, ip_addresses(seen["sent"]))
            seen["sent"] += 1
            seen["verified"] += answer.status_code == 422
            attack_at = clock.moment + timedelta(
                seconds=max(1, int(answer.headers.get("Retry-After", 1)))
            )
        if clock.moment == user_at:
            status = await guess(user, "203.0.113.9", password=PASSWORD)
            seen["in" if status == 303 else "refused"] += 1
            user_at = clock.moment + timedelta(minutes=every)
    return seen


@BOTH
@pytest.mark.asvs("S59")
async def test_one_client_cannot_lock_the_user_out_of_new_browsers(
    app: TestApp, alice: Browser
) -> None:
    seen = await attack(app, 30, lambda n: "198.51.100.9")  # The block of the client ends after 24.
    assert (seen["in"], seen["refused"]) == (180, 0)
    assert seen["verified"] <= 100


@pytest.mark.asvs("S59")
async def test_one_ipv6_site_cannot_lock_the_user_out_of_new_browsers(
    app: TestApp, alice: Browser
) -> None:
    seen = await attack(app, 24, lambda n: f"2001:db8:77:{n % 65_536:x}::1", every=60)
    assert (seen["in"], seen["refused"]) == (24, 0)
    assert seen["verified"] <= 100


@pytest.mark.asvs("S55")
async def test_guesses_of_many_clients_are_limited_to_100_and_20_an_hour(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    charlie, verified = await app.browser("Charlie"), 0
    for _ in range(3):
        while await guess(charlie, f"198.51.{verified // 250}.{verified % 250}") == 422:
            verified += 1
        clock.move(hours=1)
    assert verified == 100 + 2 * 20
    assert await guess(charlie, "203.0.113.9", password=PASSWORD) == 303


@pytest.mark.asvs("S55")
async def test_100_consecutive_guesses_block_a_client_from_the_account_for_a_day(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    charlie, verified = await app.browser("Charlie"), 0
    while verified < 100:
        answer = await send(charlie, "198.51.100.9")
        verified += answer.status_code == 422
        clock.move(seconds=int(answer.headers.get("Retry-After", 0)))
    assert (
        int((await send(charlie, "198.51.100.9", password=PASSWORD)).headers["Retry-After"])
        == 86_400
    )
    assert await guess(charlie, "203.0.113.9", password=PASSWORD) == 303


@pytest.mark.asvs("S59")
async def test_a_refused_attempt_takes_no_token_from_the_account(
    app: TestApp, alice: Browser
) -> None:
    charlie = await app.browser("Charlie")
    statuses = [await guess(charlie, "198.51.100.9") for _ in range(20)]
    assert statuses == [422] * 5 + [429] * 15
    assert await taken_tokens(app, LOGIN_ACCOUNT.name) == [5]


async def taken_tokens(app: TestApp, limit: str) -> list[int]:
    """Returns the number of tokens that were taken from each bucket of the limit."""
    rows = await app.rows(
        f"SELECT taken FROM buckets WHERE key LIKE '{limit} %' ORDER BY taken DESC"
    )
    return [number for (number,) in rows]


@pytest.mark.asvs("S59")
async def test_a_password_set_by_the_operator_resets_the_limits_of_the_account(
    app: TestApp, alice: Browser
) -> None:
    charlie = await app.browser("Charlie")
    for ip_address in ("198.51.100.9", "2001:db8::1"):
        assert [await guess(charlie, ip_address) for _ in range(6)] == [422] * 5 + [429]
    await guess(charlie, "198.51.100.9", "bob@example.com")
    await operator.set_user_password(Operator(app.store), alice.email, Secret("another-No.7"))
    assert [
        await taken_tokens(app, limit.name) for limit in (LOGIN_ACCOUNT, LOGIN_CLIENT_ACCOUNT)
    ] == [
        [1],
        [1],
    ]
    for ip_address in ("198.51.100.9", "2001:db8::1"):
        assert await guess(charlie, ip_address, password="another-No.7") == 303


@pytest.mark.asvs("S49")
@pytest.mark.parametrize("logs_in", [True, False])
async def test_the_limits_do_not_reveal_when_the_user_logs_in(
    app: TestApp, alice: Browser, logs_in: bool
) -> None:
    """Guesses from many clients and from the user's own network."""
    charlie, user = await app.browser("Charlie"), await app.browser("Alice")
    for n in range(LOGIN_ACCOUNT.burst - 3):
        assert await guess(charlie, f"198.51.100.{n}") == 422
    assert [await guess(charlie, "203.0.113.9") for _ in range(2)] == [422, 422]
    if logs_in:
        assert await guess(user, "203.0.113.9", password=PASSWORD) == 303
    assert [await guess(charlie, f"192.0.2.{n}") for n in (1, 2)] == [422, 429]


@pytest.mark.asvs("S59")
async def test_a_log_in_resets_the_consecutive_attempts_of_its_client(
    app: TestApp, clock: Clock, alice: Browser
) -> None:
    user = await app.browser("Alice")
    for _ in range(5):
        for _ in range(4):
            assert await guess(user, "203.0.113.9") == 422
            clock.move(minutes=1)
        assert await guess(user, "203.0.113.9", password=PASSWORD) == 303
    assert await taken_tokens(app, LOGIN_CLIENT_ACCOUNT.name) == [0]


@pytest.mark.asvs("S50")
@pytest.mark.parametrize("ip_address", ["198.51.100.9", "2001:db8::1"])
async def test_unknown_disabled_and_known_accounts_cost_the_same_work(
    app: TestApp, alice: Browser, ip_address: str
) -> None:
    await app.create("Eve")
    await app.change("UPDATE users SET disabled_at = created_at WHERE email = 'eve@example.com'")
    charlie, work = await app.browser("Charlie"), []
    await guess(charlie, ip_address, "first@example.com")
    for email, password in [
        ("joe@example.com", WRONG),
        ("eve@example.com", PASSWORD),
        ("alice@example.com", WRONG),
    ]:
        before = app.statements, app.store.database._backend.writes, app.hashes
        assert await guess(charlie, ip_address, email, password) == 422
        after = app.statements, app.store.database._backend.writes, app.hashes
        work.append(tuple(now - then for now, then in zip(after, before, strict=True)))
    assert work[0] == work[1] == work[2]


async def test_charges_and_refunds_of_a_log_in_take_one_statement_each(
    make_app: Callable,
) -> None:
    cost = []
    for mode, ip_address in [
        ("off", "2001:db8::1"),
        ("enforce", "2001:db8::1"),
        ("enforce", "198.51.100.9"),
    ]:
        app = await make_app(RATE_LIMITS=mode)
        await app.sign_up_user("Alice") if mode == "off" else None
        user, before = await app.browser("Alice"), app.statements
        assert await guess(user, ip_address, password=PASSWORD) == 303
        cost.append(app.statements - before)
    audit_statements = 1  # The rate limit of the audit log takes one statement.
    assert [number - cost[0] for number in cost] == [0, 2 + audit_statements, 2 + audit_statements]


@pytest.mark.asvs("S56")
async def test_the_networks_of_one_ipv6_site_share_the_limit_on_wrong_passwords(
    app: TestApp,
) -> None:
    charlie = await app.browser("Charlie")
    guesses = [(f"2001:db8:77:{n // 10:x}::{n:x}", f"user-{n}@example.com") for n in range(30)]
    # All guesses come from one /56.
    assert Counter([await guess(charlie, *each) for each in guesses]) == {422: 20, 429: 10}
    guesses = [(f"2001:db8:77:{n // 10 + 1:x}00::1", f"user-{n}@example.com") for n in range(30)]
    assert Counter([await guess(charlie, *each) for each in guesses]) == {
        422: 20,
        429: 10,
    }  # The limit of 40 for the /48 has 20 left.
    assert await guess(charlie, "2001:db8:78::1", "grace@example.com") == 422


@pytest.mark.asvs("S56")
async def test_the_networks_of_one_ipv6_site_share_the_limit_on_sign_ups(app: TestApp) -> None:
    statuses = []
    for n in range(32):
        user = await app.browser(f"Guest{n}")
        statuses.append(
            (await user.sign_up(X_Forwarded_For=f"2001:db8:77:{n // 4:x}00::1")).status_code
        )
    assert Counter(statuses) == {303: 20, 429: 12}
    assert await app.count("users") == 20


@pytest.mark.asvs("S53", "S56")
async def test_the_networks_of_one_ipv6_site_share_the_limit_on_live_checks(app: TestApp) -> None:
    charlie, results = await app.browser("Charlie"), []
    for n in range(52):
        ip_address, field = f"2001:db8:77:{n // 6:x}00::1", {"email": f"user-{n}@example.com"}
        answer = await charlie.post_fragment(
            "/signup/check/email", field, X_Forwarded_For=ip_address
        )
        results.append("Looks good" in answer.text)
    assert Counter(results) == {True: 40, False: 12}


@pytest.mark.asvs("S56")
async def test_ipv4_clients_behind_nat64_do_not_share_a_limit(app: TestApp) -> None:
    charlie = await app.browser("Charlie")
    for n in range(10):
        assert await guess(charlie, "64:ff9b::c633:6409", f"user-{n}@example.com") == 422
    assert await guess(charlie, "198.51.100.9", "grace@example.com") == 429
    assert await guess(charlie, "64:ff9b::c633:640a", "grace@example.com") == 422


@pytest.mark.asvs("S55")
async def test_new_device_cookies_do_not_lift_the_limit_of_an_account(
    app: TestApp, alice: Browser
) -> None:
    cookies, statuses = [alice.client.cookies["device"]], []
    for n in range(20):
        answer = await send(alice, f"198.51.100.{n}", password=PASSWORD)
        cookies.append(answer.cookies["device"])
    for n in range(36):
        statuses.append(
            (await log_in_with(alice, cookies[n % len(cookies)], f"192.0.2.{n}")).status_code
        )
    assert statuses == [303] * 30 + [429] * 6


async def log_in_with(browser: Browser, device: str, ip_address: str):
    browser.client.cookies.clear()
    fields, headers = {"email": browser.email, "password": PASSWORD}, {"Cookie": f"device={device}"}
    return await browser.post("/login", fields, X_Forwarded_For=ip_address, **headers)


@pytest.mark.asvs("S55")
async def test_many_accounts_of_one_client_share_a_limit_at_known_browsers(app: TestApp) -> None:
    users, statuses = [], []
    for n in range(6):
        user = await app.browser(f"Guest{n}")
        await user.sign_up(X_Forwarded_For=f"203.0.113.{n}")
        users.append((user, user.client.cookies["device"]))
    for n in range(USER_HASHES.burst + 6):
        statuses.append((await log_in_with(*users[n % 6], "198.51.100.9")).status_code)
    assert statuses == [303] * USER_HASHES.burst + [429] * 6
    bob, before = (
        await app.sign_up_user("Bob"),
        await app.rows("SELECT password_hash FROM users ORDER BY id"),
    )
    form = {"current_password": PASSWORD, "password": "another-No.7"}
    assert (
        await bob.post("/account/password", form, X_Forwarded_For="198.51.100.9")
    ).status_code == 429
    assert await app.rows("SELECT password_hash FROM users ORDER BY id") == before
    assert (await bob.post("/account/password", form)).status_code == 303


@BOTH
@pytest.mark.asvs("S59")
async def test_the_user_logs_in_at_a_known_browser_while_many_clients_guess(
    app: TestApp, alice: Browser
) -> None:
    device, charlie = alice.client.cookies["device"], await app.browser("Charlie")
    statuses = [await guess(charlie, f"198.51.100.{n}") for n in range(LOGIN_ACCOUNT.burst + 1)]
    assert Counter(statuses) == {422: 100, 429: 1}
    assert await guess(await app.browser("Alice"), "203.0.113.9", password=PASSWORD) == 429
    for n in range(10):  # These guesses come from the user's own network.
        await guess(charlie, "203.0.113.9", f"user-{n}@example.com")
    assert (await log_in_with(alice, device, "203.0.113.9")).status_code == 303


@BOTH
async def test_concurrent_log_ins_and_guesses_do_not_deadlock(
    make_app: Callable, fast_passwords: Passwords, database_type: str
) -> None:
    """Sends the attempts from one /56, so that they lock some of the same buckets."""
    app = await make_app(hashing=fast_passwords)
    await app.sign_up_user("Alice")

    async def log_in(n: int) -> int:
        password = PASSWORD if n % 3 else WRONG
        return await guess(
            await app.browser("Alice"), f"2001:db8:77:{n % 8:x}::1", password=password
        )

    statuses = Counter(await asyncio.gather(*(log_in(n) for n in range(60))))
    assert set(statuses) <= {303, 422, 429, 503}
    assert statuses[303] > 0
