"""Tests of the session cookie: its content, its attributes, its renewal, and forged cookies."""

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey

from tests.browser_client import HTMX, Browser, set_cookie_of
from tests.conftest import SECRET, Clock, TestApp

LOG_IN = int(Clock().moment.timestamp())
DAY = 86_400


def header_of(token: str) -> dict:
    return json.loads(decoded(token.split(".")[0]))


def claims_of(token: str) -> dict:
    return json.loads(decoded(token.split(".")[1]))


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(part: bytes | dict) -> str:
    return (
        urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        .decode()
        .rstrip("=")
    )


def signed(header: dict, claims: dict | bytes, secret: str = SECRET) -> str:
    """Returns a JWT that is signed with the secret, whatever its header and claims are."""
    signing_input = f"{encoded(header)}.{encoded(claims)}"
    return (
        f"{signing_input}.{encoded(hmac.digest(secret.encode(), signing_input.encode(), 'sha256'))}"
    )


async def is_anonymous(app: TestApp, cookie: str) -> bool:
    """Returns whether every type of route treats the cookie as missing, without a server error."""
    user = await app.browser("Charlie")
    answers = [
        await user.get(path, Cookie=f"session={cookie}".encode(), **headers)
        for path, headers in (
            ("/dashboard", {}),
            ("/dashboard", HTMX),
            ("/api/session", {}),
            ("/login", {}),
        )
    ]
    return [answer.status_code for answer in answers] == [303, 401, 401, 200]


@pytest.mark.guide("B7", "B9", "B10", "C2")
@pytest.mark.asvs("S61", "S63")
async def test_the_cookie_contains_five_claims_and_no_personal_data(
    app: TestApp, alice: Browser
) -> None:
    ((user_id,),) = await app.rows("SELECT id FROM users")
    claims = claims_of(str(alice.cookie))
    assert len(claims.pop("sid")) == 43  # This is 256 bits in Base64.
    assert claims == {"sub": user_id, "role": "user", "iat": LOG_IN, "exp": LOG_IN + 7 * DAY}
    assert len(str(alice.cookie)) < 4096


@pytest.mark.guide("B10", "B11")
@pytest.mark.asvs("S61")
@pytest.mark.parametrize(
    ("base_url", "name", "secure"),
    [
        ("http://localhost:8000", "session", False),
        ("https://latchkey.example", "__Host-session", True),
    ],
)
async def test_the_cookie_is_limited_to_this_host_and_http_only(
    make_app: Callable, base_url: str, name: str, secure: bool
) -> None:
    app = await make_app(BASE_URL=base_url)
    alice = await app.browser("Alice")
    for answer, age in ((await alice.sign_up(), str(7 * DAY)), (await alice.post("/logout"), "0")):
        (line,) = [
            line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}=")
        ]
        cookie = set_cookie_of(answer)[name]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        assert (cookie["max-age"], cookie["domain"]) == (age, "")
        assert ("; Secure" in line) is secure


@pytest.mark.guide("C1", "C2")
@pytest.mark.asvs("S86")
async def test_the_database_stores_a_hash_of_the_session_id_only(
    app: TestApp, alice: Browser
) -> None:
    sid = claims_of(str(alice.cookie))["sid"]
    ((row_id, stored),) = await app.rows("SELECT id, token_hash FROM sessions")
    assert stored == hashlib.sha256(sid.encode()).hexdigest()
    assert sid not in (row_id, stored)
    forged = {**claims_of(str(alice.cookie)), "sid": stored}
    assert await is_anonymous_with_claims(app, alice, forged)


async def is_anonymous_with_claims(app: TestApp, user: Browser, claims: dict) -> bool:
    """Returns whether the claims are refused although the application's key has signed them."""
    attacker = await app.attacker_with_cookie_of(user)
    attacker.cookie = signed(header_of(str(user.cookie)), claims)
    return not await attacker.is_logged_in()


@pytest.mark.guide("B6", "B7")
async def test_a_correct_token_signed_with_the_key_is_accepted(
    app: TestApp, alice: Browser
) -> None:
    """Shows that each forgery below fails only because of its own defect."""
    header = header_of(str(alice.cookie))
    assert (header["alg"], set(header)) == ("HS256", {"typ", "alg", "kid"})
    alice.cookie = signed(header, claims_of(str(alice.cookie)))
    assert await alice.is_logged_in()


