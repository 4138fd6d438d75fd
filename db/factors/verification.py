"""Verifies what a user gives as a second step: a code of the app, a recovery code or a passkey.

A log-in and a confirmation call the same two functions: `prepare` before the transaction, because a
passkey is verified in a thread, and `accept` inside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from db.crypto.secret import Secret
from db.factors import passkeys, recovery_codes, totp
from db.factors.passkeys import ChallengeUse, VerifiedPasskey
from db.factors.totp import StoredApp
from db.sessions.sudo import Method
from db.store import Store


@dataclass(frozen=True, slots=True)
class GivenFactor:
    """What a form contains. Exactly one of `code`, `recovery_code` and `credential` counts, in this
    order. `challenge` belongs to `credential`, which is JSON.
    """

    code: Secret[str] = field(repr=False)
    recovery_code: Secret[str] = field(repr=False)
    credential: str = field(default="", repr=False)
    challenge: str = field(default="", repr=False)

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "GivenFactor":
        """Returns what the fields of a form contain. Missing fields are empty."""
        return cls(
            code=Secret(fields.get("code", "")),
            recovery_code=Secret(fields.get("recovery_code", "")),
            credential=fields.get("credential", ""),
            challenge=fields.get("challenge", ""),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.code.reveal() or self.recovery_code.reveal() or self.credential)


@dataclass(frozen=True, slots=True)
class PreparedFactor:
    """A given factor whose passkey, if it is one, was verified."""

    given: GivenFactor
    passkey: VerifiedPasskey | None


async def prepare(
    store: Store, user_id: str, given: GivenFactor, use: ChallengeUse, *, sid_hash: str = ""
) -> PreparedFactor:
    """Verifies the passkey if one is given. `use` and `sid_hash` are those of its challenge."""
    if given.code.reveal() or given.recovery_code.reveal() or not given.credential:
        return PreparedFactor(given, None)
    passkey = await passkeys.verify_assertion(
        store, given.credential, given.challenge, use, user_id=user_id, sid_hash=sid_hash
    )
    return PreparedFactor(given, passkey)


async def accept(
    store: Store, user_id: str, prepared: PreparedFactor, app: StoredApp | None = None
) -> Method | None:
    """Uses the factor, and returns which one it was; None if it is wrong or was used already.

    `app` is the authenticator app of the account if the caller has read it. Must run in the
    transaction of what the factor allows, which has locked the user.
    """
    given = prepared.given
    if given.code.reveal():
        return "authenticator app" if await totp.use_code(store, user_id, given.code, app) else None
    if given.recovery_code.reveal():
        used = await recovery_codes.use_code(store, user_id, given.recovery_code)
        return "recovery code" if used else None
    if prepared.passkey is not None and await passkeys.record_use(store, prepared.passkey):
        return "passkey"
    return None
