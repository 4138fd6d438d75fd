"""Reads the name, the email and the role of a user from what a provider sent."""

import json
from collections.abc import Mapping
from typing import Any, Final

from db.emails import canonical_email
from db.providers.provider import Provider

MAX_CHARS: Final = 320
MAX_NAME_CHARS: Final = 100  # No form accepts more, and the cookie of the identity has to hold it.
MAX_EMAIL_CHARS: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets.


def read_email(provider: Provider, profile: Mapping[str, Any]) -> tuple[str, bool]:
    """Returns the email, and whether the provider says that it verified it.

    Only `true` counts. Apple also sends the text "true". Google's word counts for Gmail and for
    the domains of its customers, which have the claim `hd`; other emails may have changed hands.
    The provider of an organization has a say only about the emails of its domain.
    """
    email, verified = _email(profile.get("email")), profile.get("email_verified")
    if provider.email_domain and email.rpartition("@")[2] != provider.email_domain:
        return "", False
    is_verified = verified is True or (provider.apple_key is not None and verified == "true")
    if provider.requires_hosted_domain:
        is_hosted = bool(_text(profile.get("hd")))
        is_verified = is_verified and (is_hosted or email.endswith("@gmail.com"))
    return email, is_verified and bool(email)


def find_primary_email(emails: object) -> str:
    """Returns the primary email of GitHub's list if GitHub verified it, otherwise nothing."""
    for entry in emails if isinstance(emails, list) else ():
        is_primary = isinstance(entry, dict) and entry.get("primary") is True
        if is_primary and entry.get("verified") is True:
            return _email(entry.get("email"))
    return ""


def read_name(profile: Mapping[str, Any], user: str) -> str:
    """Returns the full name; empty if there is none or it has more than 100 characters.

    `user` is Apple's JSON of the callback.
    """
    name = _text(profile.get("name")) or _joined(profile, "given_name", "family_name") or _of(user)
    return name if len(name) <= MAX_NAME_CHARS else ""


def read_role(provider: Provider, profile: Mapping[str, Any]) -> str:
    """Returns the role that an organization's claim gives to the user: that of the first value in
    the order of the organization, `user` without any. Returns nothing if there is no such claim.
    """
    if not provider.role_claim:
        return ""
    values = read_claim(profile, provider.role_claim)
    return next((role for value, role in provider.roles if value in values), "user")


def read_claim(profile: Mapping[str, Any], name: str) -> list[str]:
    """Returns the texts of a claim, which is a text or an array.

    A name with dots also leads into objects, such as `realm_access.roles` of Keycloak.
    """
    value: object = profile.get(name)
    if value is None:
        value = profile
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def _of(user: str) -> str:
    try:
        document = json.loads(user) if user else {}
    except (ValueError, RecursionError):
        return ""
    name = document.get("name") if isinstance(document, dict) else None
    return _joined(name, "firstName", "lastName") if isinstance(name, dict) else ""


def _joined(source: Mapping[str, Any], *keys: str) -> str:
    return " ".join(part for key in keys if (part := _text(source.get(key))))


def _email(value: object) -> str:
    """Returns the canonical email; nothing for one that is not valid or not ASCII.

    The normalization turns some other characters into ASCII, such as the Kelvin sign into a K. The
    provider has then verified another email than the canonical one.
    """
    email = _text(value)
    if len(email) > MAX_EMAIL_CHARS or not email.isascii():
        return ""
    return canonical_email(email) or ""


def _text(value: object) -> str:
    """Returns a short text without control characters; nothing for any other value."""
    if not isinstance(value, str) or len(value) > MAX_CHARS or not value.isprintable():
        return ""
    return value.strip()