def forgeries(token: str) -> dict[str, str]:
    header, claims = header_of(token), claims_of(token)
    first, second, signature = token.split(".")
    rsa, own_key = RSAKey.generate_key(2048, {"kid": header["kid"]}), OctKey.import_key(SECRET)
    attacker_key = OctKey.import_key("a secret that only the attacker has: 4tQ8z")
    admin, later = {**claims, "role": "admin"}, {**claims, "exp": claims["exp"] + DAY}
    without_exp = {name: value for name, value in claims.items() if name != "exp"}
    general = jws.serialize_json(
        [{"protected": {"alg": "HS256"}}, {"protected": {"alg": "HS256"}}],
        json.dumps(claims).encode(),
        own_key,
    )
    return {
        "no signature": f"{encoded({**header, 'alg': 'none'})}.{second}.",
        "no signature, in capitals": f"{encoded({**header, 'alg': 'NONE'})}.{second}.",
        "the signature cut off": f"{first}.{second}.",
        "two parts": f"{first}.{second}",
        "four parts": f"{token}.{signature}",
        "two signatures": encoded(json.dumps(general).encode()),
        "two signatures, as they are": json.dumps(general, separators=(",", ":")).replace(
            ",", "%2C"
        ),
        "another key": signed(header, claims, "a secret that only the attacker has: 4tQ8z"),
        "an empty key": signed(header, claims, ""),
        "another key's name": signed({**header, "kid": "mine"}, claims),
        "no key's name": signed({"alg": "HS256"}, claims),
        "a path for a key's name": signed({**header, "kid": "../../../../dev/null"}, claims, ""),
        "RS256": jwt.encode(
            {"alg": "RS256", "kid": header["kid"]}, claims, rsa, algorithms=["RS256"]
        ),
        "HS512": jwt.encode(
            {"alg": "HS512", "kid": header["kid"]}, claims, own_key, algorithms=["HS512"]
        ),
        "HS384": jwt.encode(
            {"alg": "HS384", "kid": header["kid"]}, claims, own_key, algorithms=["HS384"]
        ),
        "its own key (jwk)": signed(
            {**header, "jwk": attacker_key.as_dict(private=True)},
            claims,
            attacker_key.raw_value.decode(),
        ),
        "the URL of a key (jku)": signed(
            {**header, "jku": "https://evil.example/keys"}, claims, "x" * 32
        ),
        "a certificate (x5c)": signed({**header, "x5c": ["MIIB"]}, claims, "x" * 32),
        "a critical extension": signed({**header, "crit": ["b64"], "b64": False}, claims),
        "an unknown critical extension": signed(
            {**header, "crit": ["role"], "role": "admin"}, claims
        ),
        "the role of an administrator": f"{first}.{encoded(admin)}.{signature}",
        "a later expiry": f"{first}.{encoded(later)}.{signature}",
        "no expiry": signed(header, without_exp),
        "expired": signed(header, {**claims, "exp": LOG_IN}),
        "an expiry in words": signed(header, {**claims, "exp": "never"}),
        "an endless expiry": signed(header, {**claims, "exp": float("inf")}),
        "an expiry that is not a number": signed(header, {**claims, "exp": float("nan")}),
        "an expiry that is true": signed(header, {**claims, "exp": True}),
        "a log-in in words": signed(header, {**claims, "iat": "now"}),
        "no log-in": signed(
            header, {name: value for name, value in claims.items() if name != "iat"}
        ),
        "a malformed role": signed(header, {**claims, "role": "Root!"}),
        "a session that is a number": signed(header, {**claims, "sid": 1}),
        "a user that is a list": signed(header, {**claims, "sub": [claims["sub"]]}),
        "claims that are a list": f"{first}.{encoded(b'[]')}.{signature}",
        "a byte less": token[:-1],
        "a byte more": token + "A",
        "5,000 characters": token + "A" * (5_000 - len(token)),
        "5,000 correctly signed characters": signed(header, {**claims, "pad": "x" * 5_000}),
        "nesting": signed(header, b"[" * 2_900),
        "a space inside": f"{first}. {second}.{signature}",
        "dots": "..",
        "nothing": "",
        "garbage": "garbage",
        "bytes": "\xff\x00\xfe",
    }


