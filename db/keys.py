"""The key ring: it signs what a browser keeps for us, and tells whether what comes back is ours."""

import hashlib
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from joserfc.jwt import JWTClaimsRegistry

from db.secret import Secret

ALGORITHM: Final = "HS256"  # pinned: what a token's own header asks for is never believed (RFC 8725, section 3.1)
LONGEST: Final = 4096  # characters; a browser keeps no cookie longer than that
REMEMBERED: Final = 10_000  # verified tokens


class KeyRing:
    """Several secrets: the first signs, all verify, each found by its `kid` (RFC 7515, section 4.1.4)."""

    def __init__(self, secrets: Sequence[Secret[bytes]], now: Callable[[], float]) -> None:
        keys = [_key(secret) for secret in secrets]
        self._signing = keys[0]
        self._kids = {str(key.kid) for key in keys}
        self._keys = KeySet([*keys])
        self._now = now
        self._registry = _Registry(now=now, exp={"essential": True})  # type: ignore[arg-type]
        self._verified: dict[str, Mapping[str, Any]] = {}

    def sign(self, claims: Mapping[str, Any]) -> Secret[str]:
        """A JWT (RFC 7519) of these claims, signed with the first key."""
        header = {"alg": ALGORITHM, "kid": self._signing.kid}
        return Secret(jwt.encode(header, dict(claims), self._signing, algorithms=[ALGORITHM]))

    def verify(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that one of our keys signed and that has not expired; None for anything else."""
        claims = self._verified.get(token) or self._decode(token)
        if claims is None or claims["exp"] <= self._now():
            self._verified.pop(token, None)
            return None
        return claims

    def _decode(self, token: str) -> Mapping[str, Any] | None:
        if len(token) > LONGEST:
            return None
        try:
            decoded = jwt.decode(token, self._keys, algorithms=[ALGORITHM])
            self._registry.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):  # whatever it was, it is not ours
            return None
        if decoded.header.get("kid") not in self._kids:
            return None
        return self._remember(token, MappingProxyType(decoded.claims))

    def _remember(self, token: str, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep what was verified: a signature is checked once, its expiry every time. Sessions are the database's."""
        if len(self._verified) >= REMEMBERED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = claims
        return claims


class _Registry(JWTClaimsRegistry):
    """joserfc's, but for `iat`: it refuses one that is 0.3 s ahead, and two hosts' clocks differ by more than that."""

    def validate_iat(self, value: object) -> None:
        _finite(value)

    def validate_exp(self, value: object) -> None:
        _finite(value)  # `KeyRing.verify` compares it with the clock, each time


def _finite(value: object) -> None:
    """NumericDate may be fractional (RFC 7519, section 2); it is a number, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a NumericDate")


def _key(secret: Secret[bytes]) -> OctKey:
    """The secret's own bytes, under a name made from them that does not give them away."""
    value = secret.reveal()
    kid = urlsafe_b64encode(hashlib.sha256(b"latchkey kid\0" + value).digest()[:9]).decode()
    return OctKey.import_key(value, {"kid": kid, "use": "sig", "alg": ALGORITHM})
