"""The type of an identity provider that the settings or an administrator describe."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from db.crypto.secret import Secret
from db.ip_addresses import is_loopback, parse_ip

# Microsoft's metadata for accounts of several tenants has this issuer. An ID token has the issuer
# with the id of its tenant, which is the claim `tid`.
TENANT_PLACEHOLDER: Final = "{tenantid}"
# OpenID Connect Discovery 1.0, section 4
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"

# The characters of a URL (RFC 3986, section 2) without those of a query and a fragment.
ISSUER_PATTERN: Final = re.compile(r"[A-Za-z0-9._~:/\[\]@!$&'()*+,;=%-]{1,500}")
HOST_PATTERN: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def is_issuer(text: str) -> bool:
    """Returns whether a text is the URL of an issuer (OpenID Connect Core 1.0, section 2).

    It is an https URL, or an http URL of this machine.
    """
    if not ISSUER_PATTERN.fullmatch(text):
        return False
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    host = url.hostname or ""
    if not HOST_PATTERN.fullmatch(host) and parse_ip(host) is None:
        return False
    is_secure = url.scheme == "https" or (url.scheme == "http" and is_loopback(host))
    return is_secure and "@" not in url.netloc


@dataclass(frozen=True, slots=True)
class AppleKey:
    """The key that signs the client secrets which Apple requires, each for a few minutes."""

    team_id: str
    key_id: str
    private_key: Secret[str] = field(repr=False)  # PEM, on the curve P-256


@dataclass(frozen=True, slots=True)
class GitHubEndpoints:
    """The endpoints of GitHub, which has no metadata document."""

    authorization: str = "https://github.com/login/oauth/authorize"
    token: str = "https://github.com/login/oauth/access_token"  # noqa: S105  (a URL)
    user: str = "https://api.github.com/user"
    emails: str = "https://api.github.com/user/emails"


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider, and what it may do here.

    `name` is a part of its URLs and of the names of its settings. `issuer` is exactly the `iss` of
    its tokens. `redirect_uri` is the URL of the callback, which is registered at the provider.
    `discovery_url` is the URL of its metadata, empty for GitHub. With
    `requires_hosted_domain`, a verified email counts only if it is of Gmail or the token has the
    claim `hd`, as Google recommends. `allows_sign_up` says whether an unknown identity may create
    an account. `trusts_email` says whether an email that the provider calls verified counts as
    confirmed here.

    The last four are of the provider of an organization, whose name is its domain. It may only
    assert emails of `email_domain`. The claim `role_claim` decides the role of its users: `roles`
    has pairs of a value and a role, of which the first one counts that the claim contains. Without
    such a claim, both are empty. With `requires_public_hosts`, the issuer must not have a private
    IP address.
    """

    name: str
    label: str
    issuer: str
    client_id: str
    client_secret: Secret[str] | None = field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    protocol: Literal["openid", "github"] = "openid"
    discovery_url: str = ""
    response_mode: Literal["", "form_post"] = ""
    allows_sign_up: bool = True
    trusts_email: bool = False
    requires_hosted_domain: bool = False
    apple_key: AppleKey | None = None
    github: GitHubEndpoints = field(default_factory=GitHubEndpoints)
    email_domain: str = ""
    role_claim: str = ""
    roles: tuple[tuple[str, str], ...] = ()
    requires_public_hosts: bool = False

    @property
    def has_many_tenants(self) -> bool:
        return TENANT_PLACEHOLDER in self.issuer

    @property
    def logout_uri(self) -> str:
        """Returns the URL that takes logout tokens, which is registered at the provider."""
        return f"{self.redirect_uri.removesuffix('/callback')}/logout"

    def has_issuer(self, issuer: str) -> bool:
        """Returns whether this may be the issuer of an ID token, apart from its tenant."""
        if not self.has_many_tenants:
            return issuer == self.issuer
        start, _, end = self.issuer.partition(TENANT_PLACEHOLDER)
        return issuer.startswith(start) and issuer.endswith(end)
