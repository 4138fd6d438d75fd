"""Verifies logout tokens, with which a provider ends the sessions that its log-ins have begun
(OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc.jwk import KeySet

from db.errors import ProviderRefused
from db.providers.asserted import hash_with_issuer
from db.providers.id_token import (
    LEEWAY_SECONDS,
    MAX_SID_CHARS,
    MAX_SUBJECT_CHARS,
    TENANT_PATTERN,
    decode_signed,
)
from db.providers.provider import TENANT_PLACEHOLDER, Provider

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
TYPES: Final = frozenset({"logout+jwt", "jwt"})
# Providers make a token for each delivery, and it expires within two minutes (section 4). Tokens
# from before the final standard have no `exp`, so this limits their age as well.
MAX_AGE_SECONDS: Final = 300

_ISSUED: Final = object()


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """A log-out at a provider, from a token that was verified.

    Only this module creates one. Of `subject` and `sid`, one may be empty: the log-out is of all
    sessions of the subject, or of the session at the provider. `token_hash` identifies the token,
    which may be used once; it stays acceptable until `acceptable_until`, in seconds since 1970.
    """

    issuer: str
    subject: str = field(repr=False)
    sid: str = field(repr=False)
    token_hash: str = field(repr=False)
    acceptable_until: float
    capability: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.capability is not _ISSUED:
            raise TypeError("only db.providers.logout_token may create a LoggedOut")

    @property
    def subject_hash(self) -> str:
        """Returns the hash that sessions are marked with; empty without a subject."""
        return hash_with_issuer(self.issuer, self.subject) if self.subject else ""

    @property
    def sid_hash(self) -> str:
        """Returns the hash that sessions are marked with; empty without a `sid`."""
        return hash_with_issuer(self.issuer, self.sid) if self.sid else ""


def read_logout_token(
    provider: Provider, logout_token: object, keys: KeySet, *, now: float
) -> LoggedOut | None:
    """Returns the log-out of a token after every check; None if none of the keys signed it.

    An ID token is refused, because it has a nonce and no event. Raises ProviderRefused.
    """
    token = decode_signed(logout_token, keys, "logout_token")
    if token is None:
        return None
    claims = token.claims
    _require_type(token.header)
    issuer = _read_issuer(provider, claims)
    _require_audience(provider, claims.get("aud"))
    issued_at = _read_time(claims, "iat")
    if not now - MAX_AGE_SECONDS <= issued_at <= now + LEEWAY_SECONDS:
        raise ProviderRefused("logout_token_iat")
    if "exp" in claims and _read_time(claims, "exp") <= now - LEEWAY_SECONDS:
        raise ProviderRefused("logout_token_exp")
    _require_event(claims)
    subject = _read_text(claims, "sub", MAX_SUBJECT_CHARS)
    sid = _read_text(claims, "sid", MAX_SID_CHARS)
    if not (subject or sid):
        raise ProviderRefused("logout_token_sub")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not token_id:
        raise ProviderRefused("logout_token_jti")
    token_hash = hashlib.sha256(f"logout\n{issuer}\n{token_id}".encode()).hexdigest()
    # The clock of another host may be behind.
    acceptable_until = issued_at + MAX_AGE_SECONDS + LEEWAY_SECONDS
    return LoggedOut(issuer, subject, sid, token_hash, acceptable_until, _ISSUED)


def _require_type(header: Mapping[str, Any]) -> None:
    """Raises ProviderRefused if the token says that it is something else (RFC 8725, section
    3.11).
    """
    token_type = header.get("typ", "JWT")
    if not isinstance(token_type, str) or token_type.lower() not in TYPES:
        raise ProviderRefused("logout_token_typ")


def _read_issuer(provider: Provider, claims: Mapping[str, Any]) -> str:
    """Returns the issuer; with several tenants, that of one tenant. Raises ProviderRefused."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not provider.has_issuer(issuer):
        raise ProviderRefused("logout_token_iss")
    if provider.has_many_tenants:
        start, _, end = provider.issuer.partition(TENANT_PLACEHOLDER)
        tenant = issuer[len(start) : len(issuer) - len(end)]
        if not TENANT_PATTERN.fullmatch(tenant) or claims.get("tid", tenant) != tenant:
            raise ProviderRefused("logout_token_iss")
    return issuer


def _require_audience(provider: Provider, audience: object) -> None:
    audiences = audience if isinstance(audience, list) else [audience]
    if provider.client_id not in audiences:
        raise ProviderRefused("logout_token_aud")


def _read_time(claims: Mapping[str, Any], name: str) -> float:
    """Returns a time in seconds since 1970. Raises ProviderRefused."""
    value = claims.get(name)
    # Python's JSON parser accepts NaN and Infinity.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProviderRefused(f"logout_token_{name}")
    return value


def _require_event(claims: Mapping[str, Any]) -> None:
    """Raises ProviderRefused unless the token is one of a log-out, and no ID token."""
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise ProviderRefused("logout_token_events")
    if "nonce" in claims:
        raise ProviderRefused("logout_token_nonce")


def _read_text(claims: Mapping[str, Any], name: str, max_chars: int) -> str:
    """Returns a claim, empty if it is absent. Raises ProviderRefused."""
    if name not in claims:
        return ""
    value = claims[name]
    if not isinstance(value, str) or not 0 < len(value) <= max_chars:
        raise ProviderRefused(f"logout_token_{name}")
    return value
