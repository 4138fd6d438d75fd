"""Message authentication codes.

An attacker who can write to the database but does not know the secret cannot forge them.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from db.crypto.secret import Secret


class MacKeys:
    """HMAC-SHA-256 (RFC 2104) for one purpose, with keys derived from the secrets by HKDF (RFC
    5869).

    The first key signs, all of them verify, each selected by its `kid`. A MAC made for another
    purpose is never valid.
    """

    def __init__(self, secrets: Sequence[Secret[bytes]], purpose: str) -> None:
        keys = [derive_key(secret, purpose).reveal() for secret in secrets]
        self._keys = {key_id(key): key for key in keys}
        self.kid = key_id(keys[0])

    def sign(self, data: bytes) -> str:
        """Returns the MAC of the data under the first key, as 64 hex characters."""
        return hmac.digest(self._keys[self.kid], data, "sha256").hex()

    def digest(self, kid: str, data: bytes) -> bytes | None:
        """Returns the MAC of the data as 32 bytes; None if there is no key with this `kid`."""
        key = self._keys.get(kid)
        return None if key is None else hmac.digest(key, data, "sha256")

    def has_key(self, kid: str) -> bool:
        return kid in self._keys

    def verify(self, kid: str, data: bytes, mac: str) -> bool:
        """Returns whether the key of this `kid` made the MAC of this data; False if there is no
        such key.
        """
        key = self._keys.get(kid)
        return key is not None and hmac.compare_digest(hmac.digest(key, data, "sha256").hex(), mac)


def derive_key(secret: Secret[bytes], purpose: str) -> Secret[bytes]:
    """Returns a key of 32 bytes for this purpose, derived by HKDF (RFC 5869).

    It reveals neither the secret nor the keys of other purposes.
    """
    return Secret(
        HKDF(SHA256(), 32, salt=None, info=f"latchkey {purpose}".encode()).derive(secret.reveal())
    )


def key_id(key: bytes) -> str:
    """Returns a `kid` (RFC 7515, section 4.1.4) that does not reveal the key."""
    return urlsafe_b64encode(hashlib.sha256(b"latchkey kid\0" + key).digest()[:9]).decode()
