"""The key ring, which signs or encrypts the claims of cookies and verifies the cookies of
requests.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from db.crypto.macs import derive_key, key_id
from db.crypto.secret import Secret

# The algorithms are fixed, and the token's own header cannot choose another (RFC 8725, section
# 3.1).
SIGNED: Final = {"alg": "HS256"}
ENCRYPTED: Final = {"alg": "dir", "enc": "A256GCM"}
MAX_TOKEN_CHARS: Final = 4096  # Browsers store no longer cookie.
MAX_CACHED_TOKENS: Final = 10_000  # These are tokens whose signature was verified.


class KeyRing:
    """Several keys: the first encodes, all of them decode, each selected by its `kid` (RFC 7515,
    section 4.1.4).

    A token is a JWS or, with `encrypted`, a JWE, whose claims only the server can read. A JWS is
    never accepted as a JWE, nor the reverse. Tokens of more than `max_chars` characters are not
    decoded, and the claims of the last `max_cached` tokens are kept.
    """

    def __init__(
        self,
        secrets: Sequence[Secret[bytes]],
        now: Callable[[], float],
        *,
        encrypted: bool = False,
        max_chars: int = MAX_TOKEN_CHARS,
        max_cached: int = MAX_CACHED_TOKENS,
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
        self._first = keys[0]
        self._keys = KeySet([*keys])
        self._kids = {key.kid for key in keys}
        self._now = now
        self._max_chars = max_chars
        self._max_cached = max_cached
        self._claims = _Claims(exp={"essential": True})
        self._cache: dict[str, Mapping[str, Any]] = {}

    def encode(self, claims: Mapping[str, Any]) -> Secret[str]:
        """Returns a JWT (RFC 7519) of these claims, made with the first key."""
        header = {**self._header, "kid": self._first.kid}
        return Secret(
            jwt.encode(header, dict(claims), self._first, self._algorithms, self._registry)
        )

    def decode(self, token: str) -> Mapping[str, Any] | None:
        """Returns the claims of a token that one of the keys made and that has not expired; None
        for any other text.
        """
        claims = self._cache.get(token) or self._decode_token(token)
        if claims is None or claims["exp"] <= self._now():
            self._cache.pop(token, None)
            return None
        return claims

    def _decode_token(self, token: str) -> Mapping[str, Any] | None:
        if len(token) > self._max_chars or token.count(".") != self._dots:
            return None
        try:
            decoded = jwt.decode(token, self._keys, self._algorithms, self._registry)
            self._claims.validate(decoded.claims)
        # Any error while decoding means that the token is invalid.
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            return None
        if decoded.header.get("kid") not in self._kids:
            return None
        return self._cache_claims(token, MappingProxyType(decoded.claims))

    def _cache_claims(self, token: str, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Caches the claims of a token whose signature was verified.

        The expiry is checked at every call, and only the database decides whether the session is
        live.
        """
        if self._max_cached == 0:
            return claims
        if len(self._cache) >= self._max_cached:
            self._cache.pop(next(iter(self._cache)))
        self._cache[token] = claims
        return claims


class _Claims(JWTClaimsRegistry):
    """joserfc's claims validation without the clock, because it rejects an `iat` that is 0.3 s
    ahead, and the clocks of two hosts may differ by more.
    """

    def validate_iat(self, value: object) -> None:
        _require_date(value)

    def validate_exp(self, value: object) -> None:
        _require_date(value)  # `KeyRing.decode` compares it with the clock at every call.


def _require_date(value: object) -> None:
    """Raises ValueError if the value is not a NumericDate, which may have fractions (RFC 7519,
    section 2).

    A bool is rejected.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a NumericDate")


def _signing_key(secret: Secret[bytes]) -> OctKey:
    kid = key_id(secret.reveal())
    return OctKey.import_key(secret.reveal(), {"kid": kid, "use": "sig", "alg": "HS256"})


def _encryption_key(secret: Secret[bytes]) -> OctKey:
    """Returns a derived encryption key, so that no key both signs and encrypts."""
    kid = key_id(secret.reveal())
    key = derive_key(secret, "session cookie A256GCM")
    return OctKey.import_key(key.reveal(), {"kid": kid, "use": "enc", "alg": "dir"})
