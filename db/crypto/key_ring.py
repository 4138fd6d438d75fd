"""The key ring: it signs or encrypts what a browser keeps for us, and tells whether what comes back
is ours.
"""

import hashlib
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from db.crypto.secret import Secret

# pinned: what a token's own header asks for is never believed (RFC 8725, section 3.1)
SIGNED: Final = {"alg": "HS256"}
ENCRYPTED: Final = {"alg": "dir", "enc": "A256GCM"}
LONGEST: Final = 4096  # characters; a browser keeps no cookie longer than that
REMEMBERED: Final = 10_000  # tokens that were found good


class KeyRing:
    """Several secrets: the first seals, all open, each found by its `kid` (RFC 7515, section
    4.1.4).

    A token is a JWS or, where `encrypted`, a JWE, whose claims nobody else can read; one is never
    taken for the other.
    """

    def __init__(
        self, secrets: Sequence[Secret[bytes]], now: Callable[[], float], *, encrypted: bool = False
    ) -> None:
        self._header = ENCRYPTED if encrypted else SIGNED
        self._algorithms = list(self._header.values())
        self._registry = (
            JWERegistry(algorithms=self._algorithms)
            if encrypted
            else JWSRegistry(algorithms=["HS256"])
        )
        self._dots = 4 if encrypted else 2
        keys = [
            _encryption_key(secret) if encrypted else _signing_key(secret) for secret in secrets
        ]
        self._first, self._keys = keys[0], KeySet([*keys])
        self._kids = {key.kid for key in keys}
        self._now = now
        self._claims = _Claims(exp={"essential": True})
        self._known: dict[str, Mapping[str, Any]] = {}

    def seal(self, claims: Mapping[str, Any]) -> Secret[str]:
        """A JWT (RFC 7519) of these claims, under the first key."""
        header = {**self._header, "kid": self._first.kid}
        return Secret(
            jwt.encode(header, dict(claims), self._first, self._algorithms, self._registry)
        )

    def open(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that one of our keys has sealed and that has not expired; None for
        anything else.
        """
        claims = self._known.get(token) or self._decode(token)
        if claims is None or claims["exp"] <= self._now():
            self._known.pop(token, None)
            return None
        return claims

    def _decode(self, token: str) -> Mapping[str, Any] | None:
        if len(token) > LONGEST or token.count(".") != self._dots:
            return None
        try:
            decoded = jwt.decode(token, self._keys, self._algorithms, self._registry)
            self._claims.validate(decoded.claims)
        # whatever it was, it is not ours
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if decoded.header.get("kid") not in self._kids:
            return None
        return self._remember(token, MappingProxyType(decoded.claims))

    def _remember(self, token: str, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """A seal is checked once, its expiry every time.

        Whether the session lives is not ours to say.
        """
        if len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[token] = claims
        return claims


class _Claims(JWTClaimsRegistry):
    """joserfc's, but for the clock: it refuses an `iat` that is 0.3 s ahead, and two hosts differ
    by more than that.
    """

    def validate_iat(self, value: object) -> None:
        _require_date(value)

    def validate_exp(self, value: object) -> None:
        _require_date(value)  # `KeyRing.open` compares it with the clock, each time


def _require_date(value: object) -> None:
    """NumericDate may be fractional (RFC 7519, section 2); it is a number, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a NumericDate")


def _signing_key(secret: Secret[bytes]) -> OctKey:
    """The secret's own bytes, under a name made from them that does not give them away."""
    return OctKey.import_key(secret.reveal(), {"kid": _kid(secret), "use": "sig", "alg": "HS256"})


def _encryption_key(secret: Secret[bytes]) -> OctKey:
    """A key of its own, derived by HKDF (RFC 5869): what signs must not also encrypt."""
    key = HKDF(SHA256(), 32, salt=None, info=b"latchkey session cookie A256GCM").derive(
        secret.reveal()
    )
    return OctKey.import_key(key, {"kid": _kid(secret), "use": "enc", "alg": "dir"})


def _kid(secret: Secret[bytes]) -> str:
    return urlsafe_b64encode(
        hashlib.sha256(b"latchkey kid\0" + secret.reveal()).digest()[:9]
    ).decode()
