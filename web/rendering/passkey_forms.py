"""Contains the form that asks the browser for a passkey, as templates receive it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from starlette.requests import Request

from db.factors.passkeys import Ceremony
from db.messages import Message
from web.rendering.responses import url_path
from web.state import app_state

NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
LOG_IN: Final = Message("Log in with a passkey")
UNKNOWN_PASSKEY: Final = Message("This passkey doesn't open an account here.")


@dataclass(frozen=True, slots=True)
class PasskeyForm:
    """The form of `partials/passkeys/assertion_form.html`, which static/passkeys.js sends.

    `action` is the URL of the form. `options` is the JSON for the browser, and `challenge` the
    hidden field that belongs to it. `renewal` is the URL of a page with this form, from which the
    script takes new options when these have expired. `host` is the site's name in messages.
    `fields` are further hidden fields. `is_native` says that the browser sends the form, without
    htmx, `is_login` that the other way is the password, and `is_primary` that its button is the
    primary one of the page. `unknown` is the id of a passkey that the browser should not offer
    anymore.
    """

    action: str
    label: str
    options: str
    challenge: str = field(repr=False)
    renewal: str
    host: str
    fields: Mapping[str, str] = field(repr=False)
    is_native: bool = False
    is_login: bool = False
    is_primary: bool = False
    message: str = ""
    unknown: str = ""


def make_passkey_form(
    request: Request,
    ceremony: Ceremony,
    *,
    action: str,
    label: str,
    renewal: str = "",
    fields: Mapping[str, str] = NO_FIELDS,
    is_native: bool = False,
    is_login: bool = False,
    is_primary: bool = False,
    message: str = "",
    unknown: str = "",
) -> PasskeyForm | None:
    """Returns the form of a ceremony; None if it offers nothing.

    Without `renewal`, the script takes new options from `action`.
    """
    if not ceremony.is_offered:
        return None
    return PasskeyForm(
        action,
        label,
        ceremony.options,
        ceremony.challenge.reveal(),
        renewal or action,
        app_state(request.scope).settings.factors.rp_id,
        fields,
        is_native,
        is_login,
        is_primary,
        message,
        unknown,
    )


def make_login_form(
    request: Request,
    ceremony: Ceremony,
    *,
    next_page: str,
    is_primary: bool = False,
    message: str = "",
    unknown: str = "",
) -> PasskeyForm | None:
    """Returns the form of the log-in page. `next_page` is the page after the log-in, or empty."""
    return make_passkey_form(
        request,
        ceremony,
        action=url_path(request, "login-passkey"),
        label=LOG_IN,
        fields={"next": next_page} if next_page else NO_FIELDS,
        is_login=True,
        is_primary=is_primary,
        message=message,
        unknown=unknown,
    )
