"""Contains the page on which users confirm that it's them."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import confirmation, provider_confirmation
from db.crypto.secret import Secret
from db.messages import Message
from db.viewer import Viewer
from web.forms.form import Form
from web.forms.schemas import FactorConfirmation, PasswordConfirmation
from web.http.sudo import get_sid_hash
from web.rendering.passkey_forms import PasskeyForm, make_passkey_form
from web.rendering.responses import ERROR_TITLE, replaced_page, url_path

TITLE: Final = Message("Confirm that it's you")
FOR_ACTION: Final = Message("To {action}, confirm that it's you.")
USE_PASSKEY: Final = Message("Use a passkey")
FOR_NEXT_PAGE: Final = Message("To continue, confirm that it's you.")


def blank_form(options: confirmation.ConfirmationOptions) -> Form[Any]:
    """Returns the form for what the account has to confirm with."""
    return Form.blank(FactorConfirmation if options.has_factor else PasswordConfirmation)


async def confirmation_page(
    request: Request,
    viewer: Viewer,
    *,
    action: Message | None,
    next_page: str,
    draft: Secret[str] | None = None,
    must_type_again: bool = False,
    form: Form[Any] | None = None,
    status: int = 200,
    retry_after: int | None = None,
) -> Response:
    """Returns the page, also in place of the page whose form waits for the confirmation.

    `action` is what the confirmation is for. `draft` is that form; with `must_type_again`, it could
    not be kept. `form` is a refused confirmation.
    """
    options = await confirmation.get_options(viewer)
    waiting = {
        "viewer": viewer.id,
        "draft": draft.reveal() if draft else "",
        "next": next_page,
    }
    response = replaced_page(
        request,
        "confirmation/page.html",
        ERROR_TITLE.format(title=TITLE) if form and form.failed else TITLE,
        me=viewer.me,
        layout="app",
        http_status=status,
        sentence=FOR_ACTION.format(action=action) if action else FOR_NEXT_PAGE,
        options=options,
        form=form or blank_form(options),
        providers=await provider_confirmation.list_providers(viewer, options),
        passkey=await _passkey_form(request, viewer, options, waiting),
        draft=draft.reveal() if draft else "",
        next_page=next_page,
        must_type_again=must_type_again,
        dashboard=url_path(request, "dashboard"),
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


async def _passkey_form(
    request: Request,
    viewer: Viewer,
    options: confirmation.ConfirmationOptions,
    fields: Mapping[str, str],
) -> PasskeyForm | None:
    """Returns the form that asks for a passkey; None if the account has none for this site."""
    if not options.has_passkey:
        return None
    return make_passkey_form(
        request,
        await confirmation.begin_passkey(viewer, get_sid_hash(request)),
        action=url_path(request, "confirm"),
        label=USE_PASSKEY,
        fields={name: value for name, value in fields.items() if value},
        is_native=True,
        is_primary=not options.has_authenticator,
    )
