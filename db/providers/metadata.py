"""The metadata of a provider (OpenID Connect Discovery 1.0), checked before any part is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from db.errors import ProviderUnavailable
from db.providers.provider import Provider

MAX_URL_CHARS: Final = 2000
# Those that Latchkey can use, in the order of preference.
AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of the metadata that a log-in needs.

    `userinfo_endpoint` and `jwks_uri` may be empty; GitHub has neither. `auth_method` is how the
    client authenticates at the token endpoint. With `promises_issuer`, each authorization response
    has the parameter `iss` (RFC 9207). With `has_back_channel_logout`, the provider sends logout
    tokens, and with `names_sessions` their `sid` (OpenID Connect Back-Channel Logout 1.0, section
    2.1).
    """

    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    auth_method: str
    promises_issuer: bool
    challenge_methods: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    has_back_channel_logout: bool = False
    names_sessions: bool = False


def read_metadata(provider: Provider, document: Mapping[str, Any]) -> Metadata:
    """Returns the metadata of a document. Raises ProviderUnavailable.

    Its issuer must be exactly that of the settings (section 4.3); otherwise the document of one
    provider could name the endpoints of another.
    """
    if document.get("issuer") != provider.issuer:
        raise ProviderUnavailable("metadata_issuer")
    methods = _texts(document.get("token_endpoint_auth_methods_supported"))
    offered = [method for method in AUTH_METHODS if method in methods]
    return Metadata(
        authorization_endpoint=_endpoint(provider, document.get("authorization_endpoint")),
        token_endpoint=_endpoint(provider, document.get("token_endpoint")),
        userinfo_endpoint=_endpoint(provider, document["userinfo_endpoint"])
        if document.get("userinfo_endpoint")
        else "",
        jwks_uri=_endpoint(provider, document.get("jwks_uri")),
        auth_method=offered[0] if offered else AUTH_METHODS[0],
        promises_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        challenge_methods=_texts(document.get("code_challenge_methods_supported")),
        algorithms=_texts(document.get("id_token_signing_alg_values_supported")),
        has_back_channel_logout=document.get("backchannel_logout_supported") is True,
        names_sessions=document.get("backchannel_logout_session_supported") is True,
    )


def github_metadata(provider: Provider) -> Metadata:
    """Returns the fixed metadata of GitHub, which supports OAuth 2.0 only."""
    endpoints = provider.github
    return Metadata(
        authorization_endpoint=endpoints.authorization,
        token_endpoint=endpoints.token,
        userinfo_endpoint=endpoints.user,
        jwks_uri="",
        auth_method="client_secret_post",
        promises_issuer=False,
        challenge_methods=("S256",),
    )


def issuer_host(provider: Provider) -> str:
    return urlsplit(provider.issuer).hostname or ""


def _endpoint(provider: Provider, value: object) -> str:
    """Returns the URL of an endpoint. Raises ProviderUnavailable.

    The browser is redirected to one of them, so that `javascript:` must not be accepted. The
    transport checks the IP addresses of the others.
    """
    if not isinstance(value, str) or len(value) > MAX_URL_CHARS or not value.isascii():
        raise ProviderUnavailable("metadata_endpoint")
    if any(character <= " " or character in '\\"<>^`{|}' for character in value):
        raise ProviderUnavailable("metadata_endpoint")
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        raise ProviderUnavailable("metadata_endpoint") from None
    is_plain_allowed = provider.issuer.startswith("http:")  # on this machine only, by the settings
    if url.scheme != "https" and not (url.scheme == "http" and is_plain_allowed):
        raise ProviderUnavailable("metadata_endpoint")
    if not url.hostname or "@" in url.netloc or "#" in value:
        raise ProviderUnavailable("metadata_endpoint")
    return value


def _texts(value: object) -> tuple[str, ...]:
    """Returns the texts of a JSON array; nothing for any other value."""
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str))
