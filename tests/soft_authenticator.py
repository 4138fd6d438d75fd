"""A passkey authenticator in software, which tests can make answer wrongly."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

USER_PRESENT: Final = 0x01
USER_VERIFIED: Final = 0x04
BACKUP_ELIGIBLE: Final = 0x08
BACKED_UP: Final = 0x10
HAS_CREDENTIAL: Final = 0x40
ICLOUD_KEYCHAIN: Final = "fbfc3007-154e-4ecc-8c0b-6e020557d7bd"


@dataclass
class SoftAuthenticator:
    """Holds one passkey. A test changes an attribute to make the next answer wrong.

    `counter_step` is 0 for a synced passkey, which does not count. `signed_challenge` replaces the
    challenge of the options.
    """

    origin: str = "http://localhost:8000"
    rp_id: str = ""  # by default that of the options
    is_user_present: bool = True
    is_user_verified: bool = True
    is_synced: bool = True
    sign_count: int = 0
    counter_step: int = 0
    user_handle: str | None = None
    sends_user_handle: bool = True
    signed_challenge: str = ""
    client_data: dict[str, Any] = field(default_factory=dict)
    aaguid: str = ICLOUD_KEYCHAIN
    credential_id: bytes = b""

    def __post_init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        numbers = self._key.public_key().public_numbers()
        self._cose_key = cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        )
        self.credential_id = self.credential_id or hashlib.sha256(self._cose_key).digest()

    def create(self, options: str) -> str:
        """Returns the JSON of `navigator.credentials.create()`."""
        given = json.loads(options)
        if self.user_handle is None:
            self.user_handle = given["user"]["id"]
        credential = bytes.fromhex(self.aaguid.replace("-", ""))
        credential += len(self.credential_id).to_bytes(2) + self.credential_id + self._cose_key
        data = self._authenticator_data(given["rp"]["id"], HAS_CREDENTIAL) + credential
        attestation = {"fmt": "none", "attStmt": {}, "authData": data}
        client_data = self._client_data("webauthn.create", given["challenge"])
        return self._to_json(
            {
                "clientDataJSON": encode(client_data),
                "attestationObject": encode(cbor2.dumps(attestation)),
                "transports": ["internal", "hybrid", "a new one"],
            }
        )

    def get(self, options: str) -> str:
        """Returns the JSON of `navigator.credentials.get()`."""
        given = json.loads(options)
        self.sign_count += self.counter_step
        data = self._authenticator_data(given["rpId"])
        client_data = self._client_data("webauthn.get", given["challenge"])
        signed = data + hashlib.sha256(client_data).digest()
        response = {
            "clientDataJSON": encode(client_data),
            "authenticatorData": encode(data),
            "signature": encode(self._key.sign(signed, ECDSA(SHA256()))),
        }
        if self.sends_user_handle:
            response["userHandle"] = self.user_handle or ""
        return self._to_json(response)

    def _authenticator_data(self, rp_id: str, flags: int = 0) -> bytes:
        flags |= USER_PRESENT if self.is_user_present else 0
        flags |= USER_VERIFIED if self.is_user_verified else 0
        flags |= BACKUP_ELIGIBLE | BACKED_UP if self.is_synced else 0
        rp_id_hash = hashlib.sha256((self.rp_id or rp_id).encode()).digest()
        return rp_id_hash + bytes([flags]) + self.sign_count.to_bytes(4)

    def _client_data(self, ceremony: str, challenge: str) -> bytes:
        client_data = {
            "type": ceremony,
            "challenge": self.signed_challenge or challenge,
            "origin": self.origin,
            "crossOrigin": False,
        }
        return json.dumps({**client_data, **self.client_data}).encode()

    def _to_json(self, response: dict[str, Any]) -> str:
        id = encode(self.credential_id)
        return json.dumps(
            {
                "id": id,
                "rawId": id,
                "type": "public-key",
                "authenticatorAttachment": "platform",
                "response": response,
                "clientExtensionResults": {},
            }
        )


def encode(raw: bytes) -> str:
    """Returns base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
