"""The scopes of access tokens: what a token may do, at most."""

from collections.abc import Iterable, Mapping
from typing import Final

from db.messages import Message

SCOPES: Final[Mapping[str, str]] = {
    "account:read": Message("Read your profile, your devices and your activity"),
    "account:write": Message("Change your profile, and log out devices"),
    "users:read": Message("Read the profiles of other users"),
    "admin:read": Message(
        "Read all users, roles and the audit log, while you are an administrator"
    ),
    "admin:write": Message("Change users and roles, while you are an administrator"),
}


def grantable_scopes(role: str, product_permissions: Mapping[str, str]) -> dict[str, str]:
    """Returns the scopes that a user may give a token, with what each allows.

    The permissions that a product declares are scopes too.
    """
    scopes = {**SCOPES, **product_permissions}
    if role == "admin":
        return scopes
    return {name: text for name, text in scopes.items() if not name.startswith("admin:")}


def join_scopes(scopes: Iterable[str]) -> str:
    return " ".join(sorted(set(scopes)))
