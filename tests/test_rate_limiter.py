"""Tests of the rate limiter, with which other clients cannot lock a user out."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from db.access import operator
from db.audit.log import anonymous_actor
from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.errors import RateLimited
from db.maintenance.pruning import prune
from db.rate_limits import limiter
from db.rate_limits.buckets import build_refund, build_take
from db.rate_limits.limits import (
    ALL_LIMITS,
    EMAIL_SEEN,
    LOGIN_ACCOUNT,
    LOGIN_ALL,
    LOGIN_DEVICE,
    LOGIN_POSTS,
    SIGNUP_HOUR,
    SIGNUP_MINUTE,
)
from db.viewer import UNKNOWN_CLIENT, Operator
from tests.browser_client import PASSWORD, Browser, read, without_challenges
from tests.conftest import Clock, TestApp
from tests.hashing import HeldHasher

ROOT = Path(__file__).parent.parent
WRONG = "not-her-No.7 key"
OTHER_CLIENT = "198.51.100.9"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Makes the test's client a trusted proxy, so that a test can set any client IP address."""
    return environ | {"RATE_LIMITS": "enforce", "TRUSTED_PROXIES": "192.0.2.14"}


@pytest.fixture
async def charlie(app: TestApp) -> Browser:
    """Returns a browser without an account whose requests have their own IP address."""
    return replace(await app.browser("Charlie"), headers={"X-Forwarded-For": OTHER_CLIENT})


async def guess(
    browser: Browser, times: int, email: str = "alice@example.com", ip_address: str = ""
) -> list[int]:
    """Sends `times` log-ins with a wrong password and returns their statuses."""
    headers = {"X-Forwarded-For": ip_address} if ip_address else {}
    return [
        (await browser.post("/login", {"email": email, "password": WRONG}, **headers)).status_code
        for _ in range(times)
    ]


async def look_up(browser: Browser, email: str, **headers: str) -> str:
    """Returns the message of the live check of an email."""
    answer = await browser.post_fragment("/signup/check/email", {"email": email}, **headers)
    assert answer.status_code == 200
    return read(answer).one(id="email-message").text


