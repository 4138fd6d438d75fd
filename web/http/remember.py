"""Contains the functions that read the checkbox "Keep me logged in"."""

from collections.abc import Mapping

from starlette.requests import Request

from web.state import app_state


def read_choice(request: Request, fields: Mapping[str, str] | None = None) -> bool | None:
    """Returns whether the checkbox is ticked; None if the settings do not offer the choice.

    A browser sends a checkbox only if it is ticked.
    """
    if not app_state(request.scope).settings.session_lifetimes.can_remember:
        return None
    return (fields or {}).get("remember") == "on"


def read_sign_up_choice(request: Request, fields: Mapping[str, str] | None = None) -> bool | None:
    """Returns the choice at sign-up, as `read_choice`; None if sign-up starts no session."""
    if app_state(request.scope).settings.email_verification != "optional":
        return None
    return read_choice(request, fields)