@pytest.mark.guide("B7", "B8", "B11", "C2")
@pytest.mark.asvs("S10")
async def test_a_forged_cookie_is_treated_as_missing(app: TestApp, alice: Browser) -> None:
    before = app.statements
    cookies = forgeries(str(alice.cookie))
    assert [name for name, cookie in cookies.items() if not await is_anonymous(app, cookie)] == []
    assert app.statements == before
    assert await alice.is_logged_in()


async def test_a_signed_session_id_of_another_user_is_refused(
    app: TestApp, alice: Browser, bob: Browser
) -> None:
    mixed = {**claims_of(str(alice.cookie)), "sub": claims_of(str(bob.cookie))["sub"]}
    assert await is_anonymous_with_claims(app, alice, mixed)


@pytest.mark.guide("B6", "C3")
@pytest.mark.asvs("S94")
async def test_a_new_secret_signs_and_the_old_one_verifies_until_removed(
    make_app: Callable,
) -> None:
    new_secret = "tomorrow's session secret: w4LkV0nTz8YpQ2sD"
    old_app = await make_app()
    alice = await old_app.sign_up_user("Alice")
    both_keys_app = await make_app(old_app.path, SESSION_SECRET=f"{new_secret},{SECRET}")
    copy, bob = (
        await both_keys_app.attacker_with_cookie_of(alice),
        await both_keys_app.sign_up_user("Bob"),
    )
    assert await copy.is_logged_in()
    assert header_of(str(bob.cookie))["kid"] != header_of(str(alice.cookie))["kid"]
    new_app = await make_app(old_app.path, SESSION_SECRET=new_secret)
    assert [
        await (await new_app.attacker_with_cookie_of(user)).is_logged_in() for user in (alice, bob)
    ] == [
        False,
        True,
    ]


@pytest.mark.asvs("S40", "S62")
async def test_two_cookies_with_the_session_name_are_refused(
    app: TestApp, alice: Browser, anonymous: Browser
) -> None:
    token = alice.cookie
    for cookie in (
        f"session={token}; session={token}",
        f"session=x; session={token}",
        f"session={token}; session=",
    ):
        answer = await anonymous.get("/dashboard", Cookie=cookie)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")
    assert (
        await anonymous.get("/dashboard", Cookie=f"other=1; session={token}; session2=x")
    ).status_code == 200


@pytest.mark.asvs("S62")
async def test_a_cookie_without_the_host_prefix_is_ignored_over_https(
    make_app: Callable,
) -> None:
    app = await make_app(BASE_URL="https://latchkey.example")
    alice, anonymous = await app.sign_up_user("Alice"), await app.browser("Charlie")
    assert (await anonymous.get("/dashboard", Cookie=f"session={alice.cookie}")).status_code == 303
    planted = await anonymous.get(
        "/dashboard", Cookie=f"session=planted; __Host-session={alice.cookie}"
    )
    assert planted.status_code == 200


@pytest.mark.guide("B8")
@pytest.mark.asvs("S40")
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=200)
    | st.text("session=; .\"',\t\xff", max_size=60).map(lambda text: text.encode("latin-1"))
    | st.lists(
        st.sampled_from(
            [b"session=", b";", b"=", b" ", b".", b"e30", b"eyJhbGciOiJub25lIn0", b"\xff"]
        )
    ).map(b"".join)
    | st.binary(max_size=99).map(
        lambda data: b"session=" + b".".join(encoded(data).encode() for _ in range(3))
    )
)
async def test_random_cookie_headers_raise_no_error(anonymous: Browser, cookie: bytes) -> None:
    answer = await anonymous.get("/dashboard", Cookie=cookie)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")


@pytest.mark.guide("B12", "T3", "B1")
@pytest.mark.asvs("S64")
async def test_the_second_half_of_a_session_renews_it_with_a_new_token(
    app: TestApp, alice: Browser
) -> None:
    first = claims_of(str(alice.cookie))
    app.clock.move(days=3, hours=11)
    assert set_cookie_of(await alice.get("/dashboard")) == {}
    app.clock.move(hours=2)
    answer = await alice.get("/dashboard")
    renewed = claims_of(set_cookie_of(answer)["session"].value)
    assert renewed == {**first, "exp": LOG_IN + 3 * DAY + 13 * 3600 + 7 * DAY}
    assert set_cookie_of(answer)["session"]["max-age"] == str(7 * DAY)
    app.clock.move(days=6)
    assert await alice.is_logged_in()


