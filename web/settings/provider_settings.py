"""Contains the function that reads the settings of identity providers: PROVIDERS, and for each name
in it NAME_CLIENT_ID and others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from db.crypto.secret import Secret
from db.providers.provider import (
    DISCOVERY_PATH,
    TENANT_PLACEHOLDER,
    AppleKey,
    Provider,
    is_issuer,
)
from web.settings.environment import Environment, InvalidSetting

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9]{1,19}")
MAX_PROVIDERS: Final = 20
MAX_LABEL_CHARS: Final = 40
# RFC 6749, section 3.3
SCOPE_PATTERN: Final = re.compile(r"[!#-\[\]-~]{1,200}")
UUID_PATTERN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MICROSOFT: Final = "https://login.microsoftonline.com"
# The tenant of all personal accounts.
MICROSOFT_CONSUMERS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"


@dataclass(frozen=True, slots=True)
class _Preset:
    """What is known about a provider. An empty issuer must be set by NAME_ISSUER."""

    label: str
    issuer: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    protocol: Literal["openid", "github"] = "openid"
    response_mode: Literal["", "form_post"] = ""
    trusts_email: bool = False
    requires_hosted_domain: bool = False
    may_change_issuer: bool = False


PRESETS: Final[Mapping[str, _Preset]] = {
    "google": _Preset(
        "Google", "https://accounts.google.com", trusts_email=True, requires_hosted_domain=True
    ),
    "microsoft": _Preset("Microsoft", MICROSOFT),
    # Apple sends the name and the email only with this response mode.
    "apple": _Preset(
        "Apple",
        "https://appleid.apple.com",
        ("openid", "email", "name"),
        response_mode="form_post",
        trusts_email=True,
    ),
    "gitlab": _Preset("GitLab", "https://gitlab.com", trusts_email=True, may_change_issuer=True),
    "keycloak": _Preset("Keycloak", may_change_issuer=True),
    "github": _Preset(
        "GitHub",
        "https://github.com",
        ("read:user", "user:email"),
        "github",
        trusts_email=True,
    ),
}


def read_providers(env: Environment, public_url: str) -> tuple[Provider, ...]:
    """Returns the providers in the order of PROVIDERS. Raises InvalidSetting.

    `public_url` is the URL of this program, without a slash at the end. Sends no request, so the
    program also starts while a provider is unavailable.
    """
    names = [part.strip() for part in env.text("PROVIDERS", "").split(",") if part.strip()]
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            raise InvalidSetting(
                "PROVIDERS",
                f"a name has 2 to 20 characters, a-z and 0-9, and starts with a letter, "
                f"unlike {name[:40]!r}",
            )
    if len(set(names)) < len(names):
        raise InvalidSetting("PROVIDERS", "names a provider twice")
    if len(names) > MAX_PROVIDERS:
        raise InvalidSetting("PROVIDERS", f"must not name more than {MAX_PROVIDERS} providers")
    providers = tuple(_read_provider(env, name, public_url) for name in names)
    _require_different_issuers(providers)
    return providers


def _require_different_issuers(providers: tuple[Provider, ...]) -> None:
    """Raises InvalidSetting if two providers have one issuer.

    An identity is an issuer with a subject, so it would belong to both of them.
    """
    by_issuer: dict[str, str] = {}
    for provider in providers:
        other = by_issuer.setdefault(provider.issuer, provider.name)
        if other != provider.name:
            raise InvalidSetting(
                "PROVIDERS", f"{other} and {provider.name} have the same issuer: remove one"
            )


def _read_provider(env: Environment, name: str, public_url: str) -> Provider:
    preset = PRESETS.get(name) or _Preset(name.capitalize(), may_change_issuer=True)
    variable = name.upper()
    issuer = _issuer(env, name, preset)
    apple_key = _apple_key(env) if name == "apple" else None
    return Provider(
        name=name,
        label=_label(env, f"{variable}_LABEL", preset.label),
        issuer=issuer,
        client_id=_client_id(env, f"{variable}_CLIENT_ID"),
        client_secret=None if apple_key else _client_secret(env, f"{variable}_CLIENT_SECRET"),
        redirect_uri=f"{public_url}/login/with/{name}/callback",
        scopes=_scopes(env, f"{variable}_SCOPES", preset),
        protocol=preset.protocol,
        discovery_url=_discovery_url(env, name, issuer) if preset.protocol == "openid" else "",
        response_mode=preset.response_mode,
        allows_sign_up=env.choice(f"{variable}_SIGNUP", ("yes", "no")) == "yes",
        trusts_email=_trusts_email(env, name, preset, issuer),
        requires_hosted_domain=preset.requires_hosted_domain,
        apple_key=apple_key,
    )


def _issuer(env: Environment, name: str, preset: _Preset) -> str:
    variable = f"{name.upper()}_ISSUER"
    text, issuer = env.text(variable, ""), preset.issuer
    if name == "microsoft":
        issuer = f"{MICROSOFT}/{_microsoft_tenant(env)}/v2.0"
    if not preset.may_change_issuer:
        if text:
            raise InvalidSetting(variable, f"cannot be set: {name} has its own issuer")
        return issuer
    if not text and not issuer:
        raise InvalidSetting(
            variable, "is required: the URL of the provider, as in its `iss` claims"
        )
    return _require_issuer(variable, text) if text else issuer


def _require_issuer(variable: str, text: str) -> str:
    """Returns the URL unchanged, because an issuer is compared character by character."""
    if not is_issuer(text):
        raise InvalidSetting(
            variable,
            "must be an https URL (http for a loopback host) without a user name, a query or a "
            f"fragment, not {text[:80]!r}",
        )
    return text


def _microsoft_tenant(env: Environment) -> str:
    """Returns the tenant's id, or the placeholder for accounts of several tenants."""
    tenant = env.text("MICROSOFT_TENANT", "common").lower()
    if tenant in ("common", "organizations"):
        return TENANT_PLACEHOLDER
    if tenant == "consumers":
        return MICROSOFT_CONSUMERS
    if not UUID_PATTERN.fullmatch(tenant):
        raise InvalidSetting(
            "MICROSOFT_TENANT",
            f"must be the id of a tenant, common, organizations or consumers, not {tenant[:40]!r}",
        )
    return tenant


