"""The type of a verified identity: what a provider said about a user, after every check."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from db.crypto.encrypted_tokens import EncryptedTokens
from db.crypto.secret import Secret

_ISSUED: Final = object()


@dataclass(frozen=True, slots=True)
class Asserted:
    """An identity that a provider asserted, and whose assertion was verified.

    Only `db.providers` creates one. `issuer` and `subject` are the identity; everything else only
    describes it. `email` is canonical, and `name` is what the provider sent, not validated as a
    form field. Both are empty if it sent none. `has_trusted_email` is true if the provider verified
    the email and its word counts. `authenticated_at` is the claim `auth_time` in seconds since
    1970, None if absent. `sid_hash` is the hash of the issuer and its claim `sid`, empty if it sent
    none. `role` is the role that the user has according to an organization's provider, empty if the
    provider has no say in it.
    """

    provider: str
    issuer: str
    subject: str = field(repr=False)
    email: str = field(repr=False)
    has_trusted_email: bool
    name: str = field(repr=False)
    authenticated_at: float | None
    sid_hash: str = field(repr=False)
    role: str
    capability: object = field(repr=False, compare=False)
    # The claims of the encrypted token, if the identity came from the cookie.
    token: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.capability is not _ISSUED:
            raise TypeError("only db.providers may create an Asserted")

    @property
    def subject_hash(self) -> str:
        return hash_with_issuer(self.issuer, self.subject)


def issue_asserted(
    provider: str,
    issuer: str,
    subject: str,
    *,
    email: str,
    has_trusted_email: bool,
    name: str,
    authenticated_at: float | None = None,
    sid: str = "",
    role: str = "",
) -> Asserted:
    """Returns an identity. Only modules of `db.providers` may call it, after their checks."""
    return Asserted(
        provider,
        issuer,
        subject,
        email,
        has_trusted_email,
        name,
        authenticated_at,
        hash_with_issuer(issuer, sid) if sid else "",
        role,
        _ISSUED,
    )


def hash_with_issuer(issuer: str, value: str) -> str:
    """Returns the SHA-256 of a subject or a `sid` with its issuer, in hex. Sessions are marked with
    it.
    """
    return hashlib.sha256(f"{issuer}\n{value}".encode()).hexdigest()


def encrypt_asserted(
    tokens: EncryptedTokens, asserted: Asserted, *, session_hash: str = ""
) -> Secret[str]:
    """Returns the identity as an encrypted token, which the browser keeps until it is used.

    `session_hash` is that of the only session that may use it, empty if any may.
    """
    return tokens.encrypt(
        "identity",
        {
            "provider": asserted.provider,
            "issuer": asserted.issuer,
            "subject": asserted.subject,
            "email": asserted.email,
            "has_trusted_email": asserted.has_trusted_email,
            "name": asserted.name,
            "sid_hash": asserted.sid_hash,
            "role": asserted.role,
            "session_hash": session_hash,
        },
    )


def decrypt_asserted(tokens: EncryptedTokens, token: str | None) -> Asserted | None:
    """Returns the identity of an encrypted token; None if there is none or it has expired."""
    claims = tokens.decrypt("identity", token)
    if claims is None:
        return None
    return Asserted(
        claims["provider"],
        claims["issuer"],
        claims["subject"],
        claims["email"],
        claims["has_trusted_email"],
        claims["name"],
        None,
        # Tokens before schema 0009 lack the next two.
        claims.get("sid_hash", ""),
        claims.get("role", ""),
        _ISSUED,
        claims,
    )
