"""Verifies what browsers answer to the challenges of passkeys (WebAuthn Level 3, section 7).

The library `webauthn` is imported at the first verification, in the thread that verifies: its
import takes 0.25 s and 6 MiB.
"""

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from db.factor_settings import FactorSettings

if TYPE_CHECKING:
    from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
    from webauthn.registration.verify_registration_response import VerifiedRegistration

MAX_CREDENTIAL_BYTES: Final = 16 * 1024  # of the JSON; that of a passkey has about 1 KiB
# base64url of at most 1,023 bytes (WebAuthn Level 3, section 4, "Credential ID")
CREDENTIAL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,1364}")
# ES256, EdDSA and RS256, in the order of preference (RFC 9053; RFC 8812)
ALGORITHMS: Final = (-7, -8, -257)
TRANSPORTS: Final = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})


def parse_credential(credential: str) -> dict[str, Any] | None:
    """Returns the JSON object of a credential, which has an id in base64url."""
    if len(credential) > MAX_CREDENTIAL_BYTES or not credential.isascii():
        return None
    try:
        given = json.loads(credential)
        is_credential = CREDENTIAL_ID.fullmatch(given["id"]) and isinstance(given["response"], dict)
    except Exception:  # RecursionError, KeyError, TypeError … of any garbage
        return None
    return given if is_credential else None


def check_assertion(
    factors: FactorSettings,
    given: Mapping[str, Any],
    challenge: str,
    *,
    public_key: str,
    sign_count: int,
    user_id: str,
    is_user_known: bool,
) -> "VerifiedAuthentication | None":
    """Verifies an assertion (WebAuthn Level 3, section 7.2); returns None if it is not valid.

    `challenge` and `public_key` are base64url. `user_id` is the account of the stored passkey, and
    `is_user_known` says whether the challenge was for this account. Runs in a thread.
    """
    import webauthn

    try:
        verified = webauthn.verify_authentication_response(
            credential=_without_attachment(given),
            expected_challenge=_decode_bytes(challenge),
            expected_rp_id=factors.rp_id,
            expected_origin=factors.origin,
            credential_public_key=_decode_bytes(public_key),
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
        is_valid = _is_same_origin(given) and _is_user_handle_of(
            given, user_id, is_required=not is_user_known
        )
    except Exception:  # binascii.Error, KeyError, UnicodeDecodeError … of any garbage
        return None
    return verified if is_valid else None


def check_creation(
    factors: FactorSettings, given: Mapping[str, Any], challenge: str
) -> "VerifiedRegistration | None":
    """Verifies a new credential (WebAuthn Level 3, section 7.1); returns None if it is not valid.

    `challenge` is base64url. Runs in a thread.
    """
    import webauthn
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    try:
        verified = webauthn.verify_registration_response(
            credential=_without_attachment(given),
            expected_challenge=_decode_bytes(challenge),
            expected_rp_id=factors.rp_id,
            expected_origin=factors.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in ALGORITHMS],
        )
        # The authenticator signs its own id of the credential, the browser sends another one.
        is_valid = encode_bytes(verified.credential_id) == given["id"] and _is_same_origin(given)
    except Exception:  # binascii.Error, KeyError, RecursionError … of any garbage
        return None
    return verified if is_valid else None


def known_transports(given: object) -> str:
    """Returns the known transports of a list that is not verified, separated by spaces."""
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    return " ".join(sorted(TRANSPORTS.intersection(names)))


def encode_bytes(raw: bytes) -> str:
    """Returns base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode_bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _without_attachment(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the credential without a hint that is not verified and may have future values."""
    return {name: value for name, value in given.items() if name != "authenticatorAttachment"}


def _is_same_origin(given: Mapping[str, Any]) -> bool:
    """Returns whether the page was not embedded in a page of another origin.

    The library does not check it.
    """
    client_data = json.loads(_decode_bytes(given["response"]["clientDataJSON"]))
    return client_data.get("crossOrigin", False) is False and "topOrigin" not in client_data


def _is_user_handle_of(given: Mapping[str, Any], user_id: str, *, is_required: bool) -> bool:
    """Returns whether the user handle is that of the account; the library does not check it.

    An authenticator may leave it out if the account was known before (WebAuthn Level 3, section
    7.2, step 6).
    """
    handle = given["response"].get("userHandle")
    if handle is None:
        return not is_required
    return hmac.compare_digest(_decode_bytes(handle), user_id.encode())
