"""Tests of the metrics: who may read them, and whether they are correct."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from db.crypto.secret import Secret
from db.mail.state import OutboxState
from tests.browser_client import PASSWORD, Browser
from tests.conftest import SECRET, TestApp
from web.app import create_app
from web.settings.environment import InvalidSetting
from web.settings.server_settings import read_server_settings

TOKEN = "a token of the tests, 32 letters or more"
LOCAL_CLIENT = ("127.0.0.1", 40_000)
REMOTE_CLIENT = ("192.0.2.14", 40_000)


@pytest.fixture
def scrape(app: TestApp) -> Callable:
    """Returns a function that requests /metrics from a client with the given socket address."""

    async def scrape(
        peer: Any = LOCAL_CLIENT, token: str | None = TOKEN, **headers: str
    ) -> httpx.Response:
        asgi_app = create_app(
            app.settings, app.store, app.clock, metrics_token=token and Secret(token)
        )
        asgi_app.state.metrics = (
            app.asgi_app.state.metrics if peer == LOCAL_CLIENT else asgi_app.state.metrics
        )
        transport = httpx.ASGITransport(asgi_app, client=peer)
        async with httpx.AsyncClient(transport=transport, base_url=app.settings.base_url) as client:
            return await client.get(
                "/metrics", headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

    return scrape


def number(answer: httpx.Response, name: str, **labels: str) -> float | None:
    """Returns the value of the only series with these labels, or None."""
    found = []
    for series, label_text, value in re.findall(r"^(\w+){([^}]*)} (\S+)$", answer.text, re.M):
        if (
            series == name
            and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', label_text)).items()
        ):
            found.append(float(value))
    assert len(found) <= 1, found
    return found[0] if found else None


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    "peer", [LOCAL_CLIENT, ("127.8.9.10", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)]
)
async def test_clients_on_the_same_machine_may_read_the_metrics(
    scrape: Callable, peer: tuple[str, int]
) -> None:
    answer = await scrape(peer)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert number(answer, "process_resident_memory_bytes") > 10_000_000


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    "peer", [REMOTE_CLIENT, ("::ffff:192.0.2.14", 1), ("localhost", 1), ("", 0), None]
)
async def test_other_clients_get_the_ordinary_page_not_found(
    scrape: Callable, anonymous: Browser, peer: tuple[str, int] | None
) -> None:
    answer, not_found = await scrape(peer), await anonymous.get("/metricz")
    assert (answer.status_code, answer.text) == (404, not_found.text.replace("metricz", "metrics"))
    assert {*answer.headers} == {*not_found.headers}


@pytest.mark.asvs("S108")
async def test_users_and_administrators_may_not_read_the_metrics(
    alice: Browser, ada: Browser
) -> None:
    assert [(await user.get("/metrics")).status_code for user in (alice, ada)] == [404, 404]


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"],
)
async def test_requests_forwarded_by_a_local_proxy_are_not_local(
    scrape: Callable, header: str
) -> None:
    assert (await scrape(LOCAL_CLIENT, **{header: "127.0.0.1"})).status_code == 404


@pytest.mark.asvs("S108")
async def test_a_trusted_proxy_is_not_a_local_client(make_app: Callable) -> None:
    app = await make_app(TRUSTED_PROXIES="127.0.0.1,::1")
    for peer in (LOCAL_CLIENT, ("::1", 1)):
        transport = httpx.ASGITransport(app.asgi_app, client=peer)
        async with httpx.AsyncClient(transport=transport, base_url=app.settings.base_url) as client:
            assert (await client.get("/metrics")).status_code == 404


@pytest.mark.asvs("S108")
async def test_the_token_gives_access_from_any_client(scrape: Callable) -> None:
    for headers in ({}, {"X-Forwarded-For": "203.0.113.9"}):
        assert (
            await scrape(REMOTE_CLIENT, Authorization=f"Bearer {TOKEN}", **headers)
        ).status_code == 200


@pytest.mark.asvs("S108")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer é",
    ],
)
async def test_any_other_authorization_header_is_refused(scrape: Callable, value: str) -> None:
    assert (await scrape(REMOTE_CLIENT, Authorization=value.encode())).status_code == 404


@pytest.mark.asvs("S108")
async def test_without_a_configured_token_every_token_is_refused(scrape: Callable) -> None:
    for value in ("Bearer ", "Bearer None", f"Bearer {TOKEN}"):
        assert (await scrape(REMOTE_CLIENT, None, Authorization=value)).status_code == 404


@pytest.mark.parametrize("token", ["short", "é" * 40])
def test_a_token_that_is_too_short_or_not_ascii_is_refused_at_startup(token: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^METRICS_TOKEN: must be at least 32 characters"):
        read_server_settings({"METRICS_TOKEN": token})


@pytest.mark.asvs("S96")
def test_the_token_can_come_from_a_file_and_is_not_in_the_repr(tmp_path: Any) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    server_settings = read_server_settings({"METRICS_TOKEN_FILE": str(path)})
    assert server_settings.metrics_token.reveal() == TOKEN
    assert TOKEN not in repr(server_settings)


@pytest.mark.reliability("R21")
async def test_attempts_are_counted_by_their_outcome(
    app: TestApp, scrape: Callable, anonymous: Browser
) -> None:
    await anonymous.sign_up()
    # The user is logged in by now, so the sign-up redirects and does nothing.
    await anonymous.sign_up()
    await anonymous.post("/logout")
    # An account with this email exists.
    await replace(anonymous, password="another-No.7 of his").sign_up()
    for password in (PASSWORD, "wrong-No.9"):
        anonymous.cookie = None
        await anonymous.log_in(password)
    metrics = await scrape()
    attempts = {
        (form, outcome): number(metrics, "latchkey_attempts_total", form=form, outcome=outcome)
        for form in ("signup", "login")
        for outcome in ("done", "other", "refused")
    }
    assert attempts == {
        ("signup", "done"): 1,
        ("signup", "other"): 1,
        ("signup", "refused"): 1,
        ("login", "done"): 1,
        ("login", "other"): None,
        ("login", "refused"): 1,
    }
    assert number(metrics, "latchkey_attempt_seconds_count", form="login") == 1
    assert number(metrics, "latchkey_hashes_total") == app.hashes
    assert number(metrics, "latchkey_statements_total") == app.statements
    assert number(metrics, "latchkey_hash_queue") == 0


@pytest.mark.reliability("R21")
async def test_requests_are_counted_by_route_access_and_status(
    scrape: Callable, anonymous: Browser, alice: Browser
) -> None:
    for path in ("/", "/login", "/dashboard", "/nowhere", "/nowhere/either", "/metrics"):
        await anonymous.get(path)
    await alice.get("/dashboard")
    await anonymous.request("DELETE", "/login")
    metrics = await scrape()
    counted = re.findall(
        r'^latchkey_requests_total{kind="(\w+)",pid="\d+",status="(\d+)"} (\d+)', metrics.text, re.M
    )
    assert {(access, status): int(count) for access, status, count in counted} == {
        ("guests", "200"): 2,
        ("guests", "303"): 1,  # Alice has signed up.
        ("guests", "405"): 1,
        ("members", "303"): 1,
        ("members", "200"): 1,
        ("none", "404"): 2,
        ("operators", "404"): 1,
    }
    assert number(metrics, "latchkey_request_seconds_count", kind="guests") == 4


async def test_the_number_of_live_sessions_is_cached(
    app: TestApp, scrape: Callable, alice: Browser, bob: Browser
) -> None:
    app.clock.move(days=8)  # The sessions of Alice and Bob have expired.
    await app.sign_up_user("Grace")
    assert number(await scrape(), "latchkey_live_sessions") == 1
    await app.sign_up_user("Charlie")
    before = app.statements
    assert number(await scrape(), "latchkey_live_sessions") == 1
    assert app.statements == before


@pytest.mark.parametrize("environ", [{"SESSION_SECRET": SECRET, "SESSION_STRATEGY": "stateless"}])
async def test_stateless_sessions_are_not_counted(scrape: Callable, alice: Browser) -> None:
    assert "latchkey_live_sessions" not in (await scrape()).text


async def test_the_other_metrics_are_available_without_the_database(make_app: Callable) -> None:
    app = await make_app(unreachable=True)
    transport = httpx.ASGITransport(app.asgi_app, client=LOCAL_CLIENT)
    async with httpx.AsyncClient(transport=transport, base_url=app.settings.base_url) as client:
        metrics = await client.get("/metrics")
    assert metrics.status_code == 200
    assert number(metrics, "latchkey_live_sessions") is None
    assert number(metrics, "latchkey_hashes_total") is not None


async def test_mails_are_counted_by_their_outcome(make_app: Callable) -> None:
    app = await make_app(mail=OutboxState(is_enabled=True))
    await app.sign_up_user("Alice")
    app.clock.move(seconds=90)
    metrics = app.asgi_app.state.metrics
    metrics.count_mail("verify", "later", 1.0)
    metrics.count_mail("verify", "sent", 0.2)
    transport = httpx.ASGITransport(app.asgi_app, client=LOCAL_CLIENT)
    async with httpx.AsyncClient(transport=transport, base_url=app.settings.base_url) as client:
        answer = await client.get("/metrics")
    for outcome in ("later", "sent"):
        total = number(answer, "latchkey_mail_total", kind="verify", outcome=outcome)
        assert total == 1
    assert number(answer, "latchkey_mail_seconds_count") == 1
    assert number(answer, "latchkey_mail_queue") == 1
    assert number(answer, "latchkey_mail_oldest_seconds") == 90


async def test_hooks_and_webhooks_are_counted_by_their_outcome(make_app: Callable) -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    app = await make_app(WEBHOOK_URL="https://example.com/", WEBHOOK_SECRET=secret)
    await app.sign_up_user("Alice")
    app.clock.move(seconds=90)
    metrics = app.asgi_app.state.metrics
    metrics.count_event("webhook", "later", 1.0)
    metrics.count_event("webhook", "sent", 0.2)
    transport = httpx.ASGITransport(app.asgi_app, client=LOCAL_CLIENT)
    async with httpx.AsyncClient(transport=transport, base_url=app.settings.base_url) as client:
        answer = await client.get("/metrics")
    for outcome in ("later", "sent"):
        assert number(answer, "latchkey_events_total", kind="webhook", outcome=outcome) == 1
    assert number(answer, "latchkey_event_seconds_count", kind="webhook") == 1
    assert number(answer, "latchkey_event_queue") == 1
    assert number(answer, "latchkey_event_oldest_seconds") == 90
    assert number(answer, "latchkey_mail_queue") == 0


async def test_the_queue_of_mails_is_absent_without_mail(make_app: Callable) -> None:
    app = await make_app(BASE_URL="https://latchkey.example")
    text = await app.asgi_app.state.metrics.render()
    assert b"latchkey_mail_queue" not in text
    assert b"latchkey_event_queue" not in text


async def test_client_input_creates_no_series(scrape: Callable, anonymous: Browser) -> None:
    """A label for each path or method would let any client fill the memory."""
    for count in range(50):
        await anonymous.request(f"BREW{count}", f"/tea/{count}")
    assert "tea" not in (text := (await scrape()).text)
    assert "BREW" not in text
    assert len(text.splitlines()) < 200


async def test_two_applications_do_not_share_their_metrics(
    app: TestApp, scrape: Callable, anonymous: Browser
) -> None:
    await anonymous.get("/")
    other = replace(app, asgi_app=create_app(app.settings, app.store, app.clock))
    assert number(await scrape(), "latchkey_requests_total", kind="guests") == 1
    assert b"guests" not in await other.asgi_app.state.metrics.render()
