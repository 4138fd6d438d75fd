"""Encrypted tokens: short-lived values that the browser keeps for the server, which alone can read
and make them.

They replace rows for things that are begun and mostly never finished, such as a log-in that waits
for its second step.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any, Final, Literal

from db.crypto.key_ring import KeyRing
from db.crypto.macs import derive_key
from db.crypto.secret import Secret

# claim: a verified first step of a log-in. sudo: a confirmation of the user's identity. challenge:
# of a passkey. enrollment: an authenticator app and recovery codes that are not stored yet. draft:
# a form that waits for the confirmation. flow: log-ins that were started at an identity provider.
# identity: a verified identity of a provider that is not connected to an account yet.
TokenPurpose = Literal["claim", "sudo", "challenge", "enrollment", "draft", "flow", "identity"]
LIFETIMES: Final[Mapping[TokenPurpose, timedelta]] = {
    "claim": timedelta(minutes=10),
    "sudo": timedelta(minutes=10),
    "challenge": timedelta(minutes=5),
    "enrollment": timedelta(minutes=10),
    "draft": timedelta(minutes=10),
    "flow": timedelta(minutes=10),
    "identity": timedelta(minutes=10),
}
MAX_TOKEN_CHARS: Final = 40_000  # A draft has at most 4,096 characters before its encryption.


class EncryptedTokens:
    """JWEs (RFC 7516) of one purpose each.

    Each purpose has keys of its own, derived from the secrets, so that no token is valid for
    another purpose. `now` returns seconds since 1970, and `make_id` a random id of n bytes.
    """

    def __init__(
        self,
        secrets: Sequence[Secret[bytes]],
        now: Callable[[], float],
        make_id: Callable[[int], str] = token_urlsafe,
    ) -> None:
        self._secrets = secrets
        self._now = now
        self._make_id = make_id
        self._rings: dict[str, KeyRing] = {}

    def encrypt(self, purpose: TokenPurpose, claims: Mapping[str, Any]) -> Secret[str]:
        """Returns a token with these claims, a random `jti` and the expiry of the purpose."""
        expires_at = int(self._now() + LIFETIMES[purpose].total_seconds())
        return self._ring(purpose).encode({**claims, "jti": self._make_id(16), "exp": expires_at})

    def decrypt(self, purpose: TokenPurpose, token: str | None) -> Mapping[str, Any] | None:
        """Returns the claims of a token; None unless it was made for this purpose and has not
        expired.
        """
        return self._ring(purpose).decode(token) if token else None

    def _ring(self, purpose: TokenPurpose) -> KeyRing:
        if purpose not in self._rings:
            derived = [derive_key(secret, f"{purpose} token") for secret in self._secrets]
            self._rings[purpose] = KeyRing(
                derived, self._now, encrypted=True, max_chars=MAX_TOKEN_CHARS, max_cached=0
            )
        return self._rings[purpose]
