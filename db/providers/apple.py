"""Makes the client secrets that Apple requires: tokens that its private key of this site signs."""

from datetime import datetime, timedelta
from typing import Final

from joserfc import jwt
from joserfc.jwk import ECKey

from db.crypto.secret import Secret
from db.providers.provider import AppleKey, Provider

SECRET_LIFETIME: Final = timedelta(minutes=5)


def make_client_secret(provider: Provider, key: AppleKey, now: datetime) -> Secret[str]:
    """Returns a client secret that is valid for five minutes.

    https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
    """
    issued_at = int(now.timestamp())
    claims = {
        "iss": key.team_id,
        "iat": issued_at,
        "exp": issued_at + int(SECRET_LIFETIME.total_seconds()),
        "aud": provider.issuer,
        "sub": provider.client_id,
    }
    signing_key = ECKey.import_key(key.private_key.reveal())
    return Secret(jwt.encode({"alg": "ES256", "kid": key.key_id}, claims, signing_key, ["ES256"]))