@pytest.mark.guide("B12")
@pytest.mark.asvs("S64")
async def test_an_unused_session_ends_after_seven_days(app: TestApp, alice: Browser) -> None:
    app.clock.move(days=7)
    assert await is_anonymous(app, str(alice.cookie))


@pytest.mark.guide("B12")
@pytest.mark.asvs("S64")
async def test_renewal_ends_thirty_days_after_the_log_in(app: TestApp, alice: Browser) -> None:
    for _ in range(29):
        app.clock.move(days=1)
        assert await alice.is_logged_in()
    last = claims_of(str(alice.cookie))
    assert (last["iat"], last["exp"]) == (LOG_IN, LOG_IN + 30 * DAY)
    app.clock.move(days=1)
    assert await is_anonymous(app, str(alice.cookie))


@pytest.mark.guide("B13")
@pytest.mark.parametrize("headers", [{}, HTMX])
async def test_a_request_without_a_session_renews_nothing(
    anonymous: Browser, headers: dict
) -> None:
    answer = await anonymous.get("/dashboard", **headers)
    assert answer.status_code in (303, 401)
    assert set_cookie_of(answer) == {}


@pytest.mark.guide("B14")
@pytest.mark.asvs("S65")
async def test_fifty_concurrent_requests_during_renewal_all_succeed(
    app: TestApp, alice: Browser
) -> None:
    app.clock.move(days=5)
    answers = await asyncio.gather(
        *[alice.get(path) for path in ("/dashboard", "/devices") for _ in range(25)]
    )
    assert {answer.status_code for answer in answers} == {200}
    cookies = {jar["session"].value for answer in answers if (jar := set_cookie_of(answer))}
    assert {claims_of(cookie)["exp"] for cookie in cookies} == {LOG_IN + 12 * DAY}
    app.clock.move(days=3)
    for cookie in cookies:
        alice.cookie = cookie
        assert await alice.is_logged_in()
    assert await app.count("sessions") == 1


@pytest.mark.guide("C6")
async def test_the_last_use_is_written_at_most_every_five_minutes(
    app: TestApp, alice: Browser
) -> None:
    seen = []
    for minutes in (1, 3, 2, 4):
        app.clock.move(minutes=minutes)
        await alice.get("/dashboard")
        seen.append((await app.rows("SELECT last_seen_at FROM sessions"))[0][0][11:16])
    assert seen == ["09:12", "09:12", "09:18", "09:18"]


@pytest.mark.asvs("S87")
async def test_a_thousand_tokens_are_random_and_unique(app: TestApp) -> None:
    tokens = [decoded(app.store.token(32)) for _ in range(1_000)]
    ones = sum(int.from_bytes(token).bit_count() for token in tokens)
    assert {len(token) for token in tokens} == {32}
    assert len(set(tokens)) == 1_000
    assert abs(ones / (1_000 * 256) - 0.5) < 0.008  # The tolerance is eight standard deviations.


@pytest.mark.guide("B5")
@pytest.mark.asvs("S48")
async def test_secrets_are_not_in_the_database_the_log_or_the_answers(
    app: TestApp, alice: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answers = [await alice.get(path) for path in ("/dashboard", "/devices", "/nowhere")]
    await app.change("ALTER TABLE users RENAME TO renamed_users")
    answers.append(await alice.get("/dashboard"))
    assert answers[-1].status_code == 500
    stored = app.stored()
    for secret in (SECRET, claims_of(str(alice.cookie))["sid"]):
        assert secret.encode() not in stored
        assert secret not in caplog.text
        assert not any(secret in answer.text for answer in answers)


@pytest.mark.asvs("S62")
@pytest.mark.parametrize(
    "blank", [b"\xa0", b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\xc2\xa0"]
)
async def test_only_spaces_and_tabs_are_stripped_around_a_cookie_name(
    alice: Browser, blank: bytes
) -> None:
    header = f"session={alice.cookie}".encode()
    alice.cookie = None

    async def send(cookie: bytes) -> int:
        return (await alice.client.get("/api/session", headers=[(b"Cookie", cookie)])).status_code

    assert [await send(header), await send(b" \t" + header)] == [200, 200]
    assert [await send(blank + header), await send(header.replace(b"=", blank + b"=", 1))] == [
        401,
        401,
    ]
    assert await send(header + b"; " + blank + b"session=forged") == 200
