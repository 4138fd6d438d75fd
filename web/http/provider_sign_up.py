"""Contains the rule that says which identities of other providers may create an account."""

from starlette.requests import Request

from db.providers.asserted import Asserted
from db.providers.provider import Provider
from web.state import app_state


def may_sign_up(request: Request, provider: Provider, asserted: Asserted) -> bool:
    """Returns whether the identity may create an account.

    An administrator decides about the users of an organization, unless SIGNUP is `closed`. They
    need an email of its domain.
    """
    mode = app_state(request.scope).settings.sign_up.mode
    if provider.email_domain:
        return mode != "closed" and provider.allows_sign_up and bool(asserted.email)
    return mode == "open" and provider.allows_sign_up
