"""Tests the client of an identity provider against one that lies, is slow or is unavailable."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.responses import JSONResponse, Response

from db.crypto.secret import Secret
from db.errors import ProviderRefused, ProviderUnavailable, Unavailable
from db.providers.answers import ProviderAnswer, StartedFlow
from db.providers.asserted import Asserted
from db.providers.client import ProviderClient
from db.providers.metadata import read_metadata
from db.providers.provider import AppleKey, GitHubEndpoints, Provider
from db.providers.transport import LimitedTransport
from tests.conftest import Clock
from tests.lying_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    LyingProvider,
    gzip_bomb,
    huge,
    redirect,
    serving,
    signed_by_hand,
    signed_with_secret,
    trickling,
    unsigned,
)

NONCE, VERIFIER, STATE = "nonce-of-the-flow", "v" * 64, "state-of-the-flow"
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "first"})


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


def provider_of(lying: LyingProvider, **changes: Any) -> Provider:
    return Provider(
        name="work",
        label="Work",
        issuer=lying.issuer,
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        redirect_uri="http://localhost:8000/login/with/work/callback",
        discovery_url=f"{lying.issuer}/.well-known/openid-configuration",
        **changes,
    )


@pytest.fixture
def client(lying: LyingProvider, clock: Clock) -> ProviderClient:
    return ProviderClient(provider_of(lying), clock, deadline_seconds=2)


async def log_in(
    client: ProviderClient, lying: LyingProvider, *, asks_again: bool = False, user: str = ""
) -> Asserted:
    """Returns the identity after a complete flow."""
    url = await client.make_authorization_url(
        state=STATE, nonce=NONCE, verifier=Secret(VERIFIER), asks_again=asks_again
    )
    return await finish(client, lying.authorize(url), user)


async def finish(client: ProviderClient, answer: dict[str, str], user: str = "") -> Asserted:
    parameters = ProviderAnswer(
        answer.get("code", ""), answer.get("iss", ""), answer.get("error", ""), user
    )
    return await client.fetch_identity(StartedFlow(NONCE, Secret(VERIFIER)), parameters)


async def test_a_log_in_returns_the_verified_identity(client, lying):
    lying.user = {"sub": "u-7", "email": "alice@example.com", "email_verified": True, "name": "A B"}
    found = await log_in(client, lying)
    assert (found.issuer, found.subject) == (lying.issuer, "u-7")
    assert (found.email, found.name, found.has_trusted_email) == ("alice@example.com", "A B", False)
    assert found.authenticated_at is None


def claim(name: str, value: Any) -> Callable[[LyingProvider], None]:
    def lie(lying: LyingProvider) -> None:
        lying.change_claims = lambda claims: claims.update({name: value})

    return lie


def without(name: str) -> Callable[[LyingProvider], None]:
    def lie(lying: LyingProvider) -> None:
        lying.change_claims = lambda claims: claims.pop(name)

    return lie


def changed(**changes: Any) -> Callable[[LyingProvider], None]:
    def lie(lying: LyingProvider) -> None:
        for name, value in changes.items():
            setattr(lying, name, value)

    return lie


def sign_with_public_key(lying: LyingProvider) -> None:
    lying.sign = signed_with_secret(lying.key.as_pem(private=False))


def sign_with_own_key_in_header(lying: LyingProvider) -> None:
    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        embedded = {**header, "jwk": OTHER_KEY.as_dict(private=False)}
        return jwt.encode(embedded, claims, OTHER_KEY, ["RS256"])

    lying.sign = sign


def critical_header(lying: LyingProvider) -> None:
    lying.sign = signed_by_hand(lying.key, {"crit": ["unknown"], "unknown": 1})


LIES: dict[str, Callable[[LyingProvider], None]] = {
    "no signature": changed(sign=unsigned),
    "HS256 with the public key": sign_with_public_key,
    "HS256 with the client secret": changed(sign=signed_with_secret(CLIENT_SECRET.encode())),
    "signed by another key": changed(
        sign=lambda header, claims: jwt.encode(header, claims, OTHER_KEY, ["RS256"])
    ),
    "a key in its header": sign_with_own_key_in_header,
    "unknown kid": lambda lying: setattr(
        lying, "change_header", lambda header: header.update(kid="unknown")
    ),
    "critical header": critical_header,
    "foreign iss": claim("iss", "https://evil.example"),
    "iss with a slash": lambda lying: claim("iss", f"{lying.issuer}/")(lying),
    "no iss": without("iss"),
    "foreign aud": claim("aud", "another-client"),
    "foreign aud, own azp": lambda lying: setattr(
        lying,
        "change_claims",
        lambda claims: claims.update(aud="another-client", azp=CLIENT_ID),
    ),
    "two auds without azp": claim("aud", [CLIENT_ID, "another-client"]),
    "foreign azp": claim("azp", "another-client"),
    "no aud": without("aud"),
    "expired": lambda lying: claim("exp", int(lying.now().timestamp()) - 61)(lying),
    "no exp": without("exp"),
    "exp is text": claim("exp", "9999999999"),
    "iat in the future": lambda lying: claim("iat", int(lying.now().timestamp()) + 61)(lying),
    "no iat": without("iat"),
    "nbf in the future": lambda lying: claim("nbf", int(lying.now().timestamp()) + 61)(lying),
    "foreign nonce": claim("nonce", "another-nonce"),
    "no nonce": without("nonce"),
    "no sub": without("sub"),
    "empty sub": claim("sub", ""),
    "sub of 256 characters": claim("sub", "s" * 256),
    "sub is a number": claim("sub", 7),
    "sub with NUL": claim("sub", "user\0-1"),
    "foreign at_hash": claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
    "no ID token": lambda lying: setattr(
        lying, "change_tokens", lambda tokens: tokens.pop("id_token")
    ),
    "the ID token is a list": lambda lying: setattr(
        lying, "change_tokens", lambda tokens: tokens.update(id_token=["a.b.c"])
    ),
    "the ID token is nested deeply": changed(sign=lambda header, claims: "[" * 30_000),
    "no access token": lambda lying: setattr(
        lying, "change_tokens", lambda tokens: tokens.pop("access_token")
    ),
    "token type": lambda lying: setattr(
        lying, "change_tokens", lambda tokens: tokens.update(token_type="mac")
    ),
    "foreign iss beside the code": lambda lying: setattr(
        lying, "change_answer", lambda answer: answer.update(iss="https://evil.example")
    ),
    "no iss beside the code": lambda lying: setattr(
        lying, "change_answer", lambda answer: answer.pop("iss")
    ),
    "error beside the code": lambda lying: setattr(
        lying, "change_answer", lambda answer: answer.update(error="server_error")
    ),
    "another user at userinfo": lambda lying: setattr(
        lying, "change_userinfo", lambda claims: claims.update(sub="another-user")
    ),
    "userinfo without sub": lambda lying: setattr(
        lying, "change_userinfo", lambda claims: claims.pop("sub")
    ),
}


@pytest.mark.asvs("S23")
@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_refused(client, lying, lie):
    LIES[lie](lying)
    with pytest.raises(ProviderRefused) as refused:
        await log_in(client, lying)
    assert refused.value.code.replace("_", "").isalpha()


@pytest.mark.asvs("S23")
async def test_an_id_token_of_an_algorithm_that_is_not_allowed_is_refused(client, lying):
    lying.algorithm = "RS512"
    with pytest.raises(ProviderRefused):
        await log_in(client, lying)


@pytest.mark.parametrize(
    ("claim_name", "seconds"), [("exp", -59), ("iat", 59), ("nbf", 59)], ids=str
)
async def test_a_minute_between_the_clocks_is_accepted(client, lying, claim_name, seconds):
    claim(claim_name, int(lying.now().timestamp()) + seconds)(lying)
    assert (await log_in(client, lying)).subject == "user-1"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("PS256", RSAKey.generate_key(2048, {"kid": "k"})),
        ("ES256", ECKey.generate_key("P-256", {"kid": "k"})),
        ("EdDSA", OKPKey.generate_key("Ed25519", {"kid": "k"})),
        ("Ed25519", OKPKey.generate_key("Ed25519", {"kid": "k"})),
    ],
    ids=["PS256", "ES256", "EdDSA", "Ed25519"],
)
async def test_the_usual_algorithms_are_accepted(client, lying, algorithm, key):
    lying.algorithm, lying.key = algorithm, key
    assert (await log_in(client, lying)).subject == "user-1"


async def test_several_audiences_with_our_azp_are_accepted(client, lying):
    changes = {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID}
    lying.change_claims = lambda claims: claims.update(changes)
    assert (await log_in(client, lying)).subject == "user-1"


async def test_a_client_secret_is_posted_where_only_that_is_offered(client, lying):
    lying.auth_methods = ("client_secret_post",)
    assert (await log_in(client, lying)).subject == "user-1"


async def test_an_error_of_the_provider_keeps_only_its_code(client):
    with pytest.raises(ProviderRefused) as refused:
        await finish(client, {"error": "access_denied", "iss": client.provider.issuer})
    assert refused.value.code == "access_denied"
    with pytest.raises(ProviderRefused) as refused:
        await finish(client, {"error": "<script>", "iss": client.provider.issuer})
    assert refused.value.code == "unknown_error"


async def test_a_code_is_not_accepted_twice(client, lying):
    url = await client.make_authorization_url(state=STATE, nonce=NONCE, verifier=Secret(VERIFIER))
    answer = lying.authorize(url)
    assert (await finish(client, answer)).subject == "user-1"
    with pytest.raises(ProviderRefused) as refused:
        await finish(client, answer)
    assert refused.value.code == "token_invalid_grant"


# The email.


@pytest.mark.asvs("S21")
@pytest.mark.parametrize(
    ("verified", "is_trusted"), [(True, True), (False, False), ("true", False), (None, False)]
)
async def test_only_true_counts_as_verified(lying, clock, verified, is_trusted):
    lying.user |= {"email": "alice@example.com", "email_verified": verified}
    client = ProviderClient(provider_of(lying, trusts_email=True), clock)
    assert (await log_in(client, lying)).has_trusted_email is is_trusted


@pytest.mark.asvs("S21")
@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("Alice@Example.COM", ("alice@example.com", True)),
        ("vi\u212atim@example.com", ("", False)),  # NFC turns the Kelvin sign into a K.
        ("no email", ("", False)),
    ],
)
async def test_an_email_is_canonical_or_left_out(lying, clock, email, expected):
    lying.user |= {"email": email, "email_verified": True}
    found = await log_in(ProviderClient(provider_of(lying, trusts_email=True), clock), lying)
    assert (found.email, found.has_trusted_email) == expected


async def test_the_email_is_fetched_if_the_id_token_has_none(lying, clock):
    lying.claims_in_id_token = False
    lying.user |= {"email": "alice@example.com", "email_verified": True}
    client = ProviderClient(provider_of(lying, trusts_email=True), clock)
    found = await log_in(client, lying)
    assert (found.email, found.has_trusted_email) == ("alice@example.com", True)


@pytest.mark.parametrize(
    ("email", "domain", "is_trusted"),
    [
        ("alice@gmail.com", None, True),
        ("alice@example.com", "example.com", True),
        ("alice@example.com", None, False),
    ],
)
async def test_googles_word_counts_for_its_own_domains(lying, clock, email, domain, is_trusted):
    lying.user |= {"email": email, "email_verified": True} | ({"hd": domain} if domain else {})
    provider = provider_of(lying, trusts_email=True, requires_hosted_domain=True)
    found = await log_in(ProviderClient(provider, clock), lying)
    assert found.has_trusted_email is is_trusted


# The providers that differ.


async def test_github_users_are_known_by_their_number(lying, clock):
    lying.user["email"] = "alice@example.com"
    lying.change_tokens = lambda tokens: tokens.pop("id_token")
    base = f"http://127.0.0.1:{lying.port}"
    endpoints = GitHubEndpoints(
        f"{base}/authorize", f"{base}/token", f"{base}/user", f"{base}/user/emails"
    )
    provider = replace(provider_of(lying, trusts_email=True), protocol="github", github=endpoints)
    found = await log_in(ProviderClient(provider, clock), lying)
    assert (found.subject, found.email, found.name) == (
        "583231",
        "alice@example.com",
        "Alice Example",
    )
    assert found.has_trusted_email


async def test_apple_gets_a_client_secret_of_five_minutes(lying, clock):
    key = ECKey.generate_key("P-256")
    apple = AppleKey("TEAM567890", "KEY4567890", Secret(key.as_pem(private=True).decode()))
    provider = replace(
        provider_of(lying, trusts_email=True),
        client_secret=None,
        apple_key=apple,
        response_mode="form_post",
    )
    lying.auth_methods = ("client_secret_post",)
    lying._is_authenticated = lambda headers, form: sent.update(form) is None
    sent: dict[str, str] = {}
    lying.user |= {"email": "alice@example.com", "email_verified": "true"}
    lying.user.pop("name")
    user = '{"name": {"firstName": "Alice", "lastName": "Example"}}'
    found = await log_in(ProviderClient(provider, clock), lying, user=user)
    assert (found.name, found.has_trusted_email) == ("Alice Example", True)
    token = jwt.decode(sent["client_secret"], key, ["ES256"])
    assert token.header["kid"] == "KEY4567890"
    assert token.claims["sub"] == CLIENT_ID
    assert token.claims["exp"] - token.claims["iat"] == 300


TENANT = "b3b9c1a0-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    ("tid", "iss", "is_accepted"),
    [
        (TENANT, TENANT, True),
        (TENANT, "00000000-1111-4222-8333-444455556666", False),
        ("common", "common", False),
        (None, TENANT, False),
    ],
)
async def test_microsofts_issuer_must_be_that_of_the_tenant(lying, clock, tid, iss, is_accepted):
    template = f"{lying.issuer}/{{tenantid}}/v2.0"
    provider = replace(provider_of(lying), issuer=template)
    lying.sends_iss = False
    lying.change_metadata = lambda metadata: metadata.update(issuer=template)
    changes = {"iss": f"{lying.issuer}/{iss}/v2.0"} | ({"tid": tid} if tid else {})
    lying.change_claims = lambda claims: claims.update(changes)
    client = ProviderClient(provider, clock)
    if is_accepted:
        assert (await log_in(client, lying)).issuer == f"{lying.issuer}/{TENANT}/v2.0"
    else:
        with pytest.raises(ProviderRefused):
            await log_in(client, lying)


# The metadata.


@pytest.mark.asvs("S99")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", "https://evil.example"),
        ("issuer", None),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "/authorize"),
        ("authorization_endpoint", None),
        ("token_endpoint", "http://user@127.0.0.1/token"),
        ("token_endpoint", "file:///etc/passwd"),
        ("jwks_uri", "http://127.0.0.1/jwks#fragment"),
        ("jwks_uri", ["http://127.0.0.1/jwks"]),
    ],
)
async def test_metadata_that_cannot_be_right_is_refused(client, lying, name, value):
    lying.change_metadata = lambda metadata: metadata.update({name: value})
    with pytest.raises(ProviderUnavailable):
        await log_in(client, lying)


def test_only_a_loopback_issuer_may_have_plain_http():
    provider = replace(provider_of(LyingProvider()), issuer="https://id.example.com")
    document = {
        "issuer": "https://id.example.com",
        "authorization_endpoint": "https://id.example.com/authorize",
        "token_endpoint": "https://id.example.com/token",
        "jwks_uri": "http://id.example.com/jwks",
    }
    with pytest.raises(ProviderUnavailable):
        read_metadata(provider, document)
    document["jwks_uri"] = "https://id.example.com/jwks"
    assert read_metadata(provider, document).jwks_uri == "https://id.example.com/jwks"


# The transport.


class RecordingTransport(httpx2.AsyncBaseTransport):
    def __init__(self) -> None:
        self.sent: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        return httpx2.Response(200, json={})


@pytest.mark.asvs("S99")
@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/t", "https://169.254.169.254/t", "https://[::1]/t", "https://inside.test/t"],
)
async def test_a_private_address_is_not_connected_to(url):
    inner = RecordingTransport()

    async def resolve(host: str) -> list[str]:
        known = {"id.example.com": ["93.184.215.14"], "inside.test": ["192.168.0.9"]}
        return known.get(host, [host])

    transport = LimitedTransport(inner, "id.example.com", resolve)
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(ProviderUnavailable):
            await client.get(url)
    assert inner.sent == []


@pytest.mark.asvs("S99")
async def test_the_connection_goes_to_the_address_that_was_checked():
    inner = RecordingTransport()

    async def resolve(host: str) -> list[str]:
        return ["93.184.215.14"]

    transport = LimitedTransport(inner, "id.example.com", resolve)
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.get("https://tokens.example.com/t")
    assert str(inner.sent[0].url) == "https://93.184.215.14/t"
    assert inner.sent[0].headers["host"] == "tokens.example.com"
    assert inner.sent[0].extensions["sni_hostname"] == "tokens.example.com"


@pytest.mark.asvs("S99")
@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("10.0.0.1", []),
        ("127.0.0.1", []),
        ("169.254.169.254", []),
        ("100.64.0.1", []),
        ("224.0.0.1", []),
        ("[::1]", []),
        ("[fe80::1]", []),
        ("[::ffff:10.0.0.1]", []),
        ("localhost", ["93.184.215.14"]),
        ("id.example.org", ["192.168.0.9"]),
        ("id.example.org", ["93.184.215.14", "127.0.0.1"]),
        ("id.example.org", ["64:ff9b::a9fe:a9fe"]),  # 169.254.169.254 by NAT64, RFC 6052
        ("id.example.org", ["2002:7f00:1::1"]),  # 127.0.0.1 by 6to4, RFC 3056
        ("id.example.org", ["::7f00:1"]),  # 127.0.0.1 in the obsolete form of RFC 4291
        ("id.example.org", ["fec0::1"]),  # a site-local address, RFC 3879
    ],
)
async def test_the_issuer_of_an_organization_must_be_public(host, addresses):
    inner = RecordingTransport()

    async def resolve(name: str) -> list[str]:
        return addresses or [name.strip("[]")]

    transport = LimitedTransport(inner, host.strip("[]"), resolve, requires_public_hosts=True)
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(ProviderUnavailable) as refused:
            await client.get(f"https://{host}/.well-known/openid-configuration")
    assert refused.value.code == "private_issuer"
    assert inner.sent == []


@pytest.mark.asvs("S99")
@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("93.184.215.14", "https://93.184.215.14/t"),
        ("2606:2800:21f::1", "https://[2606:2800:21f::1]/t"),
        ("64:ff9b::5db8:d70e", "https://[64:ff9b::5db8:d70e]/t"),
    ],
)
async def test_the_issuer_of_an_organization_is_not_resolved_again(address, url):
    """A second look-up could return a private IP address (DNS rebinding)."""
    inner = RecordingTransport()
    names: list[str] = []

    async def resolve(name: str) -> list[str]:
        names.append(name)
        return ["127.0.0.1"] if names[1:] else [address]

    transport = LimitedTransport(inner, "id.example.org", resolve, requires_public_hosts=True)
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.get("https://id.example.org/t")
    assert names == ["id.example.org"]
    assert [str(sent.url) for sent in inner.sent] == [url]
    assert inner.sent[0].headers["host"] == "id.example.org"
    assert inner.sent[0].extensions["sni_hostname"] == "id.example.org"


@pytest.mark.asvs("S99")
async def test_a_private_issuer_of_an_organization_gets_no_request(lying, clock):
    client = ProviderClient(provider_of(lying, requires_public_hosts=True), clock)
    with pytest.raises(ProviderUnavailable) as refused:
        await client.read_documents()
    assert refused.value.code == "private_issuer"
    assert lying.requests == []


@pytest.mark.asvs("S99")
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
@pytest.mark.parametrize("answer", [huge, gzip_bomb], ids=["huge", "gzip bomb"])
async def test_a_huge_answer_is_not_read(client, lying, path, answer):
    answer()  # The compression takes a second, once.
    lying.answers[path] = answer
    started = perf_counter()
    with pytest.raises(ProviderUnavailable):
        await log_in(client, lying)
    assert perf_counter() - started < 1.5


@pytest.mark.asvs("S99")
async def test_a_trickling_answer_ends_with_the_deadline(lying, clock):
    client = ProviderClient(provider_of(lying), clock, deadline_seconds=0.4)
    lying.answers["/token"] = trickling
    started = perf_counter()
    with pytest.raises(ProviderUnavailable) as failed:
        await log_in(client, lying)
    assert failed.value.code == "timeout"
    assert perf_counter() - started < 1


@pytest.mark.asvs("S99")
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
async def test_redirects_are_not_followed(client, lying, path):
    lying.answers[path] = redirect(f"http://127.0.0.1:{lying.port}/elsewhere")
    with pytest.raises((ProviderUnavailable, ProviderRefused)):
        await log_in(client, lying)
    assert "/elsewhere" not in lying.requests


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"a":'])
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
async def test_garbage_is_refused(client, lying, path, body):
    lying.answers[path] = Response(body, media_type="application/json")
    with pytest.raises((ProviderUnavailable, ProviderRefused)):
        await log_in(client, lying)


async def test_an_eleventh_request_at_once_is_refused(lying, clock):
    client = ProviderClient(provider_of(lying), clock, deadline_seconds=5)
    await client.read_documents()
    lying.delay_seconds = 0.5
    url = await client.make_authorization_url(state=STATE, nonce=NONCE, verifier=Secret(VERIFIER))
    answers = [lying.authorize(url) for _ in range(11)]
    results = await asyncio.gather(
        *[finish(client, answer) for answer in answers], return_exceptions=True
    )
    assert [type(result) for result in results].count(Unavailable) == 1
    assert [type(result) for result in results].count(Asserted) == 10


# The cache.


async def test_documents_are_fetched_once(client, lying):
    for _ in range(3):
        await log_in(client, lying)
    assert lying.requests.count("/.well-known/openid-configuration") == 1
    assert lying.requests.count("/jwks") == 1


async def test_nothing_is_fetched_before_the_first_use(client, lying):
    assert lying.requests == []


@pytest.mark.parametrize("kid", ["second", "first"], ids=["new kid", "same kid"])
async def test_a_new_key_is_found_within_a_minute(client, lying, clock, kid):
    await log_in(client, lying)
    lying.rotate(kid)
    clock.move(seconds=61)
    assert (await log_in(client, lying)).subject == "user-1"
    assert lying.requests.count("/jwks") == 2


async def test_wrong_signatures_fetch_the_keys_once_a_minute(client, lying, clock):
    await log_in(client, lying)
    LIES["signed by another key"](lying)
    clock.move(seconds=61)
    for _ in range(3):
        with pytest.raises(ProviderRefused):
            await log_in(client, lying)
    assert lying.requests.count("/jwks") == 2


async def test_a_cached_key_of_an_unavailable_provider_is_used(client, lying, clock):
    await log_in(client, lying)
    clock.move(hours=23)
    for path in ("/.well-known/openid-configuration", "/jwks"):
        lying.answers[path] = JSONResponse({}, 503)
    assert (await log_in(client, lying)).subject == "user-1"
    clock.move(hours=2)
    with pytest.raises(ProviderUnavailable):
        await log_in(client, lying)


async def test_cached_metadata_is_used_for_seven_days(client, lying, clock):
    await log_in(client, lying)
    lying.answers["/.well-known/openid-configuration"] = JSONResponse({}, 503)
    clock.move(days=6)
    await client.make_authorization_url(state=STATE, nonce=NONCE, verifier=Secret(VERIFIER))
    clock.move(days=2)
    with pytest.raises(ProviderUnavailable):
        await client.make_authorization_url(state=STATE, nonce=NONCE, verifier=Secret(VERIFIER))


async def test_a_failure_is_remembered_for_ten_seconds(client, lying, clock):
    lying.answers["/.well-known/openid-configuration"] = JSONResponse({}, 503)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await log_in(client, lying)
    assert len(lying.requests) == 1
    lying.answers.clear()
    clock.move(seconds=11)
    assert (await log_in(client, lying)).subject == "user-1"


@pytest.mark.parametrize(("path", "status"), [("/token", 500), ("/userinfo", 403)])
async def test_an_error_that_one_user_may_cause_is_not_remembered(client, lying, path, status):
    lying.claims_in_id_token = False
    lying.answers[path] = JSONResponse({}, status)
    with pytest.raises(ProviderUnavailable):
        await log_in(client, lying)
    lying.answers.clear()
    assert (await log_in(client, lying)).subject == "user-1"


async def test_a_stopped_provider_is_unavailable(lying, clock):
    stopped = provider_of(lying)
    stopped = replace(
        stopped,
        issuer="http://127.0.0.1:9",
        discovery_url="http://127.0.0.1:9/.well-known/openid-configuration",
    )
    with pytest.raises(ProviderUnavailable):
        await ProviderClient(stopped, clock).make_authorization_url(
            state=STATE, nonce=NONCE, verifier=Secret(VERIFIER)
        )


def test_only_the_package_creates_an_asserted_identity():
    with pytest.raises(TypeError):
        Asserted("work", "https://evil.example", "1", "", True, "", None, object())
