"""The ceremonies of passkeys (WebAuthn Level 3, section 7): challenges, options, and their use."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Any, Final, Literal

from sqlalchemy import bindparam, select, update

from db.crypto.encrypted_tokens import LIFETIMES
from db.crypto.secret import Secret
from db.engine.statement import Statement
from db.factors.passkey_verification import (
    ALGORITHMS,
    check_assertion,
    check_creation,
    encode_bytes,
    known_transports,
    parse_credential,
)
from db.sessions.sudo import Sudo
from db.store import Store, pick
from db.tables import Instant, passkeys
from db.used_tokens import use_token
from db.viewer import Viewer

# What a challenge is for. `login`: no account is known. The others belong to an account, and those
# of a session to that session.
ChallengeUse = Literal["login", "factor", "confirm", "create"]

CHALLENGE_BYTES: Final = 32
TIMEOUT_MILLISECONDS: Final = int(LIFETIMES["challenge"].total_seconds() * 1000)


@dataclass(frozen=True, slots=True)
class VerifiedPasskey:
    """An assertion whose signature was verified, and whose challenge was not used up yet."""

    passkey_id: str
    user_id: str
    sign_count: int
    new_sign_count: int
    backed_up: bool
    challenge: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A created passkey whose challenge was verified, and was not used up yet.

    `credential_id` and `public_key` are base64url, as the database stores them.
    """

    credential_id: str
    public_key: str
    sign_count: int
    aaguid: str
    transports: str
    backed_up: bool
    challenge: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What a page needs to ask the browser for a passkey.

    `challenge` is the value of the hidden field, and `options` the JSON for the browser, whose
    challenge is the one inside the token. Both are empty if no passkey can be offered.
    """

    challenge: Secret[str] = field(repr=False)
    options: str

    @property
    def is_offered(self) -> bool:
        return bool(self.options)


NOT_OFFERED: Final = Ceremony(Secret(""), "")


@dataclass(frozen=True, slots=True)
class _Credential:
    credential_id: str
    transports: str


@dataclass(frozen=True, slots=True)
class _StoredPasskey:
    id: str
    user_id: str
    public_key: str
    sign_count: int


CREDENTIALS = Statement(
    pick(_Credential, passkeys)
    .where(passkeys.c.user_id == bindparam("user_id"), passkeys.c.rp_id == bindparam("rp_id"))
    .order_by(passkeys.c.created_at, passkeys.c.id)
)
STORED_PASSKEY = Statement(
    pick(_StoredPasskey, passkeys).where(
        passkeys.c.credential_id == bindparam("credential_id"),
        passkeys.c.rp_id == bindparam("rp_id"),
    )
)
CREDENTIAL_IS_KNOWN = Statement(
    select(passkeys.c.id).where(passkeys.c.credential_id == bindparam("credential_id"))
)
# The counter decides between concurrent uses of an authenticator that counts.
RECORD_USE = Statement(
    update(passkeys)
    .where(passkeys.c.id == bindparam("passkey_id"), passkeys.c.sign_count == bindparam("seen"))
    .values(
        sign_count=bindparam("new_sign_count"),
        backed_up=bindparam("is_backed_up"),
        last_used_at=bindparam("now", type_=Instant),
    )
    .returning(passkeys.c.id)
)


async def begin_assertion(
    store: Store, use: ChallengeUse, *, user_id: str = "", sid_hash: str = ""
) -> Ceremony:
    """Returns the options of `navigator.credentials.get`. Queries the passkeys of the account if
    one is known.

    Offers nothing if the site or the account has no passkeys.
    """
    if not store.factors.rp_id:
        return NOT_OFFERED
    own = await _list_credentials(store, user_id) if user_id else []
    if user_id and not own:
        return NOT_OFFERED
    options = {
        "rpId": store.factors.rp_id,
        "allowCredentials": own,
        "userVerification": "required",
        "timeout": TIMEOUT_MILLISECONDS,
    }
    return _make_ceremony(store, use, options, user_id=user_id, sid_hash=sid_hash)


async def begin_creation(sudo: Sudo[Viewer], *, email: str, site_name: str) -> Ceremony:
    """Returns the options of `navigator.credentials.create`. Queries the passkeys of the account,
    whose authenticators then create no second one.

    Authenticators show the email, and some of them `site_name`.
    """
    viewer, store = sudo.viewer, sudo.viewer.store
    if not store.factors.rp_id:
        return NOT_OFFERED
    options = {
        "rp": {"id": store.factors.rp_id, "name": site_name},
        "user": {
            "id": encode_bytes(viewer.id.encode()),
            "name": email,
            "displayName": viewer.name,
        },
        "pubKeyCredParams": [{"type": "public-key", "alg": number} for number in ALGORITHMS],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
        "excludeCredentials": await _list_credentials(store, viewer.id),
        "timeout": TIMEOUT_MILLISECONDS,
    }
    return _make_ceremony(store, "create", options, user_id=viewer.id, sid_hash=sudo.sid_hash)


async def verify_assertion(
    store: Store,
    credential: str,
    challenge: str,
    use: ChallengeUse,
    *,
    user_id: str = "",
    sid_hash: str = "",
) -> VerifiedPasskey | None:
    """Returns the passkey that signed the challenge; None for anything else, never an error.

    With `user_id`, the passkey must be one of that account.
    """
    claims = _read_challenge(store, challenge, use, user_id, sid_hash)
    given = parse_credential(credential)
    if claims is None or given is None:
        return None
    stored: _StoredPasskey | None = await store.one(
        STORED_PASSKEY(credential_id=given["id"], rp_id=store.factors.rp_id)
    )
    if stored is None or (user_id and stored.user_id != user_id):
        return None
    verified = await asyncio.to_thread(
        check_assertion,
        store.factors,
        given,
        claims["challenge"],
        public_key=stored.public_key,
        sign_count=stored.sign_count,
        user_id=stored.user_id,
        is_user_known=bool(user_id),
    )
    if verified is None:
        return None
    return VerifiedPasskey(
        stored.id,
        stored.user_id,
        stored.sign_count,
        verified.new_sign_count,
        verified.credential_backed_up,
        claims,
    )


async def verify_creation(sudo: Sudo[Viewer], credential: str, challenge: str) -> NewPasskey | None:
    """Returns the created passkey; None for anything but the answer to this session's challenge."""
    store = sudo.viewer.store
    claims = _read_challenge(store, challenge, "create", sudo.viewer.id, sudo.sid_hash)
    given = parse_credential(credential)
    if claims is None or given is None:
        return None
    verified = await asyncio.to_thread(check_creation, store.factors, given, claims["challenge"])
    if verified is None:
        return None
    return NewPasskey(
        encode_bytes(verified.credential_id),
        encode_bytes(verified.credential_public_key),
        verified.sign_count,
        verified.aaguid,
        known_transports(given["response"].get("transports")),
        verified.credential_backed_up,
        claims,
    )


