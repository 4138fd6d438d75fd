"""Tests of identity tokens: their claims, their verification by another library, and their misuse."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.browser_client import PASSWORD, Browser
from tests.conftest import SECRET, TestApp
from tests.test_key_rotation import NEW

BASE_URL = "http://localhost:8000"
ORIGIN = "https://app.example.com"
LATER = {"verify_exp": False, "verify_iat": False}  # The clock of the tests is in the past.


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "RETURN_TO": ORIGIN}


async def verify(browser: Browser, token: str, audience: str = BASE_URL) -> dict[str, Any]:
    """Verifies the token as an application does, with the published keys and PyJWT."""
    keys = jwt.PyJWKSet.from_dict((await browser.get("/.well-known/jwks.json")).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token, key, algorithms=["EdDSA"], audience=audience, issuer=BASE_URL, options=LATER
    )


async def token_of(browser: Browser, **fields: str) -> str:
    answer = await browser.post("/api/token", fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


async def header_token_of(browser: Browser, **headers: str) -> str:
    return (await browser.get("/api/forward", **headers)).headers["remote-token"]


@pytest.mark.asvs("S11")
async def test_the_token_names_its_user_for_five_minutes(app: TestApp, ada: Browser) -> None:
    ((user_id,),) = await app.rows("SELECT id FROM users")
    answer = await ada.post("/api/token")
    now = int(app.clock().timestamp())
    assert answer.json()["expires_at"] == "2026-11-24T09:17:00Z"
    assert await verify(ada, answer.json()["token"]) == {
        "iss": BASE_URL,
        "aud": BASE_URL,
        "sub": user_id,
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada",
        "role": "admin",
        "permissions": [],
        "groups": ["admin"],
        "iat": now,
        "exp": now + 300,
    }


async def test_the_header_of_a_token_names_algorithm_type_and_key(alice: Browser) -> None:
    header = jwt.get_unverified_header(await token_of(alice))
    (key,) = (await alice.get("/.well-known/jwks.json")).json()["keys"]
    assert header == {"alg": "EdDSA", "typ": "JWT", "kid": key["kid"]}


@pytest.mark.asvs("S121")
async def test_an_unconfirmed_email_is_not_in_the_token(alice: Browser) -> None:
    claims = await verify(alice, await token_of(alice))
    assert (claims["email_verified"], "email" in claims) == (False, False)


async def test_only_public_keys_are_published(alice: Browser) -> None:
    answer = await alice.get("/.well-known/jwks.json")
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    required = json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    thumbprint = urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).decode()
    assert key["kid"] == thumbprint.rstrip("=")  # RFC 7638
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert "set-cookie" not in answer.headers
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("forwarded", "audience"),
    [
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com"}, ORIGIN),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}, BASE_URL),
        ({"X-Forwarded-Proto": "http", "X-Forwarded-Host": "app.example.com"}, BASE_URL),
        ({}, BASE_URL),
    ],
)
async def test_a_forwarded_token_is_for_the_application_that_gets_it(
    alice: Browser, forwarded: dict[str, str], audience: str
) -> None:
    token = await header_token_of(alice, **forwarded)
    assert (await verify(alice, token, audience))["aud"] == audience


async def test_the_form_selects_an_audience_of_return_to(alice: Browser) -> None:
    assert (await verify(alice, await token_of(alice, audience=ORIGIN), ORIGIN))["aud"] == ORIGIN


@pytest.mark.parametrize(
    "audience", ["https://evil.example", f"{ORIGIN}/", f"{ORIGIN}.evil.example", "*", BASE_URL[:-1]]
)
async def test_another_audience_gets_no_token(alice: Browser, audience: str) -> None:
    answer = await alice.post("/api/token", {"audience": audience})
    assert (answer.status_code, [*answer.json()["errors"]]) == (422, ["audience"])
    assert "token" not in answer.json()


async def test_another_site_gets_no_token(alice: Browser) -> None:
    for header in ({"Sec-Fetch-Site": "same-site"}, {"Origin": ORIGIN}):
        answer = await alice.post("/api/token", **header)
        assert (answer.status_code, "token" in answer.json()) == (403, False)


async def test_a_revoked_session_gets_no_token(alice: Browser, alices_phone: Browser) -> None:
    await alices_phone.post("/devices/revoke-others")
    answer = await alice.post("/api/token")
    assert (answer.status_code, "token" in answer.json()) == (401, False)


async def test_tokens_are_rate_limited_per_session(make_app: Callable) -> None:
    app = await make_app(RATE_LIMITS="enforce")
    alice = await app.sign_up_user("Alice")
    statuses = [(await alice.post("/api/token")).status_code for _ in range(61)]
    assert (set(statuses[:60]), statuses[60]) == ({200}, 429)
    phone = await app.browser("Alice")
    await phone.log_in()
    assert (await phone.post("/api/token")).status_code == 200


@pytest.mark.asvs("S94")
async def test_tokens_of_a_new_and_an_old_key_are_verified_during_a_rotation(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    old = await token_of(alice)
    rotated = await make_app(app.path, SESSION_SECRET=f"{NEW},{SECRET}")
    browser = await rotated.attacker_with_cookie_of(alice)
    new = await token_of(browser)
    assert len({jwt.get_unverified_header(token)["kid"] for token in (old, new)}) == 2
    for token in (old, new):
        assert (await verify(browser, token))["name"] == "Alice"
    finished = await make_app(app.path, SESSION_SECRET=NEW)
    with pytest.raises(KeyError):
        await verify(await finished.browser("Alice"), old)


async def test_hosts_with_one_secret_publish_the_same_key(
    make_app: Callable, app: TestApp, alice: Browser
) -> None:
    other = await (await make_app(app.path)).browser("Alice")
    assert (await verify(other, await token_of(alice)))["name"] == "Alice"


@pytest.mark.asvs("S11")
@pytest.mark.parametrize("cookie", ["signed", "encrypted"])
async def test_an_identity_token_is_no_session_cookie(make_app: Callable, cookie: str) -> None:
    app = await make_app(SESSION_COOKIE=cookie)
    alice = await app.sign_up_user("Alice")
    for token in (await token_of(alice), await header_token_of(alice)):
        attacker = await app.attacker_with_cookie_of(alice)
        attacker.cookie = token
        assert not await attacker.is_logged_in()
        assert (await attacker.get("/api/session")).status_code == 401


@pytest.mark.asvs("S11")
async def test_no_cookie_is_an_identity_token(app: TestApp, alice: Browser) -> None:
    for cookie in (alice.cookie, alice.client.cookies["device"]):
        with pytest.raises((KeyError, jwt.InvalidTokenError)):
            await verify(alice, str(cookie))


@pytest.mark.asvs("S11")
async def test_a_session_cookie_cannot_be_signed_with_the_public_key(
    app: TestApp, alice: Browser
) -> None:
    """Tries the algorithm confusion: HS256 with the published key as the secret."""
    (key,) = (await alice.get("/.well-known/jwks.json")).json()["keys"]
    claims = decoded(str(alice.cookie), 1)
    public = urlsafe_b64decode(key["x"] + "=")
    for secret in (key["x"].encode(), public):
        for kid in (key["kid"], decoded(str(alice.cookie), 0)["kid"]):
            alice.cookie = jwt.encode(claims, secret, "HS256", {"kid": kid})
            assert not await alice.is_logged_in()


@pytest.mark.asvs("S11")
@pytest.mark.parametrize("change", [{"role": "admin"}, {"aud": ORIGIN}, {"exp": 4_000_000_000}])
async def test_a_changed_token_is_refused(alice: Browser, change: dict[str, Any]) -> None:
    token = await token_of(alice)
    claims = {**decoded(token, 1), **change}
    parts = token.split(".")
    parts[1] = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(jwt.InvalidSignatureError):
        await verify(alice, ".".join(parts), claims["aud"])


async def test_the_token_is_in_no_log(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    token = await token_of(alice)
    await alice.post("/api/token", {"audience": "https://evil.example"})
    assert token.rpartition(".")[2] not in caplog.text
    assert PASSWORD not in caplog.text


def decoded(token: str, part: int) -> dict[str, Any]:
    text = token.split(".")[part]
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