def _discovery_url(env: Environment, name: str, issuer: str) -> str:
    """Returns the URL of the metadata (OpenID Connect Discovery 1.0, section 4.1)."""
    if name == "microsoft":
        tenant = env.text("MICROSOFT_TENANT", "common").lower()
        return f"{MICROSOFT}/{tenant}/v2.0{DISCOVERY_PATH}"
    return issuer.rstrip("/") + DISCOVERY_PATH


def _label(env: Environment, variable: str, default: str) -> str:
    label = env.text(variable, default)
    if len(label) > MAX_LABEL_CHARS or not label.isprintable():
        raise InvalidSetting(
            variable, f"must have at most {MAX_LABEL_CHARS} characters, and none to control text"
        )
    return label


def _client_id(env: Environment, variable: str) -> str:
    client_id = env.text(variable, "")
    if not client_id:
        raise InvalidSetting(variable, "is required: the provider issues it for this site")
    # RFC 6749, appendix A.1
    if not re.fullmatch(r"[ -~]{1,500}", client_id):
        raise InvalidSetting(variable, "must be ASCII, at most 500 characters")
    return client_id


def _client_secret(env: Environment, variable: str) -> Secret[str]:
    secret = env.secret(variable)
    if secret is None:
        raise InvalidSetting(
            variable, f"is required: set it, or {variable}_FILE to the path of a file with it"
        )
    return secret


def _scopes(env: Environment, variable: str, preset: _Preset) -> tuple[str, ...]:
    scopes = tuple(env.text(variable, " ".join(preset.scopes)).split())
    if not all(SCOPE_PATTERN.fullmatch(scope) for scope in scopes) or len(scopes) > 20:
        raise InvalidSetting(variable, "must be at most 20 scopes, separated by spaces")
    if preset.protocol == "openid" and "openid" not in scopes:
        raise InvalidSetting(variable, "must contain openid")
    return scopes


def _trusts_email(env: Environment, name: str, preset: _Preset, issuer: str) -> bool:
    variable = f"{name.upper()}_TRUST_EMAIL"
    default = preset.trusts_email and issuer == preset.issuer
    choices: tuple[Literal["yes", "no"], ...] = ("yes", "no") if default else ("no", "yes")
    trusts = env.choice(variable, choices) == "yes"
    if trusts and urlsplit(issuer).netloc == urlsplit(MICROSOFT).netloc:
        raise InvalidSetting(
            variable, "cannot be yes: the administrators of any tenant can set an email"
        )
    return trusts


def _apple_key(env: Environment) -> AppleKey:
    team_id, key_id = (_apple_id(env, f"APPLE_{part}") for part in ("TEAM_ID", "KEY_ID"))
    private_key = env.secret("APPLE_PRIVATE_KEY")
    if private_key is None:
        raise InvalidSetting(
            "APPLE_PRIVATE_KEY", "is required, or APPLE_PRIVATE_KEY_FILE: the .p8 file from Apple"
        )
    # A file of variables has each key in one line.
    private_key = Secret(private_key.reveal().replace("\\n", "\n"))
    try:
        key = load_pem_private_key(private_key.reveal().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidSetting("APPLE_PRIVATE_KEY", "must be a private key in PEM, as Apple sends it")
    return AppleKey(team_id, key_id, private_key)


def _apple_id(env: Environment, variable: str) -> str:
    text = env.text(variable, "")
    if not re.fullmatch(r"[A-Z0-9]{10}", text):
        raise InvalidSetting(variable, "must be the ten characters that Apple displays")
    return text
