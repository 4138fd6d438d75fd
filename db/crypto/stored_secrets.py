"""Encrypts secrets that the database stores and the server must be able to read again."""

import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.crypto.macs import derive_key, key_id
from db.crypto.secret import Secret

NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2


class StoredSecrets:
    """AES-256-GCM with keys derived from the application's secrets, different ones for each
    purpose.

    The id of the owner, such as a user, is authenticated with each secret, so that a row that was
    copied to another owner cannot be decrypted. The first key encrypts, all of them decrypt.
    """

    def __init__(
        self,
        application_secrets: Sequence[Secret[bytes]],
        purpose: Literal["factor secrets", "client secrets"],
    ) -> None:
        keys = [derive_key(secret, purpose).reveal() for secret in application_secrets]
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.kid = key_id(keys[0])
        self.kids = tuple(self._keys)

    def encrypt(self, owner_id: str, secret: Secret[bytes]) -> str:
        """Returns nonce and ciphertext as base64, encrypted with the key `kid`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = self._keys[self.kid].encrypt(nonce, secret.reveal(), owner_id.encode())
        return b64encode(nonce + ciphertext).decode()

    def decrypt(self, owner_id: str, text: str, kid: str) -> Secret[bytes] | None:
        """Returns the secret; None if its key was removed, or it was changed or copied."""
        key = self._keys.get(kid)
        if key is None:
            return None
        try:
            raw = b64decode(text, validate=True)
            return Secret(key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner_id.encode()))
        except (InvalidTag, NotBase64, ValueError):
            return None
