"""Verifies ID tokens (OpenID Connect Core 1.0, section 3.1.3.7), and reads a provider's keys."""

import re
from collections.abc import Mapping
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from db.errors import ProviderRefused
from db.providers.provider import TENANT_PLACEHOLDER, Provider

# No algorithm with a shared secret: a client secret has less entropy than a key, and a public key
# must not be accepted as a secret (RFC 8725, section 3.1).
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
KEY_TYPES: Final[Mapping[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
LEEWAY_SECONDS: Final = 60
MAX_TOKEN_CHARS: Final = 32_000
MAX_SUBJECT_CHARS: Final = 255  # Core, section 2
MAX_SID_CHARS: Final = 500
MAX_KEYS: Final = 50
TENANT_PATTERN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_keys(document: Mapping[str, Any]) -> KeySet:
    """Returns the public keys of a JWKS document (RFC 7517) that can verify signatures.

    Leaves out every other key, since one key of an unknown type must not make the others unusable.
    """
    entries = document.get("keys")
    keys: list[Key] = []
    for entry in entries[:MAX_KEYS] if isinstance(entries, list) else ():
        key = _read_key(entry)
        if key is not None:
            keys.append(key)
    return KeySet(keys)


def _read_key(entry: object) -> RSAKey | ECKey | OKPKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    key_type = KEY_TYPES.get(str(entry.get("kty")))
    if key_type is None:
        return None
    try:
        return key_type.import_key(entry)
    # A malformed key also raises KeyError and errors of `cryptography`.
    except Exception:
        return None


def read_claims(
    provider: Provider,
    id_token: object,
    keys: KeySet,
    *,
    nonce: str,
    access_token: str,
    now: float,
) -> Mapping[str, Any] | None:
    """Returns the claims of an ID token after every check; None if none of the keys signed it.

    Raises ProviderRefused.
    """
    token = decode_signed(id_token, keys, "id_token")
    if token is None:
        return None
    try:
        _require_valid(provider, token, nonce, access_token, now)
    except ProviderRefused:
        raise
    except Exception as error:
        raise ProviderRefused(_code_of(error)) from None
    return token.claims


def decode_signed(text: object, keys: KeySet, name: str) -> jwt.Token | None:
    """Returns a token of which only the signature was checked; None if none of the keys signed it.

    `name` is a part of the error code. Raises ProviderRefused.
    """
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TOKEN_CHARS:
        raise ProviderRefused(f"no_{name}")
    try:
        return jwt.decode(text, keys, ALGORITHMS)
    except (BadSignatureError, InvalidKeyIdError):
        return None
    # A token of someone else can raise anything, also RecursionError.
    except Exception:
        raise ProviderRefused(name) from None


def _require_valid(
    provider: Provider, token: jwt.Token, nonce: str, access_token: str, now: float
) -> None:
    claims = token.claims
    header = dict(token.header)
    if header["alg"] == "Ed25519":  # Authlib derives the hash of `at_hash` from the older name.
        header["alg"] = "EdDSA"
    options = {
        "iss": {"essential": True, "value": _expected_issuer(provider, claims)},
        "aud": {"essential": True, "value": provider.client_id},
        "sub": {"essential": True},
    }
    params = {"nonce": nonce, "client_id": provider.client_id, "access_token": access_token}
    CodeIDToken(claims, header, options, params).validate(now=int(now), leeway=LEEWAY_SECONDS)
    require_subject(claims["sub"])


def _expected_issuer(provider: Provider, claims: Mapping[str, Any]) -> str:
    """Returns the issuer that the token must have; with several tenants, that of its `tid`."""
    if not provider.has_many_tenants:
        return provider.issuer
    tenant = claims.get("tid")
    if not isinstance(tenant, str) or not TENANT_PATTERN.fullmatch(tenant):
        raise ProviderRefused("id_token_tid")
    return provider.issuer.replace(TENANT_PLACEHOLDER, tenant)


def require_subject(subject: object) -> str:
    """Returns a subject that can be stored. Raises ProviderRefused.

    PostgreSQL cannot store NUL in text. A subject is ASCII (Core, section 2), and the cookie of the
    identity could not hold a longer one.
    """
    is_valid = (
        isinstance(subject, str)
        and 0 < len(subject) <= MAX_SUBJECT_CHARS
        and subject.isascii()
        and subject.isprintable()
        and subject.strip() == subject
    )
    if not is_valid:
        raise ProviderRefused("subject")
    return str(subject)


def read_sid(sid: object) -> str:
    """Returns the id of the session at the provider (OpenID Connect Front-Channel Logout 1.0,
    section 3), empty if it is absent. Raises ProviderRefused.
    """
    if sid is None:
        return ""
    if not isinstance(sid, str) or not 0 < len(sid) <= MAX_SID_CHARS:
        raise ProviderRefused("id_token_sid")
    return sid


def _code_of(error: Exception) -> str:
    """Returns which claim was wrong, for the log. joserfc's errors name it."""
    claim = str(getattr(error, "claim", ""))
    return f"id_token_{claim}" if re.fullmatch(r"[a-z_]{1,20}", claim) else "id_token"