async def record_use(store: Store, verified: VerifiedPasskey) -> bool:
    """Uses up the challenge and stores the new counter, and returns False if another request did.

    Must run in the transaction of what the passkey allows. Without the use of the challenge, the
    assertion of an authenticator that does not count would work again.
    """
    if not await use_token(store, verified.challenge):
        return False
    used = await store.value(
        RECORD_USE(
            passkey_id=verified.passkey_id,
            seen=verified.sign_count,
            new_sign_count=verified.new_sign_count,
            is_backed_up=verified.backed_up,
            now=store.now(),
        )
    )
    return used is not None


async def find_unknown_credential(store: Store, credential: str) -> str:
    """Returns the id of a given credential that no account has, else an empty string.

    Browsers can then delete the passkey (WebAuthn Level 3, section 5.1.10).
    """
    given = parse_credential(credential)
    if given is None:
        return ""
    known = await store.value(CREDENTIAL_IS_KNOWN(credential_id=given["id"]))
    return given["id"] if known is None else ""


async def _list_credentials(store: Store, user_id: str) -> list[dict[str, object]]:
    own: Sequence[_Credential] = await store.all(
        CREDENTIALS(user_id=user_id, rp_id=store.factors.rp_id)
    )
    return [
        {
            "type": "public-key",
            "id": passkey.credential_id,
            "transports": passkey.transports.split(),
        }
        for passkey in own
    ]


def _make_ceremony(
    store: Store,
    use: ChallengeUse,
    options: Mapping[str, object],
    *,
    user_id: str,
    sid_hash: str,
) -> Ceremony:
    challenge = encode_bytes(token_bytes(CHALLENGE_BYTES))
    token = store.encrypted_tokens.encrypt(
        "challenge", {"use": use, "sub": user_id, "sid_hash": sid_hash, "challenge": challenge}
    )
    return Ceremony(token, json.dumps({"challenge": challenge, **options}))


def _read_challenge(
    store: Store, token: str, use: ChallengeUse, user_id: str, sid_hash: str
) -> Mapping[str, Any] | None:
    """Returns the claims of the challenge; None unless it is of this use, account and session."""
    claims = store.encrypted_tokens.decrypt("challenge", token)
    if claims is None or not store.factors.rp_id:
        return None
    expected = (use, user_id, sid_hash)
    return claims if (claims["use"], claims["sub"], claims["sid_hash"]) == expected else None
