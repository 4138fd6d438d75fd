"""The ceremonies of passkeys (WebAuthn Level 3, section 7): challenges, options, verification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from db.crypto.secret import Secret
from db.store import Store

# What a challenge is for. `login`: no account is known. The others belong to an account, and those
# of a session to that session.
ChallengeUse = Literal["login", "factor", "confirm", "create"]


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
class Ceremony:
    """What a page needs to ask the browser for a passkey.

    `challenge` is the value of the hidden field, and `options` the JSON for the browser, whose
    challenge is the one inside the token.
    """

    challenge: Secret[str] = field(repr=False)
    options: str


async def begin_assertion(
    store: Store, use: ChallengeUse, *, user_id: str = "", sid_hash: str = ""
) -> Ceremony:
    """Returns the options of `navigator.credentials.get`. Queries the passkeys of the account if
    one is known.
    """
    raise NotImplementedError


async def verify_assertion(
    store: Store,
    credential: str,
    challenge: str,
    use: ChallengeUse,
    *,
    user_id: str = "",
    sid_hash: str = "",
) -> VerifiedPasskey | None:
    """Returns the passkey that signed the challenge; None for anything else, never an error."""
    raise NotImplementedError


async def record_use(store: Store, verified: VerifiedPasskey) -> bool:
    """Uses up the challenge and stores the new counter, and returns False if another request did.

    Must run in the transaction of what the passkey allows.
    """
    raise NotImplementedError
