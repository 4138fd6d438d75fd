"""Sudo: the proof that the user of a session confirmed their identity within the last ten minutes.

It is a cookie that is bound to the session, so it needs no row. A thief with a copy of the session
cookie alone does not get it when the user confirms.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from db.crypto.encrypted_tokens import LIFETIMES
from db.errors import NotConfirmed
from db.sessions.claims import NewCookie, hash_sid
from db.store import Store
from db.viewer import Claims, Viewer

V = TypeVar("V", bound=Viewer)
V_co = TypeVar("V_co", bound=Viewer, covariant=True)

# How the user confirmed their identity. `token`: a program with an access token, whose creation
# needed a confirmation. `provider`: a log-in at a provider, if the account has nothing stronger.
Method = Literal["password", "passkey", "authenticator app", "recovery code", "token", "provider"]
METHODS: Final = frozenset(
    {"password", "passkey", "authenticator app", "recovery code", "token", "provider"}
)

_ISSUED: Final = object()


@dataclass(frozen=True, slots=True)
class Confirmation:
    """When and how the user of a session confirmed their identity.

    `confirmed_at` is in seconds since 1970, exact to the microsecond.
    """

    confirmed_at: float
    method: Method


@dataclass(frozen=True, slots=True)
class Sudo(Generic[V_co]):
    """A viewer who confirmed their identity within the last ten minutes.

    Only this module creates one. `sid_hash` identifies the session, also a stateless one; it is
    empty for an access token.
    """

    viewer: V_co
    confirmation: Confirmation
    sid_hash: str = field(repr=False)
    capability: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.capability is not _ISSUED:
            raise TypeError("only db.sessions.sudo may create a Sudo")


def confirm_now(store: Store, method: Method) -> Confirmation:
    """Returns a confirmation of this moment. The caller has verified the user."""
    return Confirmation(store.now().timestamp(), method)


def encode_sudo(store: Store, claims: Claims, confirmation: Confirmation) -> NewCookie:
    """Returns the cookie of a confirmation, for the session of these claims.

    A session that replaces another keeps the moment of the confirmation.
    """
    token = store.encrypted_tokens.encrypt(
        "sudo",
        {
            "sub": claims.user_id,
            "sid_hash": hash_sid(claims.sid),
            "at": confirmation.confirmed_at,
            "method": confirmation.method,
        },
    )
    return NewCookie(token, int(LIFETIMES["sudo"].total_seconds()))


def read_confirmation(
    store: Store, claims: Claims | None, cookie: str | None
) -> Confirmation | None:
    """Returns the confirmation in the cookie; None unless it is of this session and recent."""
    found = store.encrypted_tokens.decrypt("sudo", cookie)
    if claims is None or found is None:
        return None
    is_of_session = found.get("sub") == claims.user_id and hmac.compare_digest(
        str(found.get("sid_hash")), hash_sid(claims.sid)
    )
    confirmed_at, method = found.get("at"), found.get("method")
    if not is_of_session or method not in METHODS or not isinstance(confirmed_at, float):
        return None
    age = store.now().timestamp() - confirmed_at
    if age >= LIFETIMES["sudo"].total_seconds():
        return None
    return Confirmation(confirmed_at, method)


def require_sudo(viewer: V, claims: Claims | None, cookie: str | None) -> Sudo[V]:
    """Returns the viewer with their confirmation, without a query. Raises NotConfirmed.

    A viewer with an access token counts as confirmed, because its creation needed a confirmation.
    Functions that no access token may call have a check of their own, `require_session`.
    """
    if viewer.scopes is not None:
        return Sudo(viewer, confirm_now(viewer.store, "token"), "", _ISSUED)
    confirmation = read_confirmation(viewer.store, claims, cookie)
    if confirmation is None or claims is None or claims.user_id != viewer.id:
        raise NotConfirmed
    return Sudo(viewer, confirmation, hash_sid(claims.sid), _ISSUED)
