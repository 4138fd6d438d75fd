"""The keys that sign identity tokens, which other applications verify with the public keys."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from db.crypto.macs import derive_key
from db.crypto.secret import Secret

# RFC 9864 renames it to `Ed25519`, which few libraries know.
ALGORITHM: Final = "EdDSA"


class IdentityKeys:
    """Ed25519 keys (RFC 8032), derived from the session secrets: the first signs, all are
    published.

    Session cookies are made by other keys and another algorithm, so no identity token is a session
    cookie, nor the reverse.
    """

    def __init__(self, secrets: Sequence[Secret[bytes]]) -> None:
        keys = [
            Ed25519PrivateKey.from_private_bytes(derive_key(secret, "identity token").reveal())
            for secret in secrets
        ]
        self._signing_key = keys[0]
        self._public_keys = [_public_jwk(key) for key in keys]
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self._public_keys[0]["kid"]}
        self._header = _encode_json(header)

    def sign(self, claims: Mapping[str, Any]) -> Secret[str]:
        """Returns a JWT (RFC 7519) of these claims, signed by the first key."""
        signed = f"{self._header}.{_encode_json(claims)}"
        return Secret(f"{signed}.{_encode(self._signing_key.sign(signed.encode()))}")

    def public_keys(self) -> dict[str, Any]:
        """Returns the public keys as a JWK Set (RFC 7517, section 5)."""
        return {"keys": [dict(key) for key in self._public_keys]}


def _public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """Returns the public key as a JWK (RFC 8037), with its thumbprint (RFC 7638) as `kid`."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": _encode(key.public_key().public_bytes_raw())}
    thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    return {**required, "kid": _encode(thumbprint), "use": "sig", "alg": ALGORITHM}


def _encode_json(value: Mapping[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    """Returns the data in base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
