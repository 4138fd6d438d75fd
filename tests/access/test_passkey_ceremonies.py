"""Tests of the ceremonies of passkeys with an authenticator in software."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from db.crypto.secret import Secret
from db.factors import passkeys
from db.factors.passkeys import NewPasskey, VerifiedPasskey
from db.sessions.claims import decode_claims
from db.sessions.sudo import Sudo, require_sudo
from db.store import Store
from db.viewer import Viewer
from tests.browser_client import Browser
from tests.conftest import TestApp
from tests.soft_authenticator import SoftAuthenticator, decode, encode

INSERT = (
    "INSERT INTO passkeys (id, user_id, credential_id, public_key, rp_id, sign_count, aaguid,"
    " transports, backed_up, name, created_at) VALUES ('k', '{}', '{}', '{}', 'localhost', {},"
    " '', '', true, 'n', '2026-11-24T09:12:00.000000+00:00')"
)


async def sudo_of(app: TestApp, user: Browser) -> Sudo[Viewer]:
    viewer = await app.viewer_of(user)
    claims = decode_claims(app.store, user.cookie)
    return require_sudo(viewer, claims, user.client.cookies.get("sudo"))


@pytest.fixture
async def sudo(app: TestApp, alice: Browser) -> Sudo[Viewer]:
    return await sudo_of(app, alice)


@pytest.fixture
async def authenticator(app: TestApp, sudo: Sudo[Viewer]) -> SoftAuthenticator:
    """Returns an authenticator with a passkey of Alice."""
    authenticator = SoftAuthenticator()
    new = await create(sudo, authenticator)
    assert new is not None
    await app.change(
        INSERT.format(sudo.viewer.id, new.credential_id, new.public_key, new.sign_count)
    )
    return authenticator


async def create(
    sudo: Sudo[Viewer], authenticator: SoftAuthenticator, token: Secret[str] | None = None
) -> NewPasskey | None:
    begun = await passkeys.begin_creation(sudo, email="alice@example.com", site_name="Latchkey")
    credential = authenticator.create(begun.options)
    return await passkeys.verify_creation(sudo, credential, (token or begun.challenge).reveal())


async def log_in(store: Store, authenticator: SoftAuthenticator) -> VerifiedPasskey | None:
    begun = await passkeys.begin_assertion(store, "login")
    credential = authenticator.get(begun.options)
    return await passkeys.verify_assertion(store, credential, begun.challenge.reveal(), "login")


async def confirm(sudo: Sudo[Viewer], authenticator: SoftAuthenticator) -> VerifiedPasskey | None:
    store, owner = sudo.viewer.store, {"user_id": sudo.viewer.id, "sid_hash": sudo.sid_hash}
    begun = await passkeys.begin_assertion(store, "confirm", **owner)
    credential = authenticator.get(begun.options)
    return await passkeys.verify_assertion(
        store, credential, begun.challenge.reveal(), "confirm", **owner
    )


async def test_a_passkey_is_created_and_verified(
    app: TestApp, sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    verified = await log_in(app.store, authenticator)
    assert verified is not None
    assert (verified.passkey_id, verified.user_id) == ("k", sudo.viewer.id)
    async with app.store.transaction():
        assert await passkeys.record_use(app.store, verified)


async def test_creation_asks_for_a_discoverable_verified_credential(
    sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    begun = await passkeys.begin_creation(sudo, email="alice@example.com", site_name="Latchkey")
    options = json.loads(begun.options)
    assert options["rp"] == {"id": "localhost", "name": "Latchkey"}
    assert decode(options["user"]["id"]).decode() == sudo.viewer.id
    assert [item["alg"] for item in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    excluded = [item["id"] for item in options["excludeCredentials"]]
    assert excluded == [encode(authenticator.credential_id)]
    assert len(decode(options["challenge"])) == 32


async def test_a_login_names_no_credential_and_runs_no_statement(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    before = app.statements
    options = json.loads((await passkeys.begin_assertion(app.store, "login")).options)
    assert app.statements == before
    assert options["allowCredentials"] == []
    assert (options["rpId"], options["userVerification"]) == ("localhost", "required")


async def test_a_known_account_is_asked_for_its_own_passkeys(
    app: TestApp, sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    begun = await passkeys.begin_assertion(app.store, "factor", user_id=sudo.viewer.id)
    allowed = json.loads(begun.options)["allowCredentials"]
    assert [item["id"] for item in allowed] == [encode(authenticator.credential_id)]


WRONG: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://evil.example"},
    "a sub-domain": {"origin": "http://www.localhost:8000"},
    "another port": {"origin": "http://localhost:8001"},
    "another scheme": {"origin": "https://localhost:8000"},
    "another rp id": {"rp_id": "evil.example"},
    "no user verification": {"is_user_verified": False},
    "no user presence": {"is_user_present": False},
    "an embedded page": {"client_data": {"crossOrigin": True}},
    "an embedded page, as text": {"client_data": {"crossOrigin": "true"}},
    "a page above": {"client_data": {"topOrigin": "https://evil.example"}},
    "another ceremony": {"client_data": {"type": "payment.get"}},
    "another challenge": {"signed_challenge": encode(bytes(32))},
}
WRONG_GET: dict[str, dict[str, Any]] = {
    **WRONG,
    "another user handle": {"user_handle": encode(b"someone else")},
    "no user handle": {"sends_user_handle": False},
    "an unknown credential": {"credential_id": b"unknown"},
}


@pytest.mark.asvs("S25")
@pytest.mark.parametrize("case", WRONG_GET)
async def test_a_wrong_assertion_is_refused(
    app: TestApp, authenticator: SoftAuthenticator, case: str
) -> None:
    right = {name: getattr(authenticator, name) for name in WRONG_GET[case]}
    for name, value in WRONG_GET[case].items():
        setattr(authenticator, name, value)
    assert await log_in(app.store, authenticator) is None
    for name, value in right.items():
        setattr(authenticator, name, value)
    assert await log_in(app.store, authenticator) is not None


@pytest.mark.asvs("S25")
@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_creation_is_refused(sudo: Sudo[Viewer], case: str) -> None:
    assert await create(sudo, SoftAuthenticator(**WRONG[case])) is None


@pytest.mark.asvs("S25")
async def test_a_signature_of_another_key_is_refused(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    other = SoftAuthenticator(
        credential_id=authenticator.credential_id, user_handle=authenticator.user_handle
    )
    assert await log_in(app.store, other) is None


@pytest.mark.asvs("S25")
async def test_a_known_account_needs_no_user_handle_but_never_another(
    sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    authenticator.sends_user_handle = False
    assert await confirm(sudo, authenticator) is not None
    authenticator.sends_user_handle = True
    authenticator.user_handle = encode(b"someone else")
    assert await confirm(sudo, authenticator) is None


@pytest.mark.asvs("S25")
async def test_a_passkey_of_another_account_is_refused(
    app: TestApp, bob: Browser, authenticator: SoftAuthenticator
) -> None:
    bobs = await sudo_of(app, bob)
    store, owner = app.store, {"user_id": bobs.viewer.id, "sid_hash": bobs.sid_hash}
    assert not (await passkeys.begin_assertion(store, "confirm", **owner)).is_offered
    bobs_own = SoftAuthenticator()
    new = await create(bobs, bobs_own)
    assert new is not None
    row = INSERT.replace("'k'", "'b'")
    await app.change(row.format(bobs.viewer.id, new.credential_id, new.public_key, 0))
    begun = await passkeys.begin_assertion(store, "confirm", **owner)
    for sends_user_handle in (True, False):
        authenticator.sends_user_handle = sends_user_handle
        credential = authenticator.get(begun.options)
        challenge = begun.challenge.reveal()
        assert not await passkeys.verify_assertion(store, credential, challenge, "confirm", **owner)
    credential = bobs_own.get(begun.options)
    assert await passkeys.verify_assertion(
        store, credential, begun.challenge.reveal(), "confirm", **owner
    )


@pytest.mark.asvs("S11")
async def test_a_challenge_is_valid_for_one_use_account_and_session(
    app: TestApp, sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    store, owner = app.store, {"user_id": sudo.viewer.id, "sid_hash": sudo.sid_hash}
    begun = await passkeys.begin_assertion(store, "confirm", **owner)
    credential, challenge = authenticator.get(begun.options), begun.challenge.reveal()
    for use in ("login", "factor", "create"):
        assert not await passkeys.verify_assertion(store, credential, challenge, use, **owner)
    for other in ({"user_id": "another"}, {"sid_hash": "another"}, {"user_id": "", "sid_hash": ""}):
        claimed = {**owner, **other}
        assert not await passkeys.verify_assertion(
            store, credential, challenge, "confirm", **claimed
        )
    assert await passkeys.verify_assertion(store, credential, challenge, "confirm", **owner)


async def test_a_challenge_expires(
    app: TestApp, sudo: Sudo[Viewer], authenticator: SoftAuthenticator
) -> None:
    begun = await passkeys.begin_assertion(app.store, "login")
    credential, challenge = authenticator.get(begun.options), begun.challenge.reveal()
    app.clock.move(minutes=5, seconds=1)
    assert await passkeys.verify_assertion(app.store, credential, challenge, "login") is None


@pytest.mark.asvs("S25")
async def test_an_assertion_works_once_without_a_counter(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    begun = await passkeys.begin_assertion(app.store, "login")
    credential, challenge = authenticator.get(begun.options), begun.challenge.reveal()
    uses = []
    for _ in range(2):
        verified = await passkeys.verify_assertion(app.store, credential, challenge, "login")
        assert verified is not None
        async with app.store.transaction():
            uses.append(await passkeys.record_use(app.store, verified))
    assert uses == [True, False]


@pytest.mark.asvs("S25")
async def test_a_counter_that_goes_back_or_stays_is_refused(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    authenticator.counter_step = 5
    verified = await log_in(app.store, authenticator)
    assert verified is not None
    async with app.store.transaction():
        assert await passkeys.record_use(app.store, verified)
    assert await app.rows("SELECT sign_count FROM passkeys") == [(5,)]
    for sign_count in (0, 4, 5):
        authenticator.sign_count, authenticator.counter_step = sign_count, 0
        assert await log_in(app.store, authenticator) is None
    authenticator.sign_count = 6
    assert await log_in(app.store, authenticator) is not None


async def test_two_assertions_with_one_counter_are_recorded_once(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    authenticator.sign_count = 1
    both = [await log_in(app.store, authenticator) for _ in range(2)]
    uses = []
    for verified in both:
        assert verified is not None
        async with app.store.transaction():
            uses.append(await passkeys.record_use(app.store, verified))
    assert uses == [True, False]


async def test_a_changed_backup_state_is_recorded(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    authenticator.is_synced = False
    verified = await log_in(app.store, authenticator)
    assert verified is not None
    async with app.store.transaction():
        assert await passkeys.record_use(app.store, verified)
    ((backed_up, last_used_at),) = await app.rows("SELECT backed_up, last_used_at FROM passkeys")
    assert not backed_up
    assert last_used_at is not None


async def test_a_site_at_an_ip_address_offers_no_passkeys(make_app: Callable) -> None:
    app = await make_app(BASE_URL="http://127.0.0.1:8000")
    begun = await passkeys.begin_assertion(app.store, "login")
    assert (begun.is_offered, begun.options, begun.challenge.reveal()) == (False, "", "")


@pytest.mark.asvs("S25")
async def test_five_hundred_mutations_of_a_credential_are_refused(
    app: TestApp, authenticator: SoftAuthenticator
) -> None:
    begun = await passkeys.begin_assertion(app.store, "login")
    valid, challenge = authenticator.get(begun.options), begun.challenge.reveal()
    drawn = random.Random(16)
    accepted = []
    for number in range(500):
        mutated = mutate(valid, drawn)
        verified = await passkeys.verify_assertion(app.store, mutated, challenge, "login")
        if verified is not None and differs(mutated, valid):
            accepted.append((number, mutated))
    assert accepted == []
    assert await passkeys.verify_assertion(app.store, valid, challenge, "login")


GARBAGE = [
    *("", "null", "[]", "{}", "1", '"text"', "{" * 9_000, "[" * 16_000, "\x00", "x" * 17_000),
    *('{"id": 1, "response": {}}', '{"id": "a", "response": {}}', '{"id": "a", "response": []}'),
    *('{"id": "é", "response": {}}', '{"id": "a\\u0000", "response": {}}'),
    '{"id": "a", "response": {}, "response": {"clientDataJSON": {}}}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_refused(app: TestApp, sudo: Sudo[Viewer], garbage: str) -> None:
    login = await passkeys.begin_assertion(app.store, "login")
    challenge = login.challenge.reveal()
    assert await passkeys.verify_assertion(app.store, garbage, challenge, "login") is None
    assert await passkeys.verify_assertion(app.store, garbage, garbage, "login") is None
    creation = await passkeys.begin_creation(sudo, email="a@example.com", site_name="Latchkey")
    assert await passkeys.verify_creation(sudo, garbage, creation.challenge.reveal()) is None


def mutate(credential: str, drawn: random.Random) -> str:
    """Returns the credential with a changed character, a removed member, or another value."""
    given = json.loads(credential)
    members = [(given, name) for name in given if name != "response"]
    members += [(given["response"], name) for name in given["response"]]
    parent, name = drawn.choice(members)
    other = [None, "", 0, [], {}, "\x00", "é", "A" * 5, [[[]]], "-" * 3_000, True]
    way = drawn.randrange(4)
    if way == 0:
        at = drawn.randrange(len(credential))
        return credential[:at] + chr(drawn.randrange(1, 0x250)) + credential[at + 1 :]
    if way == 1:
        del parent[name]
    elif way == 2:
        parent[name] = drawn.choice(other)
    elif isinstance(parent[name], str) and parent[name]:
        raw = bytearray(decode(parent[name])) if name in given["response"] else bytearray(b"x")
        raw[drawn.randrange(len(raw))] ^= 1 << drawn.randrange(8)
        parent[name] = encode(bytes(raw))
    return json.dumps(given)


def differs(mutated: str, valid: str) -> bool:
    """Returns whether the change concerns anything that is verified."""
    try:
        given, wanted = json.loads(mutated), json.loads(valid)
    except ValueError:
        return True
    for unverified in ("authenticatorAttachment", "clientExtensionResults"):
        given.pop(unverified, None)
        wanted.pop(unverified, None)
    return bool({name: given.get(name) for name in wanted} != wanted)