@pytest.mark.asvs("S55")
async def test_the_sixth_guess_in_five_minutes_is_refused_before_a_hash(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    assert await guess(charlie, 5) == [422] * 5
    hashes = app.hashes
    answer = await charlie.post(
        "/login", {"email": alice.email, "password": PASSWORD, "next": "/devices"}
    )
    assert (answer.status_code, answer.headers["Retry-After"], app.hashes) == (429, "60", hashes)
    page = read(answer)
    assert "Try again in 1 minute" in page.one(id="error-summary").text
    assert page.one("input", id="email").attrs["value"] == alice.email
    assert page.one(id="login-form").one("input", name="next").attrs["value"] == "/devices"
    assert PASSWORD not in answer.text
    assert charlie.cookie is None


@pytest.mark.asvs("S55")
async def test_htmx_gets_the_refused_form_and_its_target(alice: Browser, charlie: Browser) -> None:
    await guess(charlie, 5)
    answer = await charlie.post_fragment("/login", {"email": alice.email, "password": WRONG})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert read(answer).one("hx-partial").attrs["hx-target"] == "#login-form"
    assert read(answer).one("input", id="email").attrs["value"] == alice.email


@pytest.mark.asvs("S55")
@pytest.mark.asvs("S49")
async def test_an_email_without_an_account_has_the_same_limits(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    grace = replace(charlie, headers={"X-Forwarded-For": "198.51.100.10"})
    known = [
        await charlie.post("/login", {"email": "alice@example.com", "password": WRONG})
        for _ in range(7)
    ]
    unknown = [
        await grace.post("/login", {"email": "grace@example.com", "password": WRONG})
        for _ in range(7)
    ]
    answers = [
        [
            (answer.status_code, without_challenges(answer.text).replace(email, ""))
            for answer in group
        ]
        for group, email in ((known, "alice@example.com"), (unknown, "grace@example.com"))
    ]
    assert answers[0] == answers[1]


@pytest.mark.asvs("S55")
async def test_an_attempt_after_retry_after_is_admitted(
    app: TestApp, clock: Clock, alice: Browser, charlie: Browser
) -> None:
    await guess(charlie, 6)
    clock.move(seconds=59)
    assert await guess(charlie, 1) == [429]
    clock.move(seconds=1)
    assert await guess(charlie, 2) == [422, 429]


@pytest.mark.asvs("S55")
async def test_consecutive_failures_have_to_wait_longer_and_finally_a_day(
    app: TestApp, clock: Clock, alice: Browser, charlie: Browser, make_app: Callable, fast_passwords
) -> None:
    await guess(charlie, 5)
    waits = [await wait_and_guess(charlie, clock) for _ in range(95)]
    assert waits == [60] * 7 + [120, 240, 480, 960, 1920] + [3600] * 83
    answer = await charlie.post("/login", {"email": alice.email, "password": PASSWORD})
    assert (answer.status_code, int(answer.headers["Retry-After"])) == (429, 86_400)
    clock.move(days=1)
    assert await guess(charlie, 1) == [422]


async def wait_and_guess(charlie: Browser, clock: Clock) -> int:
    """Waits as long as Retry-After says, guesses once more, and returns the seconds."""
    answer = await charlie.post("/login", {"email": "alice@example.com", "password": WRONG})
    seconds = int(answer.headers["Retry-After"])
    clock.move(seconds=seconds - 1)
    assert await guess(charlie, 1) == [429]
    clock.move(seconds=1)
    assert await guess(charlie, 1) == [422]
    return seconds


@pytest.mark.asvs("S55")
async def test_a_client_may_fail_ten_times_a_minute_across_accounts(
    alice: Browser, charlie: Browser
) -> None:
    guesses = [await guess(charlie, 1, f"user-{n}@example.com") for n in range(11)]
    assert guesses == [[422]] * 10 + [[429]]
    assert await guess(charlie, 1, "user-12@example.com", ip_address="198.51.100.77") == [422]


@pytest.mark.asvs("S58")
async def test_log_ins_to_ones_own_account_do_not_reset_the_limits(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await charlie.sign_up()
    await charlie.post("/logout")
    statuses = []
    for n in range(12):
        charlie.client.cookies.clear()
        statuses += await guess(charlie, 1, f"user-{n}@example.com")
        if n < 9:
            assert (await charlie.log_in()).status_code == 303
    assert statuses == [422] * 10 + [429] * 2


@pytest.mark.asvs("S55")
async def test_a_client_may_log_in_thirty_times_a_minute(app: TestApp, alice: Browser) -> None:
    statuses = []
    for _ in range(31):
        alice.client.cookies.clear()
        statuses.append((await alice.log_in()).status_code)
    assert statuses == [303] * 30 + [429]


@pytest.mark.asvs("S56")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8:1:2::1", "2001:DB8:1:2:ffff::9"),
        ("198.51.100.9", "::ffff:198.51.100.9"),
        ("198.51.100.9", "203.0.113.50, 198.51.100.9"),
        ("198.51.100.9", "198.51.100.9:40612"),
        ("2001:db8:1:2::1", "[2001:db8:1:2::1]:40612"),
        ("nonsense", "other nonsense"),
    ],
)
async def test_a_client_has_one_limit_for_every_spelling_of_its_ip_address(
    charlie: Browser, first: str, second: str
) -> None:
    for n in range(10):
        await guess(charlie, 1, f"user-{n}@example.com", ip_address=first)
    assert await guess(charlie, 1, "grace@example.com", ip_address=second) == [429]


@pytest.mark.asvs("S56")
async def test_x_forwarded_for_of_an_untrusted_proxy_is_ignored(make_app: Callable) -> None:
    app = await make_app(TRUSTED_PROXIES="203.0.113.1")
    charlie = await app.browser("Charlie")
    guesses = [
        await guess(charlie, 1, f"user-{n}@example.com", ip_address=f"198.51.100.{n}")
        for n in range(11)
    ]
    assert guesses == [[422]] * 10 + [[429]]


@pytest.mark.asvs("S57")
@pytest.mark.parametrize("database_type", ["sqlite", "postgresql"])
async def test_concurrent_guesses_in_two_processes_share_one_limit(
    make_app: Callable, fast_passwords, database_type: str
) -> None:
    app = await make_app(hashing=fast_passwords)
    other = await make_app(app.path, hashing=fast_passwords)
    await app.sign_up_user("Alice")
    before = fast_passwords.hashes
    browsers = [await one.browser("Charlie") for one in (app, other)]
    statuses = Counter(
        await asyncio.gather(
            *(keep_guessing(browsers[n % 2], f"198.51.100.{n}") for n in range(200))
        )
    )
    assert await app.rows("SELECT taken FROM buckets WHERE key LIKE 'login-account %'") == [(100,)]
    assert set(statuses) == {422, 429}
    # An admitted attempt may have been answered with 503 on a slow machine.
    assert statuses[422] <= fast_passwords.hashes - before <= 100


async def keep_guessing(browser: Browser, ip_address: str) -> int:
    """Guesses once, and repeats it while the answer is 503."""
    for _ in range(100):
        if (statuses := await guess(browser, 1, ip_address=ip_address)) != [503]:
            break
        await asyncio.sleep(0.1)
    return statuses[0]


@pytest.mark.reliability("R13")
async def test_an_attempt_refused_for_hashing_capacity_is_not_charged(make_app: Callable) -> None:
    hasher = HeldHasher()
    hashing = Passwords(hasher=hasher, threads=1, max_wait=0.0)
    app = await make_app(hashing=hashing)
    charlie = await app.browser("Charlie")
    async with hasher.held("hash", hashing.hash(Secret(PASSWORD))) as slow:
        assert await guess(charlie, 8) == [503] * 8
        sign_ups = [await charlie.sign_up(), await charlie.sign_up()]
    assert [answer.status_code for answer in sign_ups] == [503, 503]
    assert await app.count("buckets") == 0
    await slow


@pytest.mark.reliability("R13")
@pytest.mark.parametrize("path", ["/login", "/signup", "/account/password"])
async def test_an_attempt_that_times_out_waiting_for_a_hash_is_not_charged(
    make_app: Callable, fast_passwords, path: str
) -> None:
    app = await make_app(hashing=fast_passwords)
    alice = await app.sign_up_user("Alice")
    hasher = HeldHasher()
    hashing = Passwords(hasher=hasher, threads=1, max_wait=0.1)
    busy = await make_app(app.path, hashing=hashing)
    user = await (
        busy.attacker_with_cookie_of(alice)
        if path == "/account/password"
        else busy.browser("Charlie")
    )
    await app.change("DELETE FROM buckets")
    form = {
        "name": "Charlie",
        "email": "charlie@example.com",
        "password": WRONG,
        "current_password": PASSWORD,
    }
    async with hasher.held("hash", hashing.hash(Secret(PASSWORD))) as slow:
        assert [(await user.post(path, form)).status_code for _ in range(2)] == [503, 503]
    # Every request is charged to these buckets, so they are left out.
    posts = ("login-posts", "email-", "user-hashes")
    rows = await app.rows("SELECT key, taken, rests_until FROM buckets")
    assert {
        (taken, blocked_until) for key, taken, blocked_until in rows if not key.startswith(posts)
    } == {(0, 0.0)}
    await slow


@pytest.mark.asvs("S55")
async def test_a_refund_also_removes_the_block_that_the_attempt_caused(
    app: TestApp, clock: Clock
) -> None:
    store = app.store
    for _ in range(10):
        await store.value(build_take(clock().timestamp(), (LOGIN_DEVICE, "someone")))
        clock.move(minutes=5)
    for _ in range(3):
        assert (
            await store.value(build_take(clock().timestamp(), (LOGIN_DEVICE, "someone")))
            is not None
        )
        await store.count(build_refund(clock().timestamp(), (LOGIN_DEVICE, "someone")))
    assert await app.rows("SELECT taken, rests_until FROM buckets") == [(10, 0.0)]


@pytest.mark.asvs("S57")
async def test_limits_survive_a_restart(
    make_app: Callable, app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await guess(charlie, 5)
    restarted = await make_app(app.path)
    assert await guess(await restarted.browser("Charlie"), 1, ip_address=OTHER_CLIENT) == [429]


@pytest.mark.asvs("S50")
async def test_a_refused_log_in_does_the_same_work_with_and_without_an_account(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    async with app.store.transaction():
        while await limiter.try_take_token(app.store, LOGIN_ALL, "all clients"):
            pass
    await guess(charlie, 1, "grace@example.com")  # The first refusal of a limit is logged.
    kept, work = await app.count("audit"), []
    for email in ("grace@example.com", "alice@example.com"):
        before = app.statements, app.store.database._backend.writes, app.hashes
        await guess(charlie, 1, email)
        after = app.statements, app.store.database._backend.writes, app.hashes
        work.append(tuple(now - then for now, then in zip(after, before, strict=True)))
    assert work[0] == work[1]
    assert await app.count("audit") - kept == 1  # This entry is for Alice, who can read it.


@pytest.mark.asvs("S91")
async def test_a_refusal_by_a_clients_limit_is_not_logged_for_a_user(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    for n in range(10):
        await guess(charlie, 1, f"user-{n}@example.com")
    assert await guess(charlie, 1) == [429]
    rows = await app.rows("SELECT target_id, detail FROM audit WHERE event = 'limit.reached'")
    assert rows == [(None, '{"limit": "login-fails", "times": 1}')]


@pytest.mark.asvs("S59")
async def test_guesses_of_another_client_do_not_lock_the_user_out(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await alice.post("/logout")
    assert await guess(charlie, 6, ip_address="") == [422] * 5 + [429]
    for n in range(10):  # These guesses come from the user's own IP address.
        await guess(charlie, 1, f"user-{n}@example.com", ip_address="192.0.2.14")
    assert (await alice.log_in()).status_code == 303
    assert await alice.is_logged_in()


@pytest.mark.asvs("S59")
async def test_a_known_browser_has_its_own_limit(app: TestApp, alice: Browser) -> None:
    await alice.post("/logout")
    assert await guess(alice, 6) == [422] * 5 + [429]
    other = replace(await app.browser("Alice"), headers={"X-Forwarded-For": OTHER_CLIENT})
    assert (await other.log_in()).status_code == 303


@pytest.mark.asvs("S59")
async def test_a_browser_is_known_only_to_accounts_that_logged_in_from_it(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await charlie.sign_up()
    await charlie.post("/logout")
    assert await guess(charlie, 6) == [422] * 5 + [429]


@pytest.mark.asvs("S11")
async def test_session_and_device_cookies_are_not_interchangeable(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    session, device = alice.client.cookies["session"], alice.client.cookies["device"]
    charlie.cookie = device
    assert not await charlie.is_logged_in()
    charlie.client.cookies.clear()
    charlie.client.cookies.set("device", session)
    assert await guess(charlie, 6) == [422] * 5 + [429]


@pytest.mark.asvs("S61")
async def test_the_device_cookie_is_limited_to_this_host_and_http_only(
    make_app: Callable,
) -> None:
    app = await make_app(BASE_URL="https://latchkey.example")
    answer = await (await app.browser("Alice")).sign_up()
    session, sudo, device = answer.headers.get_list("set-cookie")
    assert session.startswith("__Host-session=")
    assert sudo.startswith("__Host-sudo=")
    assert sudo.endswith("; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert device.startswith("__Host-device=")
    assert device.endswith("; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.asvs("S59")
@pytest.mark.parametrize("end", ["password", "everywhere", "operator"])
async def test_a_new_password_or_log_out_everywhere_makes_browsers_unknown(
    app: TestApp, clock: Clock, alice: Browser, charlie: Browser, end: str
) -> None:
    await charlie.log_in(email="alice@example.com")  # This client knew the password at that time.
    clock.move(seconds=1)
    if end == "password":
        form = {"current_password": PASSWORD, "password": "another-No.7"}
        assert (await alice.post("/account/password", form)).status_code == 303
    elif end == "everywhere":
        assert (await alice.post("/devices/revoke-all")).status_code == 303
    else:
        await operator.set_user_password(Operator(app.store), alice.email, Secret("another-No.7"))
    await charlie.post("/logout")
    assert await guess(await app.browser("Bob"), 5, ip_address=OTHER_CLIENT) == [422] * 5
    assert await guess(charlie, 1) == [429]
    if end != "operator":  # The browser that made the change stays known.
        await alice.post("/logout")
        assert (
            await alice.log_in("another-No.7" if end == "password" else PASSWORD)
        ).status_code == 303


@pytest.mark.asvs("S59")
async def test_logging_in_to_another_account_does_not_make_a_browser_known_again(
    app: TestApp, clock: Clock, alice: Browser, charlie: Browser
) -> None:
    await charlie.log_in(email="alice@example.com")
    clock.move(seconds=1)
    await alice.post("/devices/revoke-all")
    await charlie.sign_up()  # The sign-up renews the device cookie for another account.
    await charlie.post("/logout")
    assert await guess(await app.browser("Bob"), 6, ip_address=OTHER_CLIENT) == [422] * 5 + [429]
    assert await guess(charlie, 1) == [429]


@pytest.mark.asvs("S59")
async def test_a_password_set_by_the_operator_ends_the_block_of_the_account(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await guess(charlie, 6)
    await operator.set_user_password(Operator(app.store), alice.email, Secret("another-No.7"))
    assert (
        await charlie.post("/login", {"email": alice.email, "password": "another-No.7"})
    ).status_code == 303


@pytest.mark.asvs("S55")
async def test_a_client_may_sign_up_five_times_a_minute_and_twenty_an_hour(
    app: TestApp, clock: Clock, anonymous: Browser
) -> None:
    waits = []
    for n in range(24):
        anonymous.client.cookies.clear()
        while (
            answer := await replace(anonymous, email=f"user-{n}@example.com").sign_up()
        ).status_code == 429:
            assert (
                await app.count("users"),
                read(answer).one("input", id="name").attrs["value"],
            ) == (n, "Charlie")
            waits.append(int(answer.headers["Retry-After"]))
            clock.move(seconds=waits[-1])
        assert answer.status_code == 303
    assert (waits[:3], max(waits) > 60) == ([12] * 3, True)


@pytest.mark.asvs("S53")
async def test_the_eleventh_email_checked_in_a_minute_gets_a_neutral_answer(
    app: TestApp, alice: Browser, bob: Browser, anonymous: Browser
) -> None:
    anonymous.headers["X-Forwarded-For"] = OTHER_CLIENT
    messages = [await look_up(anonymous, f"user-{n}@example.com") for n in range(10)]
    assert messages == ["Looks good"] * 10
    before = app.statements
    neutral = "We'll check this when you send the form."
    assert [await look_up(anonymous, email) for email in (alice.email, "grace@example.com")] == [
        neutral
    ] * 2
    assert app.statements > before
    assert await look_up(anonymous, "user-3@example.com") == "Looks good"
    assert "already exists" in await look_up(
        anonymous, alice.email, X_Forwarded_For="198.51.100.77"
    )


@pytest.mark.asvs("S53")
async def test_a_live_check_costs_two_statements_and_none_when_repeated(
    app: TestApp, make_app: Callable, anonymous: Browser
) -> None:
    before = app.statements
    assert await look_up(anonymous, "grace@example.com") == "Looks good"
    first, before = app.statements - before, app.statements
    assert await look_up(anonymous, "grace@example.com") == "Looks good"
    # The remaining statement reads whether the email is taken.
    assert (first, app.statements - before) == (3, 1)
    other_process = await make_app()
    other = await other_process.browser("Charlie")
    tokens = await app.rows("SELECT key, full_at, taken FROM buckets ORDER BY key")
    assert await look_up(other, "grace@example.com") == "Looks good"
    assert await app.rows("SELECT key, full_at, taken FROM buckets ORDER BY key") == tokens


@pytest.mark.asvs("S53")
async def test_an_empty_bucket_leaves_the_tokens_of_the_other_buckets(
    app: TestApp, clock: Clock
) -> None:
    async def take(minute: str, hour: str) -> None:
        await limiter.take_tokens(
            app.store, anonymous_actor(UNKNOWN_CLIENT), (SIGNUP_MINUTE, minute), (SIGNUP_HOUR, hour)
        )

    for _ in range(SIGNUP_MINUTE.burst):
        await take("one", "one")
    kept = await app.rows("SELECT key, full_at, taken FROM buckets WHERE key LIKE 'signup-hour%'")
    with pytest.raises(RateLimited) as refused:
        await take("one", "one")
    assert refused.value.retry_after == 12
    assert (
        await app.rows("SELECT key, full_at, taken FROM buckets WHERE key LIKE 'signup-hour%'")
        == kept
    )


@pytest.mark.asvs("S53")
async def test_sign_up_and_the_live_check_share_the_limit_on_emails(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    for n in range(10):
        await look_up(charlie, f"user-{n}@example.com")
    taken = await replace(charlie, email=alice.email).sign_up()
    free = await replace(charlie, email="grace@example.com").sign_up()
    assert (taken.status_code, free.status_code, await app.count("users")) == (429, 429, 1)
    assert (await replace(charlie, email="user-3@example.com").sign_up()).status_code == 303


@pytest.mark.asvs("S53")
async def test_the_global_limit_on_live_checks_does_not_block_sign_ups(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    for n in range(120):
        await look_up(anonymous, f"user-{n}@example.com", X_Forwarded_For=f"198.51.100.{n}")
    assert await look_up(anonymous, alice.email, X_Forwarded_For="203.0.113.7") == (
        "We'll check this when you send the form."
    )
    assert (await anonymous.sign_up()).status_code == 303
    events = await app.rows("SELECT event, detail FROM audit WHERE event = 'limit.reached'")
    assert events == [("limit.reached", '{"limit": "email-all", "times": 1}')]


@pytest.mark.asvs("S55")
async def test_an_invalid_email_costs_no_query_and_no_token(
    app: TestApp, anonymous: Browser
) -> None:
    before = app.statements
    for _ in range(40):
        await look_up(anonymous, "no email")
        await anonymous.post("/login", {"email": "no email", "password": WRONG})
        await anonymous.post("/signup", {"name": "C", "email": "no email", "password": WRONG})
    assert (app.statements, await app.count("buckets")) == (before, 0)


@pytest.mark.asvs("S46")
async def test_successful_password_changes_are_limited_too(app: TestApp, alice: Browser) -> None:
    passwords, statuses = [PASSWORD, "another-No.7"], []
    for n in range(6):
        current, new = passwords[n % 2], passwords[1 - n % 2]
        answer = await alice.post(
            "/account/password", {"current_password": current, "password": new}
        )
        statuses.append(answer.status_code)
    assert statuses == [303] * 5 + [429]


@pytest.mark.asvs("S46")
async def test_a_user_may_try_five_password_changes_a_minute(app: TestApp, alice: Browser) -> None:
    form = {"current_password": WRONG, "password": "another-No.7"}
    statuses = [(await alice.post("/account/password", form)).status_code for _ in range(5)]
    hashes = app.hashes
    answer = await alice.post_fragment("/account/password", form | {"current_password": PASSWORD})
    assert (statuses, answer.status_code, answer.headers["Retry-After"]) == ([422] * 5, 429, "60")
    assert (app.hashes, "Nothing was changed" in read(answer).one(id="error-summary").text) == (
        hashes,
        True,
    )
    assert (await alice.get("/dashboard")).status_code == 200


@pytest.mark.asvs("S55")
async def test_a_user_may_change_the_profile_thirty_times_a_minute(
    app: TestApp, alice: Browser
) -> None:
    for n in range(30):
        assert (await alice.post("/account", {"name": f"Alice {n}"})).status_code == 303
    answer = await alice.post("/account", {"name": "Alice Liddell"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert read(answer).one("input", id="account-name").attrs["value"] == "Alice Liddell"
    assert await app.rows("SELECT name FROM users") == [("Alice 29",)]


@pytest.mark.asvs("S55")
async def test_a_known_browser_may_log_in_thirty_times_a_minute(alice: Browser) -> None:
    statuses = []
    for _ in range(31):
        await alice.post("/logout")
        statuses.append((await alice.log_in()).status_code)
    assert statuses == [303] * 30 + [429]


async def test_repeated_stateless_log_outs_write_a_bounded_number_of_entries(
    make_app: Callable,
) -> None:
    app = await make_app(SESSION_STRATEGY="stateless")
    alice = await app.sign_up_user("Alice")
    cookie = alice.cookie
    for _ in range(40):
        alice.cookie = cookie
        assert (await alice.post("/logout")).status_code == 303
    assert await app.rows("SELECT count(*) FROM audit WHERE event = 'logout'") == [(10,)]


async def test_observe_mode_counts_and_logs_and_refuses_nothing(
    make_app: Callable, caplog: pytest.LogCaptureFixture, fast_passwords: Passwords
) -> None:
    app = await make_app(RATE_LIMITS="observe", hashing=fast_passwords)
    await app.sign_up_user("Alice")
    # Requests that are only observed are not delayed either, which would take a minute.
    async with asyncio.timeout(15):
        assert await guess(await app.browser("Charlie"), 80) == [422] * 80
    assert "limit login-client-account: 1 refused (RATE_LIMITS=observe)" in caplog.text
    assert await app.count("buckets") > 0


async def test_without_limits_nothing_is_counted(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="off")
    await app.sign_up_user("Alice")
    assert await guess(await app.browser("Charlie"), 40) == [422] * 40
    assert await app.count("buckets") == 0


async def test_pages_are_not_limited_and_write_nothing(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    writes = app.store.database._backend.writes
    for _ in range(40):
        assert (
            (await anonymous.get("/login")).status_code
            == (await alice.get("/dashboard")).status_code
            == 200
        )
    assert app.store.database._backend.writes == writes


@pytest.mark.reliability("R13")
async def test_a_repeated_refusal_does_not_query_the_bucket_again(
    app: TestApp, clock: Clock, alice: Browser, charlie: Browser
) -> None:
    await guess(charlie, 6)
    before = app.statements
    assert await guess(charlie, 20) == [429] * 20
    # The only statement per attempt reads the user, and nothing is written.
    assert app.statements == before + 20
    clock.move(seconds=2)
    assert await guess(charlie, 1) == [429]
    events = await app.rows(
        "SELECT detail FROM audit WHERE event = 'limit.reached' ORDER BY number"
    )
    assert events == [
        (f'{{"limit": "login-client-account", "times": {times}}}',) for times in (1, 22)
    ]


@pytest.mark.asvs("S95")
@pytest.mark.reliability("R23")
async def test_pruning_deletes_full_buckets_and_bounds_the_table(
    app: TestApp, clock: Clock, anonymous: Browser
) -> None:
    for n in range(9):
        await guess(anonymous, 1, f"user-{n}@example.com", ip_address=f"198.51.100.{n}")
    await guess(anonymous, 5, "alice@example.com", ip_address="203.0.113.9")
    await prune(app.store, max_buckets=7)
    kept = [
        key for (key,) in await app.rows("SELECT key FROM buckets WHERE taken = 5 ORDER BY key")
    ]
    assert (await app.count("buckets"), [key.split()[0] for key in kept]) == (
        7,
        [
            "entries",
            "login-account",
            "login-client-account",
            "login-fails",
            "login-posts",
            "login-unknown",
        ],
    )
    clock.move(days=2)
    await prune(app.store)
    assert await app.count("buckets") == 0


@pytest.mark.reliability("R15")
async def test_a_clock_that_moves_back_does_not_extend_a_block(
    make_app: Callable, app: TestApp, clock: Clock, alice: Browser, charlie: Browser
) -> None:
    """Starts a second process, because `db.clock` never moves back within one process."""
    await guess(charlie, 6)
    clock.move(days=-3)
    restarted = await make_app(app.path)
    assert await guess(await restarted.browser("Charlie"), 6, ip_address=OTHER_CLIENT) == [
        422
    ] * 5 + [429]


async def test_the_bucket_table_contains_no_email_and_no_ip_address(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    await guess(charlie, 6)
    kept = str(await app.rows("SELECT * FROM buckets"))
    assert "alice" not in kept
    assert OTHER_CLIENT not in kept


@pytest.mark.asvs("S113")
def test_the_documentation_lists_every_limit() -> None:
    documentation = (ROOT / "docs" / "operations.md").read_text()
    for limit in ALL_LIMITS:
        assert f"| `{limit.name}` | {limit.burst} in {words(limit.seconds)} |" in documentation, (
            limit
        )


def words(seconds: float) -> str:
    words = {
        60: "a minute",
        180: "3 minutes",
        300: "5 minutes",
        3600: "an hour",
        18_000: "5 hours",
        21_600: "6 hours",
        86_400: "a day",
    }
    return words[int(seconds)]


@pytest.mark.asvs("S57")
@pytest.mark.parametrize(
    "limit",
    (LOGIN_ACCOUNT, LOGIN_DEVICE, LOGIN_POSTS, EMAIL_SEEN),  # Each type: see RateLimit.
    ids=lambda limit: limit.name,
)
async def test_a_host_with_a_slow_clock_grants_no_extra_tokens(
    app: TestApp, clock: Clock, limit
) -> None:
    store, now = app.store, clock().timestamp()
    taken = [
        await store.value(build_take(now + n / 1000, (limit, "someone")))
        for n in range(limit.burst)
    ]
    assert None not in taken
    for lag in (0.0, 0.001, 0.1, 30.0):
        assert await store.value(build_take(now - lag, (limit, "someone"))) is None
    assert await app.rows("SELECT taken FROM buckets") == [(limit.burst,)]


@pytest.mark.asvs("S57")
@pytest.mark.parametrize("lag", [0.0, 0.1, 30.0])
async def test_a_block_does_not_end_earlier_on_a_host_with_a_slow_clock(
    app: TestApp, clock: Clock, lag: float
) -> None:
    store, now = app.store, clock().timestamp()
    for n in range(20):
        await store.value(build_take(now + n * 7200, (LOGIN_DEVICE, "someone")))
    assert await app.rows("SELECT taken FROM buckets") == [(20,)]
    assert await store.value(build_take(now + 19 * 7200 - lag, (LOGIN_DEVICE, "someone"))) is None


async def test_guesses_by_sign_up_and_by_log_in_share_a_limit(
    app: TestApp, alice: Browser, charlie: Browser
) -> None:
    for _ in range(4):
        fields = {"name": "Charlie", "email": alice.email, "password": WRONG}
        assert (await charlie.post("/signup", fields)).status_code == 422
    sessions = await app.count("sessions")
    assert await guess(charlie, 2) == [422, 429]
    answer = await charlie.post(
        "/signup", {"name": "Alice", "email": alice.email, "password": PASSWORD}
    )
    # The right password is not verified either.
    assert (answer.status_code, charlie.cookie) == (422, None)
    assert "An account with this email already exists." in answer.text
    assert await app.count("sessions") == sessions
