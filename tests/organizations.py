"""Contains the function that binds the domain of an organization to a provider of the tests."""

from collections.abc import Sequence

from db.crypto.secret import Secret
from db.store import Store
from tests.lying_provider import CLIENT_ID, CLIENT_SECRET, LyingProvider

DOMAIN = "example.com"


async def bind(
    store: Store,
    provider: LyingProvider,
    *,
    domain: str = DOMAIN,
    allows_sign_up: bool = True,
    role_claim: str = "",
    roles: Sequence[tuple[str, str]] = (),
    is_verified: bool = True,
) -> None:
    """Inserts an organization, by default with a verified domain."""

    secret = store.client_secrets.encrypt(domain, Secret(CLIENT_SECRET.encode()))
    await store.database.execute(
        "INSERT INTO organizations (domain, label, issuer, client_id, client_secret, kid, scopes, "
        "allows_sign_up, role_claim, proof, created_at, verified_at) SELECT "
        f"'{domain}', 'Example Corp', '{provider.issuer}', '{CLIENT_ID}', '{secret}', "
        f"'{store.client_secrets.kid}', 'openid email profile', {str(allows_sign_up).lower()}, "
        f"'{role_claim}', 'proof', created_at, {'created_at' if is_verified else 'NULL'} "
        "FROM roles WHERE name = 'admin'"
    )
    for position, (value, role) in enumerate(roles):
        await store.database.execute(
            "INSERT INTO organization_roles (domain, claim_value, position, role) VALUES "
            f"('{domain}', '{value}', {position}, '{role}')"
        )
